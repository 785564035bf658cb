"""The causal check of a head finder: does it hurt more to lose the heads it found than as many others beside them?"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import pandas as pd
import torch

from workbench.errors import InputError
from workbench.interventions import Ablate, Reference
from workbench.model import HookedModel
from workbench.probes.heads.table import sites_of, top_heads
from workbench.sites import Site
from workbench.tasks import Interval, TaskScores, repeated_random_tokens, score_model

MEASURES = ("loss", "accuracy")
LABELS = ("first", "second")

Place: TypeAlias = tuple[int, int]  # a layer and one of its mixers


def ablate_top_k(
    model: HookedModel,
    table: pd.DataFrame,
    k: int,
    *,
    method: str = "mean",
    draws: int = 20,
    seed: int = 1000,
    batch: int = 8,
    block: int = 50,
    bos: bool | int | None = None,
    by: str = "score",
    exclude: Sequence[Site | str] = (),
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """Ablate the top `k` heads of a table, and `k` random heads of the same layers, on repeated random tokens.

    Each random set has as many heads in every mixer of every layer as the top `k` have, none of them among the top `k`.
    Where a mixer has too few others, the rest comes from the same mixer of the nearest layers that have some, then from
    the other mixers, and a warning says so; so it does where fewer than `draws` different sets exist. The tokens are
    drawn with another seed than the finder's default ones: what is confirmed is not what was selected on.

    Args:
        model: the hooked model that the table was made of.
        table: what `find_heads` returned, with every head or group that random sets may draw from.
        k: how many heads.
        method: ``"zero"``, ``"mean"`` or ``"resample"``, from the same tokens without ablation; see `Ablate`.
        draws: random sets.
        seed: of the tokens and of the random sets.
        batch: sequences.
        block: random tokens before they repeat.
        bos: token in front of every sequence; as in `find_heads`.
        by: column of the table that ranks the heads.
        exclude: more sites that no random set may contain, such as heads of other known kinds.
        level: coverage of the intervals.
        progress: show a progress bar.

    Returns:
        Three rows, ``condition`` = ``"baseline"``, ``"top"``, ``"random"``, with ``heads`` (the sites, or how they were
        drawn) and, for each of ``loss_first``, ``accuracy_first``, ``loss_second``, ``accuracy_second``: the mean and
        ``_low`` and ``_high``. Loss is in nats, accuracy between 0 and 1, first and second name the copy. The limits
        are a bootstrap over sequences, and for random sets the quantiles over the draws. ``p_loss_second`` in row
        ``"top"`` is the share of random sets that raise the second copy's loss at least as much, counting the top set.

    Raises:
        InputError: k or draws out of range, or too few other heads in the whole table.
    """
    if draws < 1:
        raise InputError(f"draws is {draws}; at least one random set is needed.")
    if method == "resample" and batch == 1:
        raise InputError("One sequence cannot be resampled from itself; take batch >= 2.")
    top = sites_of(top_heads(table, k, by=by))
    barred = {*map(str, top), *map(str, exclude)}
    others = [site for site in sites_of(table) if str(site) not in barred]
    sets = random_sets(top, others, draws, seed)

    task = repeated_random_tokens(model, block, batch=batch, seed=seed, bos=bos)
    involved = sorted({site for chosen in [top, *sets] for site in chosen})
    reference = None if method == "zero" else Reference.record(model, task.tokens, involved)

    def ablated(sites: Sequence[Site]) -> TaskScores:
        ablation = Ablate(sites, method, reference, seed=seed)
        return score_model(model, task, fwd_hooks=ablation.hooks(model))

    baseline = score_model(model, task)
    at_top = ablated(top)
    at_random = [ablated(chosen) for chosen in _progress(sets, progress)]

    rows = [
        {"condition": "baseline", "heads": "none", **_over_sequences(baseline, level)},
        {"condition": "top", "heads": " ".join(map(str, top)), **_over_sequences(at_top, level)},
        {"condition": "random", "heads": f"{len(sets)} draws of {k}", **_over_draws(at_random, level)},
    ]
    result = pd.DataFrame(rows)
    worst = float(at_top.per_sequence("loss", "second").mean())
    as_bad = sum(float(scores.per_sequence("loss", "second").mean()) >= worst for scores in at_random)
    result["p_loss_second"] = [float("nan"), (1 + as_bad) / (1 + len(sets)), float("nan")]
    return result


def random_sets(top: Sequence[Site], others: Sequence[Site], draws: int, seed: int) -> list[list[Site]]:
    """Different sets of other sites, each with as many in every mixer of every layer as `top` has.

    There are fewer than `draws`, and a warning, where no more exist.

    Raises:
        InputError: fewer others than `top` has sites.
    """
    if len(others) < len(top):
        raise InputError(f"Only {len(others)} other heads are in the table, and {len(top)} are to be drawn.")
    pool: dict[Place, list[Site]] = {}
    for site in others:
        pool.setdefault(_place(site), []).append(site)
    needed = _places_to_draw_from(Counter(map(_place, top)), {place: len(sites) for place, sites in pool.items()})
    possible = math.prod(math.comb(len(pool[place]), count) for place, count in needed.items())
    if possible < draws:
        warnings.warn(
            f"Only {possible} random set{'s' if possible > 1 else ''} of {len(top)} can be drawn beside the top ones, "
            f"not {draws}; take a smaller k.",
            stacklevel=3,
        )
    generator = torch.Generator().manual_seed(seed)
    # Repeated sets would make the interval over draws look narrower than it is.
    sets: dict[tuple[Site, ...], None] = {}
    while len(sets) < min(draws, possible):
        chosen: list[Site] = []
        for place, count in sorted(needed.items()):
            order = torch.randperm(len(pool[place]), generator=generator)[:count]
            chosen += [pool[place][i] for i in sorted(order.tolist())]
        sets[tuple(chosen)] = None
    return [list(chosen) for chosen in sets]


def _place(site: Site) -> Place:
    return site.layer, site.mixer or 0


def _named(place: Place) -> str:
    layer, mixer = place
    return f"mixer {mixer} of layer {layer}" if mixer else f"layer {layer}"


def _places_to_draw_from(wanted: Counter[Place], available: dict[Place, int]) -> Counter[Place]:
    """How many sites each mixer gives, borrowing from the nearest layers where one has too few."""
    needed = Counter({place: min(count, available.get(place, 0)) for place, count in wanted.items()})
    borrowed = []
    for place, count in sorted(wanted.items()):
        missing = count - min(count, available.get(place, 0))
        layer, mixer = place
        nearest = sorted(available, key=lambda other: (other[1] != mixer, abs(other[0] - layer), other))
        for neighbour in nearest:
            taken = min(missing, available[neighbour] - needed[neighbour])
            if taken > 0:
                needed[neighbour] += taken
                missing -= taken
                borrowed.append(f"{taken} for {_named(place)} from {_named(neighbour)}")
    if borrowed:
        warnings.warn(
            f"Too few other heads in some layers; random sets take {', '.join(borrowed)} instead.", stacklevel=4
        )
    return +needed


def _over_sequences(scores: TaskScores, level: float) -> dict[str, float]:
    return _columns({(m, c): scores.interval(m, c, level=level) for c in LABELS for m in MEASURES})


def _over_draws(draws: Sequence[TaskScores], level: float) -> dict[str, float]:
    found = {}
    limits = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    for label in LABELS:
        for measure in MEASURES:
            values = torch.stack([scores.per_sequence(measure, label).mean() for scores in draws]).double()
            low, high = torch.quantile(values, limits.to(values.device)).tolist()
            found[measure, label] = Interval(float(values.mean()), low, high)
    return _columns(found)


def _columns(intervals: dict[tuple[str, str], Interval]) -> dict[str, float]:
    row: dict[str, float] = {}
    for (measure, label), (mean, low, high) in intervals.items():
        name = f"{measure}_{label}"
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return row


def _progress(sets: list[list[Site]], show: bool) -> Iterable[list[Site]]:
    if not show:
        return sets
    from rich.progress import track

    return track(sets, description="ablating random heads", transient=True)
