"""What the commands of ``workbench study`` share: files, folders, and what may be changed on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class EngineName(StrEnum):
    """Who runs the forward passes."""

    local = "local"
    ray = "ray"


Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="Study files: YAML, or Python with --trust-python.", show_default=False),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A study's folder, as run made it.", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The study's folder; of several files, where each study gets a folder of its name.",
        show_default="study-runs/NAME",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run; run and write nothing.")]
Replan = Annotated[
    bool, typer.Option("--replan", help="Go on although the study has changed: what is in both is kept.")
]
TrustPython = Annotated[
    bool, typer.Option("--trust-python", help="Run study files that end in .py: only from people you trust.")
]


@dataclass(frozen=True)
class Changes:
    """What the command line changes in a study."""

    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value of the study, as often as needed: run.workers=2, edits.0.search.k=3.",
        ),
    ] = None
    engine: Annotated[
        EngineName | None,
        typer.Option("--engine", help="Who runs it: processes here, or Ray.", show_default="the study's"),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Workers, each with the model.", show_default="the study's"),
    ] = None
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of each worker.", show_default="the study's")
    ] = None

    @property
    def overrides(self) -> list[str]:
        """All of it as ``KEY=VALUE``."""
        named = {"run.engine": self.engine, "run.workers": self.workers, "run.threads": self.threads}
        given = [f"{key}={value}" for key, value in named.items() if value is not None]
        return [*(self.settings or []), *given]


UNCHANGED = Changes()
