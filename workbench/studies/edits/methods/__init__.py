"""Methods of editing. Importing this package registers the built-in ones."""

from workbench.studies.edits.methods import cutting, moving, replacing, steering

__all__ = ["cutting", "moving", "replacing", "steering"]
