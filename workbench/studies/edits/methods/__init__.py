"""Methods of editing. Importing this package registers the built-in ones."""

from workbench.studies.edits.methods import replacing

__all__ = ["replacing"]
