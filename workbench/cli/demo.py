"""``workbench demo``: the whole job on the models that come with the workbench."""

from __future__ import annotations


def demo() -> None:
    """Run the whole job."""
