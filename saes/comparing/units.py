"""Units that can be compared: the features of an autoencoder, or the numbers of a vector at any hook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.comparing.alignment import filled_rows, passages, shared_places, token_ends
from workbench.saes.site import VectorSite, read_vectors


@dataclass(frozen=True, eq=False)
class Units:
    """One number a unit and token, read off a model; `Units.of` makes one.

    Attributes:
        model: whose.
        site: where its vectors are read.
        sae: whose features they are; None where the vectors' own numbers are the units: neurons, channels, coordinates.
    """

    model: HookedModel
    site: VectorSite
    sae: SparseAutoencoder | None = None

    @classmethod
    def of(cls, model: HookedModel, what: SparseAutoencoder | VectorSite | str) -> Units:
        """The features of an autoencoder, or what passes at a hook (a name or a `VectorSite`).

        Raises:
            InputError: the autoencoder is of another width, or the name means several hooks.
            HookNameError: no hook is called that.
        """
        if isinstance(what, SparseAutoencoder):
            return cls(model, what.site(model), what)
        return cls(model, VectorSite.of(model, what) if isinstance(what, str) else what)

    def __repr__(self) -> str:
        return f"Units({self.name})"

    @property
    def name(self) -> str:
        """Model and place, for people."""
        kind = "" if self.sae is None else f" {self.sae.cfg.architecture} features"
        return f"{self.model.cfg.model_name} {self.site}{kind}"

    def read(self, rows: list[list[int]]) -> list[Float[Tensor, "positions units"]]:
        """Values of every unit at the tokens that the site reads, a row of tokens each."""
        tokens = filled_rows(rows, self.model.pad_id)
        self.model.tokens.checked(tokens, None)
        vectors = read_vectors(self.model, tokens.to(self.model.cfg.device), [self.site])[0][0]
        kept = [vectors[number, : len(self.site.positions(len(row)))] for number, row in enumerate(rows)]
        if self.sae is None:
            return [one.float() for one in kept]
        with torch.no_grad():
            return [self.sae.encode(one).float() for one in kept]


def paired_values(
    first: Units,
    second: Units,
    texts: str | Iterable[str],
    *,
    characters: int = 400,
    count: int | None = None,
    batch: int = 8,
    progress: bool = False,
    what: str = "reading both models",
) -> Iterator[tuple[Float[Tensor, "places first"], Float[Tensor, "places second"]]]:
    """Values of both units at the places where both models have read the same characters, a passage at a time.

    Raises:
        InputError: no tokenizer, a passage that a model cannot take, or a text in which the two share no place.
    """
    parts = passages(texts, characters, count)
    shared = 0
    groups = [parts[start : start + batch] for start in range(0, len(parts), batch)]
    for group in tracked(groups, progress, what):
        ends = [[token_ends(units.model, text) for text in group] for units in (first, second)]
        same = first.model is second.model and first.site is second.site
        read = [first.read([ids for ids, _ in ends[0]])]
        read.append(read[0] if same and first.sae is second.sae else second.read([ids for ids, _ in ends[1]]))
        for number in range(len(group)):
            sides = []
            for side, units in enumerate((first, second)):
                ids, after = ends[side][number]
                positions = units.site.positions(len(ids))
                sides.append([after[position] for position in positions])
            one, other = shared_places(sides[0], sides[1])
            shared += len(one)
            if one:
                yield read[0][number][one], read[1][number][other]
    if not shared:
        raise InputError("The two models share no place in this text where both have read the same characters.")
