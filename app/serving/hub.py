"""Models of the hub: whether one is on this machine already, and fetching one that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import InputError

KEPT = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Files that are fetched: weights in safetensors (pickle is refused), settings, tokenizers."""

LEFT = ("*/*", "consolidated*")
"""Files that are left out of those: folders, which hold other formats, and second copies of the weights."""


def is_fetched(source: str) -> bool:
    """Whether all weights of a hub id are in the hub's cache on this machine; nothing is asked of the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, "config.json")
    if not isinstance(found, str):
        return False
    folder = Path(found).parent
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    return all((folder / name).is_file() for name in json.loads(index.read_bytes())["weight_map"].values())


def is_offline() -> bool:
    """Whether this machine was told to fetch nothing (``HF_HUB_OFFLINE=1``)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def fetch(source: str, told: Callable[[int, int], None]) -> None:
    """Fetch a hub id into the hub's cache; what is there already, whole files, is not fetched again.

    Args:
        told: called whenever bytes have come, in any thread, with those there and those of the files begun so far; what
            it raises ends the download.

    Raises:
        InputError: it cannot be had: no such id, no connection, no permission, a full disk.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        snapshot_download(source, allow_patterns=list(KEPT), ignore_patterns=list(LEFT), tqdm_class=_counting(told))
    except GatedRepoError as error:
        raise InputError(f"{source} is given out by its owner only; ask for it at the hub, then log in.") from error
    except RepositoryNotFoundError as error:
        raise InputError(f"The hub has no model {source}, or shows it to its owner only.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, ConnectionError) as error:
        raise InputError(
            f"{source} could not be downloaded: the hub cannot be reached from this machine. Choose a model of the "
            "zoo or of the workspace, or try again."
        ) from error
    except OSError as error:
        raise InputError(f"{source} could not be downloaded: {error}.") from error


def _counting(told: Callable[[int, int], None]) -> Any:
    """The hub's progress bars, which draw nothing; the one of bytes that are written tells how far it is."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Counting(tqdm):  # type: ignore[misc]
        def __init__(self, *given: Any, **named: Any) -> None:
            self.bytes_there = 0.0
            self.tells = named.pop("name", "") == "huggingface_hub.snapshot_download"
            super().__init__(*given, **{**named, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self.bytes_there += n or 0
            if self.tells:
                told(int(self.bytes_there), int(self.total or 0))
            return bool(super().update(n))

    return Counting
