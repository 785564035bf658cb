"""Kinds of site. Importing this package registers the built-in ones."""

from workbench.studies.edits.sites import components, edges, experts, lists, memories, tensors

__all__ = ["components", "edges", "experts", "lists", "memories", "tensors"]
