"""Other tools' models and tracers around the same weights: TransformerLens in, nnsight out."""
