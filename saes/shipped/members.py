"""The autoencoders that come with the workbench: what each reads, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.errors import LoadError, offer

WEIGHTS = Path(__file__).with_name("weights")
PREFIX = "zoo:"


@dataclass(frozen=True)
class Member:
    """An autoencoder of the zoo.

    Attributes:
        model: the zoo's member that it reads.
        part: ``resid_post`` or ``state``.
        hook: canonical name of the hook.
        every: one token in so many is read.
        rank: directions that a state is read in; None for whole vectors.
        vectors, batch: how many it is trained on, and how many a step.
        d_sae, k: features, and how many of them a vector keeps.
    """

    model: str
    part: str
    hook: str
    every: int = 1
    rank: int | None = None
    vectors: int = 2_500_000
    batch: int = 2048
    d_sae: int = 1024
    k: int = 16

    @property
    def name(self) -> str:
        """``zoo:mamba/state``."""
        return f"{PREFIX}{self.model}/{self.part}"

    @property
    def folder(self) -> str:
        """``mamba-state``."""
        return f"{self.model}-{self.part}"


MEMBERS = {
    member.name: member
    for member in (
        Member("attention", "resid_post", "blocks.1.hook_resid_post"),
        Member("mamba", "resid_post", "blocks.1.hook_resid_post"),
        Member("gated_delta", "resid_post", "blocks.1.hook_resid_post"),
        # A state moves slowly, and its 16,384 numbers lie near a few directions.
        Member("mamba", "state", "blocks.1.mixer.hook_state", every=8, rank=64, vectors=300_000, batch=256),
    )
}


def directory(name: str) -> Path:
    """Where a shipped autoencoder lies, in SAELens' layout and with a card.

    Raises:
        LoadError: there is none of that name; says which there are.
    """
    if name not in MEMBERS:
        raise LoadError(f"The zoo has no autoencoder {name!r}; {offer(name, MEMBERS)}.")
    found = WEIGHTS / MEMBERS[name].folder
    if not (found / "cfg.json").is_file():
        raise LoadError(
            f"The autoencoder {name} is not installed; `python -m workbench.saes.shipped.recipe` trains it."
        )
    return found
