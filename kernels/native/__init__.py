"""Compiled loops for CPUs: C++ sources, how they are built and loaded, and their bindings to plain tensors."""
