"""What a study changes: sites, and what stands there instead. Importing this package registers the built-in kinds."""

from workbench.studies.edits import methods, sites

__all__ = ["methods", "sites"]
