"""Which heads there are, and which one a page begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from workbench.attention import ImplicitAttention
from workbench.families.base import unit_name
from workbench.forms import Softmax
from workbench.model import HookedModel

Scope: TypeAlias = Literal["core", "mixer"]
Measure: TypeAlias = Literal["weights", "share", "written"]


@dataclass(frozen=True)
class HeadChoice:
    """One matrix, and what is shown of it.

    Attributes:
        layer, mixer: where.
        head: a head, or where the whole mixer has a matrix a channel, a channel.
        scope: the recurrence or softmax alone, or the mixer with convolution, gate, norm and skip.
        measure: the entries; their sizes as a share of the row; or the norms of what they write into the stream.
    """

    layer: int
    mixer: int
    head: int
    scope: Scope = "core"
    measure: Measure = "weights"

    @property
    def place(self) -> str:
        """``1``, or ``1.mixer1`` of a second mixer."""
        return f"{self.layer}.mixer{self.mixer}" if self.mixer else str(self.layer)

    @property
    def name(self) -> str:
        """``L1H3``, or ``L1.mixer1H3`` of a second mixer; ``L1C40`` for a channel of the whole mixer."""
        return f"L{self.place}{'H' if self.scope == 'core' else 'C'}{self.head}"


@dataclass(frozen=True)
class Place:
    """One mixer.

    Attributes:
        layer, mixer: where; `mixer` is 0 for the layer's first.
        family: of its adapter.
        unit: what a head of it is called, ``"head"`` or ``"channel"``.
        softmax: whether its rows are probabilities; else its entries may be negative.
        given_gates: whether its gates read its own state (LSTM, GRU): exact given the gates.
        heads: how many matrices the core has.
        channels: how many the whole mixer has; the same number where it has one a head.
        scores: of every head on the text that was read: the mean share of a row's squares on the token before, times
            the mean size of its rows as a share of the largest one. A picture has one scale of colours, so of a head
            with one large row nothing else would be seen.
    """

    layer: int
    mixer: int
    family: str
    unit: str
    softmax: bool
    given_gates: bool
    heads: int
    channels: int
    scores: Float[np.ndarray, " heads"]

    @property
    def name(self) -> str:
        """``3``, or ``3.mixer1``."""
        return f"{self.layer}.mixer{self.mixer}" if self.mixer else str(self.layer)


@dataclass(frozen=True)
class Outline:
    """The mixers of a model, in the order in which they run; `layers` is how many layers it has."""

    places: tuple[Place, ...]
    layers: int

    @property
    def heads(self) -> int:
        """Of all mixers together."""
        return sum(place.heads for place in self.places)

    @property
    def unit(self) -> str:
        """What a head of any of them is called: ``"channel"`` only where all mixers have channels."""
        return "channel" if all(place.unit == "channel" for place in self.places) else "head"


@torch.no_grad()
def outline(model: HookedModel, text: str) -> Outline:
    """The mixers of a model, with a score of every head for reading the token before, in time linear in the text.

    Raises:
        InputError: no layer has a mixer.
    """
    places = []
    for layer, attention in model.implicit_attentions(model.to_tokens(text), mixer=None):
        mixer = model.mixer(layer, attention.mixer)
        whole = ImplicitAttention(attention.form, "mixer", layer, attention.mixer)
        places.append(
            Place(
                layer=layer,
                mixer=attention.mixer,
                family=mixer.family,
                unit=unit_name([mixer]),
                softmax=isinstance(attention.form.core, Softmax),
                given_gates=attention.form.conditional,
                heads=attention.units,
                channels=whole.units,
                scores=_before(attention),
            )
        )
    return Outline(tuple(places), model.cfg.n_layers)


def best_head(found: Outline) -> tuple[int, int]:
    """The place (as an index) and head with the highest score: a page begins with it."""
    best = [float(place.scores.max()) for place in found.places]
    at = int(np.argmax(best))
    return at, int(found.places[at].scores.argmax())


def same_depth(found: Outline, place: int, other: Outline) -> int:
    """The place of another model at the same relative depth, as an index."""

    def depth(of: Outline, at: int) -> float:
        return of.places[at].layer / max(1, of.layers - 1)

    return min(range(len(other.places)), key=lambda at: abs(depth(other, at) - depth(found, place)))


def _before(attention: ImplicitAttention) -> Float[np.ndarray, " heads"]:
    time = attention.shape[2]
    if time < 3:  # only the first row reads the token before and no other
        return np.zeros(attention.units)
    rows = torch.arange(2, time)
    on = attention.pairs(rows, rows - 1)[0].square()
    energy = attention.row_energy()[0, :, 2:].clamp(min=1e-30)
    sizes = energy.sqrt()
    even = sizes.mean(-1) / sizes.amax(-1)
    return np.asarray(((on / energy).mean(-1) * even).double().cpu())
