"""`find_heads`: score every head of a model for one kind, with intervals and a null distribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.attention.implicit import Scope
from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.model import HookedModel
from workbench.probes.heads.kinds import DefiningPairs, get_kind
from workbench.probes.heads.null import is_causal, null_quantile, p_value, rival_shifts
from workbench.probes.heads.shares import Shares
from workbench.probes.heads.table import head_table
from workbench.sites import Site
from workbench.tasks import RepeatedTokens, bootstrap_means, repeated_random_tokens

# Shares that are held at once; 4M of them are 16 MB, and as much again for the entries they come from.
_ELEMENTS_AT_ONCE = 2**22


def find_heads(
    model: HookedModel,
    kind: str,
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
    """Score every head, or every channel of a Mamba-1 layer, for one kind of head.

    The model reads random tokens repeated. The score of a head is the average, over the pairs (destination, source)
    that define the kind, of the share of the destination's row that the source has (see `Shares`). On a softmax head
    that is the mean attention probability on the defining source; TransformerLens' head detector returns the same
    number times the fraction of rows that have such a source. Only entries at listed places are computed, never a
    ``[time, time]`` matrix; a row's energy comes from a scan.

    The default scope is the whole mixer, because that is where tokens are. Mamba convolves its values before the
    recurrence: position `s` of the core carries the tokens ``s - 3 .. s``, so a channel that copies the right token may
    read it up to three positions late in core scope, and a channel that reads the previous token through the
    convolution alone looks like one that reads the current token. Without a convolution and a skip the scopes agree.

    Args:
        model: a hooked model.
        kind: one of `kinds()`: ``"induction"``, ``"previous_token"``, ``"duplicate_token"``.
        seeds: one batch of sequences for each; intervals are over all of them. A number is one seed.
        batch: sequences a seed.
        block: random tokens, all different, before they repeat.
        bos: token to put in front of every sequence: an id, True for the model's own, None for none.
        normalise: ``"mass"`` or ``"energy"``; None means mass for softmax and energy for recurrent mixers.
        scope: ``"mixer"`` or ``"core"``.
        layers: layers to look at, all by default.
        mixer: which of a layer's mixers to look at, where it has several (Falcon-H1's attention beside its Mamba-2 is
            1); all of them by default.
        group: neighbouring heads pooled into one row of the table, for Mamba-1 channels: 64 makes 24 rows of 1536.
        null_draws: rival positions a head is compared with (see `workbench.probes.heads.null`). With 20 of them a head
            is above its null at level 0.95 when it beats them all; with more, a few may be higher, and a memory that
            merely fades passes for a previous-token head because only the current token is above it.
        null_level: quantile of the rivals' scores that column ``null`` holds.
        level: coverage of the intervals.
        progress: show a progress bar.

    Returns:
        One row a head, best first: ``layer``, ``mixer`` (0 for the layer's first), ``head`` (first of its group),
        ``site`` (as in `Ablate`), ``score`` with its bootstrap interval over seeds and sequences ``low`` and ``high``,
        ``null``, ``excess`` (score minus null), ``p`` (rank among the rivals), and ``kind``, ``normalise``, ``scope``,
        ``family``.

    Raises:
        InputError: an unknown kind or option, a layer or mixer out of range, a group that does not divide the heads.
    """
    definition = get_kind(kind)
    seeds = [seeds] if isinstance(seeds, int) else seeds
    layers = [layers] if isinstance(layers, int) else layers
    if not seeds:
        raise InputError("seeds is empty; at least one is needed.")
    if block < 2:
        raise InputError(f"block is {block}; a block of one token repeats itself at once, so at least 2 are needed.")
    for option, value, choices in (
        ("normalise", normalise, ("mass", "energy", None)),
        ("scope", scope, ("core", "mixer")),
    ):
        if value not in choices:
            raise InputError(f"{option} is {value!r}; there is: {', '.join(filter(None, choices))}.")
    if not 0 < null_level < 1:
        raise InputError(f"null_level is {null_level}; a quantile between 0 and 1 is needed, such as 0.95.")
    wanted = model.mixers_of(_checked(model, layers), mixer)
    for adapter in wanted:
        if group < 1 or adapter.n_heads % group:
            raise InputError(f"Groups of {group} do not divide the {adapter.n_heads} heads of {adapter.place}.")

    scores: dict[MixerAdapter, list[Tensor]] = {adapter: [] for adapter in wanted}
    rivals: dict[MixerAdapter, list[Tensor]] = {adapter: [] for adapter in wanted}
    normalised: dict[MixerAdapter, str] = {}
    seen: Scope = "core" if scope == "core" else "mixer"
    tasks = [repeated_random_tokens(model, block, batch=batch, seed=seed, bos=bos) for seed in seeds]
    for task in _progress(tasks, progress, f"looking for {kind} heads"):
        pairs = definition.pairs(task)
        shifts = rival_shifts(pairs, null_draws)
        with torch.no_grad():
            for layer, attention in model.implicit_attentions(task.tokens, layers, seen, mixer=mixer):
                adapter = model.mixer(layer, attention.mixer)
                normalised[adapter] = normalise or attention.default_normalise
                shares = Shares(attention, adapter.n_heads // group, normalised[adapter])
                at_source, elsewhere = _averages(shares, pairs, shifts)
                scores[adapter].append(at_source)
                rivals[adapter].append(elsewhere)

    rows: list[dict[str, object]] = []
    for adapter in wanted:
        statistics = _statistics(torch.cat(scores[adapter]), torch.stack(rivals[adapter]).mean(0), null_level, level)
        for row in range(statistics["score"].shape[0]):
            first = row * group
            rows.append(
                {
                    "layer": adapter.layer,
                    "mixer": adapter.index,
                    "head": first,
                    "site": str(Site.heads(adapter.layer, first, first + group, mixer=adapter.index)),
                    **{name: float(column[row]) for name, column in statistics.items()},
                    "kind": kind,
                    "normalise": normalised[adapter],
                    "scope": scope,
                    "family": adapter.family,
                }
            )
    return head_table(rows)


def _averages(
    shares: Shares, pairs: DefiningPairs, shifts: Sequence[int]
) -> tuple[Float[Tensor, "batch rows"], Float[Tensor, "draws rows"]]:
    """Mean share at the defining source, a sequence; and at each rival source, over all sequences."""
    batch, units, _, _ = shares.attention.shape
    at_once = max(1, _ELEMENTS_AT_ONCE // max(1, batch * units * len(pairs.query)))
    columns: list[Tensor] = []
    every = [0, *shifts]
    for start in range(0, len(every), at_once):
        some = every[start : start + at_once]
        causal = [is_causal(pairs, shift) for shift in some]
        query = torch.cat([pairs.query[valid] for valid in causal])
        key = torch.cat([pairs.key[valid] + shift for valid, shift in zip(causal, some, strict=True)])
        lengths = [int(valid.sum()) for valid in causal]
        columns += [part.double().mean(-1).cpu() for part in shares(query, key).split(lengths, dim=-1)]
    return columns[0], torch.stack(columns[1:]).mean(1)


def _statistics(
    scores: Float[Tensor, "sequences rows"], rivals: Float[Tensor, "draws rows"], null_level: float, level: float
) -> dict[str, Float[Tensor, " rows"]]:
    """The numeric columns of the table, for one mixer."""
    score, low, high = bootstrap_means(scores, level=level)
    null = null_quantile(rivals, null_level)
    return {"score": score, "low": low, "high": high, "null": null, "excess": score - null, "p": p_value(score, rivals)}


def _checked(model: HookedModel, layers: Sequence[int] | None) -> Sequence[int] | None:
    """The layers to look at, as they were given. A table is read by layer number, so none counts from the end."""
    count = model.cfg.n_layers
    for layer in layers or ():
        if not 0 <= layer < count:
            raise InputError(f"There is no layer {layer}; the model has layers 0..{count - 1}.")
    if layers is not None and not layers:
        raise InputError("layers is empty; name at least one, or leave it out for all.")
    return layers


def _progress(tasks: list[RepeatedTokens], show: bool, what: str) -> Iterable[RepeatedTokens]:
    if not show:
        return tasks
    from rich.progress import track

    return track(tasks, description=what, transient=True)
