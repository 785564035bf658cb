"""Autoencoders that come with the workbench, and the recipe that trained them."""

from workbench.saes.shipped.members import MEMBERS, PREFIX, Member, directory

__all__ = ["MEMBERS", "PREFIX", "Member", "directory"]
