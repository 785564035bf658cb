"""Which sets of sites a study tries. Importing this package registers the built-in searches."""

from workbench.studies.searches import choosing, each, narrowing

__all__ = ["choosing", "each", "narrowing"]
