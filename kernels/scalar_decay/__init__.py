"""Scalar decay: Mamba-2 and other linear attention with one decay a head and step."""
