"""Retrieval heads: while a model writes what stood in a needle, they look at the very token that it writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.attention import ImplicitAttention
from workbench.attention.implicit import Scope
from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.forms import MixerForm
from workbench.model import HookedModel
from workbench.probes.heads.kinds import CausalTask, HeadKind, add_kind
from workbench.probes.heads.null import check_draws
from workbench.probes.heads.options import Looking, as_seeds
from workbench.probes.heads.segments import hidden_segment
from workbench.probes.heads.tally import Tally
from workbench.progress import tracked
from workbench.tasks import NOT_SCORED, Task
from workbench.tasks.passkey import needle, passkey

THRESHOLD = 0.1
"""The score from which Wu et al. call a head a retrieval head."""

LITTLE = 0.5
"""The recall below which a model's scores say little about its heads."""

HAYSTACKS: dict[str, Callable[..., Task]] = {"needle": needle, "passkey": passkey, "segment": hidden_segment}


def hidden_needle(
    model: HookedModel,
    length: int = 256,
    *,
    depth: float | None = None,
    haystack: str | None = None,
    batch: int = 8,
    seed: int = 0,
    bos: bool | int | None = None,
) -> Task:
    """A text in which something is hidden that is asked for at the end.

    Args:
        model: a hooked model.
        length: tokens of the whole text.
        depth: share of the filler before the needle; None draws it for every sequence.
        haystack: ``"needle"`` (a sentence), ``"passkey"`` (a number) or ``"segment"`` (a run of random tokens, for
            models that cannot read); None for a needle where the model has a tokenizer, else a segment.
        batch: sequences.
        seed: of all that is drawn.
        bos: token in front.

    Raises:
        InputError: no such haystack, and what the tasks of these names refuse.
    """
    name = haystack or ("segment" if model.tokenizer is None else "needle")
    if name not in HAYSTACKS:
        raise InputError(f"haystack is {name!r}; there is: {', '.join(HAYSTACKS)}.")
    return HAYSTACKS[name](model, length, depth=depth, batch=batch, seed=seed, bos=bos)


@torch.no_grad()
def retrieval_heads(
    model: HookedModel,
    *,
    lengths: Sequence[int] | int = (128, 256, 512),
    depths: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    seeds: Sequence[int] | int = (0, 1, 2),
    batch: int = 1,
    haystack: str | None = None,
    bos: bool | int | None = None,
    scope: str = "mixer",
    layers: Sequence[int] | int | None = None,
    mixer: int | None = None,
    group: int = 1,
    null_draws: int = 20,
    null_level: float = 0.95,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """The share of a needle's tokens that are copied while a head's largest weight lies on that same token.

    The retrieval score of Wu et al. 2024 ("Retrieval Head Mechanistically Explains Long-Context Factuality", section
    2): the model reads a text with a needle in it and a question, and writes as many tokens as the answer has, the
    likeliest each time. A token of the needle counts for a head when the model writes that token and, of all tokens so
    far, the head gives it the largest weight at that step. Scores are averaged over lengths, depths and needles; the
    authors call heads above 0.1 (`THRESHOLD`) retrieval heads. What a model writes of the needle in all is the bound of
    every head's score, and stands in ``table.attrs["recall"]``.

    Only the rows of the written tokens are read, from one pass over what was written. A row's weight on a source is
    that of the implicit attention, ``|A|`` for softmax and ``A^2`` for recurrent mixers, added over the channels that a
    row of the table has. The null distribution asks for a token beside the right one instead.

    Args:
        lengths: of the whole texts, in tokens.
        depths: shares of the filler before the needle.
        seeds: of needles and fillers; each text is an independent unit of the intervals.
        batch: texts for each length, depth and seed.
        haystack: what is hidden (see `hidden_needle`).

    Other options and columns as in `find_heads`.

    Raises:
        InputError: as `find_heads`; a text longer than the model's context, or no tokenizer for words.
    """
    check_draws(null_draws)
    if scope not in ("core", "mixer"):
        raise InputError(f"scope is {scope!r}; there is: core, mixer.")
    seen: Scope = "core" if scope == "core" else "mixer"
    looking = Looking.at(model, layers, mixer, group, null_level, level)
    grid = list(product([lengths] if isinstance(lengths, int) else lengths, depths, as_seeds(seeds)))
    if not grid:
        raise InputError("lengths or depths is empty; at least one of each is needed.")
    tasks = [
        hidden_needle(model, length, depth=depth, haystack=haystack, batch=batch, seed=seed, bos=bos)
        for length, depth, seed in grid
    ]
    written = [(task, row) for task in tasks for row in range(task.batch)]
    tally = Tally(looking)
    recalls = []
    shifts = _shifts(null_draws)
    for task, row in tracked(written, progress, "looking for retrieval heads"):
        copied, tops = _written(model, task, row, looking, seen)
        recalls.append(float(copied.equal.any(0).double().mean()))
        for adapter, top in tops.items():
            rivals = torch.stack([copied.share(top, shift) for shift in shifts])
            tally.add(adapter, copied.share(top, 0)[None], rivals, "largest weight")
    table = tally.table("retrieval", scope)
    table.attrs["recall"] = sum(recalls) / len(recalls)
    if table.attrs["recall"] < LITTLE:
        warnings.warn(
            f"{model.cfg.model_name} wrote only {table.attrs['recall']:.0%} of the needles, the most a head can score; "
            "take shorter texts, or haystack='segment' for a model that copies but cannot read.",
            stacklevel=2,
        )
    return table


@dataclass(frozen=True)
class _Copied:
    """What a model wrote when it was asked for a needle.

    Attributes:
        tokens: prompt and continuation, without the last token, which nothing reads.
        query: the positions from which each token was written.
        sources: positions of the needle's tokens.
        equal: whether a written token is the same as one of the needle.
    """

    tokens: Int[Tensor, " time"]
    query: Int[Tensor, " written"]
    sources: Int[Tensor, " needle"]
    equal: Bool[Tensor, "written needle"]

    def share(self, top: Int[Tensor, "rows written"], shift: int) -> Float[Tensor, " rows"]:
        """The share of the needle's tokens that were written while the largest weight lay `shift` behind them."""
        looked = top[..., None] == self.sources + shift
        return (looked & self.equal).any(1).double().mean(-1).cpu()


def _written(
    model: HookedModel, task: Task, row: int, looking: Looking, scope: Scope
) -> tuple[_Copied, dict[MixerAdapter, Int[Tensor, "rows written"]]]:
    """What a model answers to one text of a task, likeliest token by likeliest token, and where its heads looked.

    A model that finds the needle writes the answer itself: that is tried first, in one pass over prompt and answer.
    Where a prediction differs, the model is let to write.
    """
    scored = task.labels[row] != NOT_SCORED
    sources = task.sources[row][scored]
    if not bool((sources >= 0).all()):
        raise InputError(f"Task {task.name!r} does not say where its answers stood before, so no copying can be seen.")
    start = 0 if task.mask is None else int((task.mask[row] == 0).sum())
    asked = int(task.positions[row][scored].min())
    prompt, answer = task.tokens[row, start : asked + 1], task.answers[row][scored]
    copied = _copied(torch.cat([prompt, answer]), len(prompt), sources - start)
    predicted, tops = _looked(model, copied, looking, scope)
    if torch.equal(predicted, answer):
        return copied, tops
    whole = model.generate(prompt[None], max_new_tokens=len(answer), stop_at_eos=False, return_type="tokens")[0]
    copied = _copied(whole, len(prompt), sources - start)
    return copied, _looked(model, copied, looking, scope)[1]


def _copied(whole: Int[Tensor, " total"], prompt: int, sources: Int[Tensor, " needle"]) -> _Copied:
    equal = whole[prompt:, None] == whole[sources]
    return _Copied(whole[:-1], torch.arange(prompt - 1, len(whole) - 1, device=whole.device), sources, equal)


def _looked(
    model: HookedModel, copied: _Copied, looking: Looking, scope: Scope
) -> tuple[Int[Tensor, " written"], dict[MixerAdapter, Int[Tensor, "rows written"]]]:
    """The likeliest tokens, and the source that each row read most, at every position that was written from."""
    tops: dict[MixerAdapter, Tensor] = {}

    def look(adapter: MixerAdapter, form: MixerForm) -> None:
        attention = ImplicitAttention(form, scope, adapter.layer, adapter.index)
        tops[adapter] = largest_weight(attention, copied.query, looking.rows_of(adapter))

    with ExitStack() as stack:
        for adapter in looking.wanted:
            stack.enter_context(adapter.recorded_by(partial(look, adapter)))
        logits = model(copied.tokens[None])[0, copied.query]
    return logits.argmax(-1), tops


def largest_weight(
    attention: ImplicitAttention, query: Int[Tensor, " queries"], rows: int
) -> Int[Tensor, "rows queries"]:
    """The source that each row of the table reads most at the listed destinations of a single sequence."""
    entries = attention.rows(query)[0]
    weight = entries.abs() if attention.default_normalise == "mass" else entries.square()
    top: Tensor = weight.unflatten(0, (rows, -1)).sum(1).argmax(-1)
    return top


def _shifts(draws: int) -> list[int]:
    """The smallest shifts, on both sides: -1, 1, -2, 2, ..."""
    return [sign * size for size in range(1, draws // 2 + 2) for sign in (-1, 1)][:draws]


add_kind(
    HeadKind(
        "retrieval",
        "look at the token of the needle that the model is writing",
        "Wu et al. 2024, Retrieval Head Mechanistically Explains Long-Context Factuality",
        retrieval_heads,
        CausalTask(hidden_needle, label="answer"),
    )
)
