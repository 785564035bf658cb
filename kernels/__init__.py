"""Numerics of the canonical forms: references, fused kernels and what can be read from them."""
