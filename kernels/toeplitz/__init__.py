"""Toeplitz matrices: S4's convolution, short convolutions."""
