"""Sparse autoencoders: activations, training, features, steering and comparison."""
