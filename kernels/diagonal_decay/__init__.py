"""Diagonal decay: gated linear attention and Mamba-1."""
