"""A Ray cluster: whether there is one, what it has room for, and its long errors in a sentence."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from workbench.errors import InputError

OBJECT_STORE = 100 * 2**20
"""Bytes of a cluster of one's own, of which chunks and numbers fill little; Ray's default is a third of the memory."""


def installed() -> Any:
    """The package ray. Raises InputError where it is not installed."""
    # What Ray notices of its processes it prints on the standard output, where results belong; the filter is read once,
    # on import. And unless told otherwise before it starts, it reports to its makers how it is used.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return import_module("ray")
    except ImportError as error:
        raise InputError(
            "The engine 'ray' needs the package ray, which is not installed: pip install 'workbench[ray]'."
        ) from error


def connect(ray: Any, address: str | None) -> bool:
    """Connect to the cluster at an address, or start one on this machine, and say whether it is ours to disconnect.

    Raises:
        InputError: no cluster answers there, or none can be started.
    """
    if ray.is_initialized():  # somebody's notebook: its cluster is used, and left as it is
        return False
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        with _same_signals():
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        if address is None:
            raise InputError(f"Ray could not start on this machine: {sentence(error)}") from error
        raise InputError(
            f"No Ray cluster answers at {address!r}: {sentence(error)} Start one with `ray start --head`, or leave "
            "run.address out for one of this machine's own."
        ) from error
    return True


def check_room(ray: Any, workers: int, cpus: int, gpus: int) -> None:
    """Refuse a cluster whose nodes, were they idle, would not hold so many workers.

    Args:
        cpus, gpus: of each worker.

    Raises:
        InputError: with what the cluster has.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = places(nodes, cpus, gpus)
    if room >= workers:
        return
    total = {kind: sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    needed = counted({"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus})
    raise InputError(
        f"The Ray cluster has room for {room} of {workers} workers: each needs {needed} of one node, and of "
        f"{len(nodes)} node{'' if len(nodes) == 1 else 's'} there are {counted(total)}; lower run.workers, run.threads "
        "or run.gpus_per_worker."
    )


def places(nodes: Sequence[Mapping[str, float]], cpus: int, gpus: int) -> int:
    """How many workers of so many CPUs and GPUs fit into nodes, none of them across two nodes."""
    wanted = {"CPU": cpus, "GPU": gpus}
    return sum(min(int(node.get(kind, 0)) // number for kind, number in wanted.items() if number) for node in nodes)


def counted(resources: Mapping[str, float]) -> str:
    """Resources for people: ``2 CPUs and 1 GPU``."""
    numbers = {kind: int(resources[kind]) for kind in ("CPU", "GPU") if kind in resources}
    return " and ".join(f"{number} {kind}{'' if number == 1 else 's'}" for kind, number in numbers.items()) or "none"


@contextmanager
def _same_signals() -> Iterator[None]:
    """Undo what ``ray.init`` does to SIGTERM, which is the caller's to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def sentence(error: BaseException | None) -> str:
    """The first line of what an error says."""
    return _full(_lines(error)[0])


def reason(error: BaseException) -> str:
    """Why an actor is gone: Ray begins with general remarks and ends with the reason, at length."""
    return _full(_lines(error)[-1].split(". Some common causes")[0])


def _lines(error: BaseException | None) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


def _full(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
