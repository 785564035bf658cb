"""Features of sparse autoencoders: stores, lists, one feature's numbers and pictures, texts tried, steering."""
