"""The one server object of the process, shared by its sessions."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from workbench.app.serving.jobs import Jobs
from workbench.app.serving.models import Shelf
from workbench.app.serving.results import Results
from workbench.app.serving.workspace import Workspace

WORKSPACE = "WORKBENCH_WORKSPACE"
"""The environment variable that names the folder the app works in; without it, the current one."""


@dataclass
class Server:
    """What all sessions share. Nothing here belongs to one of them, so nothing of one is seen by another.

    Attributes:
        models: at most two, lent one at a time.
        results: what was computed lately, by small keys.
        jobs: what is being computed.
        workspace: the folder whose studies, stores and prompts are shown.
    """

    workspace: Workspace
    models: Shelf = field(default_factory=Shelf)
    results: Results = field(default_factory=Results)
    jobs: Jobs = field(default_factory=Jobs)


@lru_cache(maxsize=1)
def the_server() -> Server:
    """The server of this process, made at the first call."""
    return Server(Workspace(Path(os.environ.get(WORKSPACE, "."))))
