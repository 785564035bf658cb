"""Kinds of head that are defined by where they read: the share of a row on defining places, and on rival ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.attention import ImplicitAttention
from workbench.attention.implicit import Scope
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.heads.kinds import CausalTask, HeadKind, add_kind
from workbench.probes.heads.null import rival_shifts
from workbench.probes.heads.options import Looking, as_seeds, check_block
from workbench.probes.heads.pairs import DefiningPairs, in_order, joined
from workbench.probes.heads.shares import Shares
from workbench.probes.heads.tally import Tally
from workbench.progress import tracked
from workbench.tasks import RepeatedTokens, Task, repeated_random_tokens

# Shares that are held at once; 1M of them are 4 MB, which a cache holds: four times as many take a seventh longer.
_ELEMENTS_AT_ONCE = 2**20

AnyTask = TypeVar("AnyTask", bound=Task)
PairsOf: TypeAlias = Callable[[Any], DefiningPairs]
RivalsOf: TypeAlias = Callable[[Any, DefiningPairs, int], list[DefiningPairs]]
TextOf: TypeAlias = Callable[..., Task]


def shifted_rivals(task: Task, pairs: DefiningPairs, draws: int) -> list[DefiningPairs]:
    """The same pairs with all sources moved by the same number of tokens (see `workbench.probes.heads.null`)."""
    return [pairs.shifted(shift) for shift in rival_shifts(pairs, draws)]


@dataclass(frozen=True)
class Reading:
    """A finder that averages shares over defining pairs.

    Attributes:
        kind: name of the kind.
        pairs: the defining pairs on a text that `text` made.
        text: ``text(model, block, *, batch, seed, bos)``; random tokens repeated, unless a kind needs another.
        rivals: ``rivals(task, pairs, draws)``: the places whose scores are the null distribution.
    """

    kind: str
    pairs: PairsOf
    text: TextOf = repeated_random_tokens
    rivals: RivalsOf = shifted_rivals

    def __call__(
        self,
        model: HookedModel,
        *,
        seeds: Sequence[int] | int = (0, 1, 2),
        batch: int = 4,
        block: int = 50,
        bos: bool | int | None = None,
        normalise: str | None = None,
        scope: str = "mixer",
        layers: Sequence[int] | int | None = None,
        mixer: int | None = None,
        group: int = 1,
        null_draws: int = 20,
        null_level: float = 0.95,
        level: float = 0.95,
        progress: bool = False,
    ) -> pd.DataFrame:
        """Score every head; see `find_heads` for the options."""
        seeds = as_seeds(seeds)
        check_block(block, null_draws)
        for option, value, choices in (
            ("normalise", normalise, ("mass", "energy", None)),
            ("scope", scope, ("core", "mixer")),
        ):
            if value not in choices:
                raise InputError(f"{option} is {value!r}; there is: {', '.join(filter(None, choices))}.")
        looking = Looking.at(model, layers, mixer, group, null_level, level)
        tally = Tally(looking)
        seen: Scope = "core" if scope == "core" else "mixer"
        tasks = [self.text(model, block, batch=batch, seed=seed, bos=bos) for seed in seeds]

        def seen_in() -> Generator[tuple[list[DefiningPairs], int, ImplicitAttention], None, None]:
            for task in tasks:
                pairs = self.pairs(task)
                several = [pairs, *self.rivals(task, pairs, null_draws)]
                for layer, attention in model.implicit_attentions(task.tokens, looking.layers, seen, mixer=mixer):
                    yield several, layer, attention

        # A text takes minutes where every channel has a matrix, so what is told and can be stopped is a mixer of it.
        steps = len(tasks) * len(looking.wanted)
        what = f"looking for {self.kind} heads"
        # Closed at once where somebody stops it: a pass that is paused has the model until it ends.
        with torch.no_grad(), closing(seen_in()) as runs:
            for several, layer, attention in tracked(runs, progress, what, steps):
                adapter = model.mixer(layer, attention.mixer)
                share_of = normalise or attention.default_normalise
                found = averages(Shares(attention, looking.rows_of(adapter), share_of), several)
                tally.add(adapter, found[0], found[1:].mean(1), share_of)
        return tally.table(self.kind, scope)


def averages(shares: Shares, several: Sequence[DefiningPairs]) -> Float[Tensor, "lists batch rows"]:
    """For each list of pairs and each sequence, the share of a row on the pairs' sources, averaged over destinations.

    In float64 on the CPU. However many pairs there are, only `_ELEMENTS_AT_ONCE` entries of the matrix are held.
    """
    batch, units, _, _ = shares.attention.shape
    every, origin = in_order(*joined(several))
    weight = every.weights
    total = torch.zeros(batch, shares.rows, len(several), dtype=torch.float64)
    step = max(1, _ELEMENTS_AT_ONCE // max(1, batch * units))
    for start in range(0, len(origin), step):
        some = slice(start, start + step)
        found = shares(every.query[..., some], every.key[..., some]).double()
        found = found * (weight[some] if weight.ndim == 1 else weight[:, None, some])
        total.index_add_(2, origin[some].cpu(), found.cpu())
    return total.permute(2, 0, 1)


def register_reading(
    name: str,
    *,
    reads: str,
    source: str,
    text: TextOf = repeated_random_tokens,
    rivals: RivalsOf = shifted_rivals,
    check: CausalTask | None = None,
) -> Callable[[Callable[[AnyTask], DefiningPairs]], Callable[[AnyTask], DefiningPairs]]:
    """Decorator: a function from a text to the defining pairs becomes a kind of head.

    Args:
        reads: one line that says what such a head reads.
        source: the publication whose definition this is.
        text, rivals: see `Reading`.
        check: the task of the causal check; copying a repeated block by default.

    Raises:
        ValueError: another function has that name.
    """

    def add(pairs: Callable[[AnyTask], DefiningPairs]) -> Callable[[AnyTask], DefiningPairs]:
        finder = Reading(name, pairs, text, rivals)
        add_kind(HeadKind(name, f"read {reads}", source, finder, check or CausalTask()))
        return pairs

    return add


def last_copies(task: RepeatedTokens) -> Tensor:
    """The positions of the second and later copies."""
    return torch.arange(task.offset + task.block, task.time, device=task.tokens.device)


def later_positions(task: Task) -> Tensor:
    """All positions but the first."""
    return torch.arange(1, task.time, device=task.tokens.device)
