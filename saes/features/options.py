"""What is asked of a pass, and what tells one pass from another."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from workbench.errors import InputError
from workbench.saes.autoencoder import SparseAutoencoder


@dataclass(frozen=True)
class FeatureOptions:
    """Sizes of what is kept of every feature; `collect_features` says what each means."""

    tokens: int | None = None
    shard_tokens: int = 65536
    windows: int = 16
    first: int = 0
    before: int = 20
    after: int = 10
    top: int = 20
    bands: int = 4
    per_band: int = 5
    random: int = 10
    silent: int = 20
    bins: int = 40
    top_tokens: int = 10
    logits: int = 10
    neighbours: int = 10
    neurons: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"shard_tokens": 1, "windows": 1, "bands": 1, "bins": 1}
        for name, value in asdict(self).items():
            if name == "neurons" or value is None:
                continue
            if value < least.get(name, 0):
                raise InputError(f"{name} is {value}; it is at least {least.get(name, 0)}.")
        if self.tokens is not None and self.tokens < 1:
            raise InputError(f"tokens is {self.tokens}; at least one is needed, and None reads them all.")

    @property
    def band_names(self) -> list[str]:
        """The bands of ranks, highest first: ``75-100%``, ``50-75%``, ..."""
        edges = [round(100 * (self.bands - band) / self.bands) for band in range(self.bands + 1)]
        return [f"{low}-{high}%" for high, low in pairwise(edges)]


def sae_fingerprint(sae: SparseAutoencoder) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over an autoencoder's kind, place and weights."""
    cfg = asdict(sae.cfg)
    del cfg["details"]  # how it was trained does not change what it computes
    digest = hashlib.sha256(repr(sorted(cfg.items())).encode())
    basis = {} if sae.basis is None else {"basis": sae.basis}
    for name, tensor in sorted({**sae.state_dict(), **basis}.items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_same(noted: dict[str, Any], asked: dict[str, Any], folder: Any) -> None:
    """Refuse to go on with other inputs than a store was begun with.

    Raises:
        InputError: names what differs.
    """
    differing = [name for name in asked if noted.get(name) != asked[name]]
    if not differing:
        return
    words = [
        f"{name} was {noted.get(name)} and is {asked[name]}"
        if not isinstance(asked[name], str) or len(asked[name]) != 16
        else f"the {name} are others than those it was begun with"
        for name in differing
    ]
    raise InputError(
        f"{folder} holds features of another pass: {'; '.join(words)}. Take another folder, or delete this one."
    )
