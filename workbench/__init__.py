"""A mechanistic-interpretability workbench for attention, state-space and recurrent language models."""

__version__ = "0.1.0.dev0"
