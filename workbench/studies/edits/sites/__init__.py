"""Kinds of site. Importing this package registers the built-in ones."""

from workbench.studies.edits.sites import components, lists

__all__ = ["components", "lists"]
