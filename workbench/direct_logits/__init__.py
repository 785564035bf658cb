"""Direct logit attribution: what each part of a model writes into the residual stream, and from there into a logit."""
