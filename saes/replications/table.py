"""The whole table: the rows of this room and of the rooms below it."""

from __future__ import annotations

from workbench.probes import replications as below


def replications() -> list[below.Replication]:
    """All rows, section by section. Once this was called, `get_replication` finds the rows of this room, too."""
    from workbench.saes.replications import rows

    assert rows  # importing it registers them
    return below.replications()
