"""Which engine a study asks for."""

from __future__ import annotations

from workbench.studies.engines.protocol import Engine
from workbench.studies.schema.study import Run


def make_engine(run: Run) -> Engine:
    """The engine that a study's `run` names.

    Raises:
        InputError: Ray is asked for and not installed.
    """
    if run.engine == "ray":
        from workbench.studies.engines.ray import RayEngine

        return RayEngine(run.workers, run.threads, run.address, run.gpus_per_worker)
    from workbench.studies.engines.local import LocalEngine

    return LocalEngine(run.workers, run.threads)
