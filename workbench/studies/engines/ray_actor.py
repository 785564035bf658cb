"""What runs in a Ray actor: a study's worker, on whatever node the actor has been placed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import workbench
from workbench.errors import LoadError
from workbench.studies.engines.protocol import Assignment, Outcome, Work
from workbench.studies.identity import VERSION

CODE = f"{workbench.__version__} (results of version {VERSION})"


class Runner(Protocol):
    """What runs chunks, one after the other."""

    def run(self, assignment: Assignment) -> Outcome:
        """Run a chunk. Raises InputError where it cannot be run at all."""


class Actor:
    """Holds a runner.

    Args:
        folder: where the study was started; relative paths mean the same here if there is such a folder.
    """

    def __init__(self, folder: str) -> None:
        self._runner: Runner | None = None
        if Path(folder).is_dir():
            os.chdir(folder)

    def place(self, code: str) -> str:
        """Host and process, for people.

        Raises:
            LoadError: this node runs other code than `code`, so that its numbers may mean something else.
        """
        if code != CODE:
            raise LoadError(f"{socket.gethostname()} has workbench {CODE}, and the study was started by {code}.")
        return f"{socket.gethostname()} (process {os.getpid()})"

    def load(self, work: Work, runner: Callable[[Work], Runner] | None) -> None:
        """Load the models from disk.

        Raises:
            LoadError, InputError: as the worker's constructor.
        """
        if runner is None:
            from workbench.studies.engines.worker import Worker

            runner = Worker
        self._runner = runner(here(work))

    def run(self, assignment: Assignment) -> Outcome:
        """Run a chunk."""
        assert self._runner is not None  # calls are run in turn, and `load` was the first
        return self._runner.run(assignment)


def here(work: Work) -> Work:
    """Work as this node can do it: on its GPU where it was given one, with folders that it has."""
    import torch

    models = work.study.models
    if torch.cuda.is_available():  # Ray shows an actor no GPUs but its own
        models = [
            model.model_copy(update={"device": "cuda"}) if model.device is None and model.device_map is None else model
            for model in models
        ]
    references = work.references if work.references is not None and work.references.parent.is_dir() else None
    return replace(work, study=work.study.model_copy(update={"models": models}), references=references)
