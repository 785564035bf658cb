"""The one server object of the process, shared by its sessions."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from workbench.app.serving.jobs import Jobs
from workbench.app.serving.models import Shelf
from workbench.app.serving.results import Results
from workbench.app.serving.sources import Sources
from workbench.app.serving.workspace import Workspace

WORKSPACE = "WORKBENCH_WORKSPACE"
"""The environment variable that names the folder the app works in; without it, the current one."""

MODELS = "WORKBENCH_MODELS"
"""The environment variable with the models that the app was started with, a JSON list."""


@dataclass
class Server:
    """What all sessions share. Nothing here belongs to one of them, so nothing of one is seen by another.

    Attributes:
        workspace: the folder whose studies, stores and prompts are shown.
        sources: which models may be opened.
        models: at most two, lent one at a time.
        results: what was computed lately, by small keys.
        jobs: what is being computed.
    """

    workspace: Workspace
    sources: Sources
    models: Shelf = field(default_factory=Shelf)
    results: Results = field(default_factory=Results)
    jobs: Jobs = field(default_factory=Jobs)


@lru_cache(maxsize=1)
def the_server() -> Server:
    """The server of this process, made at the first call."""
    workspace = Workspace(Path(os.environ.get(WORKSPACE, ".")))
    return Server(workspace, Sources(workspace, json.loads(os.environ.get(MODELS, "[]"))))
