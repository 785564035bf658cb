"""The causal check of a head finder: does it hurt more to lose the heads it found than as many others beside them?"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import pandas as pd
import torch

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.interventions import Ablate, Reference
from workbench.model import HookedModel
from workbench.probes.heads.kinds import CausalTask, check_options, get_kind
from workbench.probes.heads.table import clear_heads, sites_of, top_heads
from workbench.progress import tracked
from workbench.sites import Site
from workbench.tasks import Interval, Task, TaskScores, score_model

MEASURES = ("loss", "accuracy")
WORSE_WHEN_HIGHER = ("loss", "divergence")

MixerPlace: TypeAlias = tuple[int, int]  # a layer and one of its mixers
Column: TypeAlias = tuple[str, str | None]  # a measure and a label, None for all labels together


@checked_call
def ablate_top_k(
    model: HookedModel,
    table: pd.DataFrame,
    k: int,
    *,
    method: str = "mean",
    draws: int = 20,
    seed: int = 1000,
    batch: int = 8,
    by: str = "score",
    exclude: Iterable[Site | str] = (),
    level: float = 0.95,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Ablate the top `k` heads of a table, and `k` random heads of the same layers, on the task of the table's kind.

    The task is the one that heads of this kind are for: repeated random tokens, a random Markov chain for n-gram heads,
    a needle in a haystack for retrieval heads, ordinals for successor heads (`HeadKind.check`). Each random set has as
    many heads in every mixer of every layer as the top `k` have, none of them among the top `k`. Where a mixer has too
    few others, the rest comes from the same mixer of the nearest layers that have some, then from the other mixers, and
    a warning says so; so it does where fewer than `draws` different sets exist. The tokens are drawn with another seed
    than the finder's default ones: what is confirmed is not what was selected on.

    Args:
        model: the hooked model that the table was made of.
        table: what `find_heads` returned, with every head or group that random sets may draw from; a table of your own
            needs the columns ``site`` and ``score``, and is checked on repeated random tokens without ``kind``.
        k: how many heads.
        method: ``"zero"``, ``"mean"`` or ``"resample"``, from the same tokens without ablation; see `Ablate`.
        draws: random sets; 0 ablates the top `k` alone, where there is nothing to compare with.
        seed: of the tokens and of the random sets.
        batch: sequences.
        by: column of the table that ranks the heads.
        exclude: more sites that no random set may contain, such as those of `heads_of_other_kinds`.
        level: coverage of the intervals.
        progress: show a progress bar.
        options: of the kind's task: ``block`` and ``bos`` of repeated random tokens, ``length`` of a needle's text.

    Returns:
        Three rows, ``condition`` = ``"baseline"``, ``"top"``, ``"random"`` (none for 0 draws), with ``heads`` (the
        sites, or how they were drawn) and, for ``loss`` and ``accuracy`` at each label of the task (``loss_first``,
        ``accuracy_second``; where the kind's check takes all labels together, ``loss`` and ``accuracy``): the mean and
        ``_low`` and ``_high``.
        Loss is in nats, accuracy between 0 and 1; of repeated tokens, first and second name the copy. The limits are a
        bootstrap over sequences, and for random sets the quantiles over the draws. ``p_loss_second`` (the kind's own
        column) in row ``"top"`` is the share of random sets that do at least as much harm, counting the top set, and
        ``p_least`` the smallest that it can be, ``1 / (1 + random sets)``: beside three other heads it is 1/4, which
        says little however much the head matters. Without draws there are no such columns.

    Raises:
        InputError: k or draws out of range, too few other heads in the whole table, heads of several kinds in it, or an
            option that the kind's task does not have.
    """
    if draws < 0:
        raise InputError(f"draws is {draws}; give a number of random sets, or 0 to ablate the top heads alone.")
    if method == "resample" and batch == 1:
        raise InputError("One sequence cannot be resampled from itself; take batch >= 2.")
    check = _check_of(table)
    top = sites_of(top_heads(table, k, by=by))
    barred = _units([*top, *exclude])
    others = [site for site in sites_of(table) if not _units([site]) & barred]
    sets = random_sets(top, others, draws, seed) if draws else []

    check_options(check.make, options, "The task of this check")
    task = check.make(model, batch=batch, seed=seed, **options)
    involved = sorted({site for chosen in [top, *sets] for site in chosen})
    reference = None if method == "zero" else Reference.record(model, task.tokens, involved, task.mask)

    def ablated(sites: Sequence[Site]) -> TaskScores:
        ablation = Ablate(sites, method, reference, seed=seed)
        return score_model(model, task, fwd_hooks=ablation.hooks(model))

    baseline = score_model(model, task)
    at_top = ablated(top)
    at_random = [ablated(chosen) for chosen in tracked(sets, progress, "ablating random heads")]

    columns = _columns_of(task, check)
    rows = [
        {"condition": "baseline", "heads": "none", **_over_sequences(baseline, columns, level)},
        {"condition": "top", "heads": " ".join(map(str, top)), **_over_sequences(at_top, columns, level)},
    ]
    if not sets:
        return pd.DataFrame(rows)
    drawn = {"condition": "random", "heads": f"{len(sets)} draws of {k}", **_over_draws(at_random, columns, level)}
    result = pd.DataFrame([*rows, drawn])
    sign = 1 if check.measure in WORSE_WHEN_HIGHER else -1
    harm = [sign * float(scores.per_sequence(check.measure, check.label).mean()) for scores in [at_top, *at_random]]
    as_bad = sum(other >= harm[0] for other in harm[1:])
    result[f"p_{check.decisive}"] = [float("nan"), (1 + as_bad) / (1 + len(sets)), float("nan")]
    result["p_least"] = [float("nan"), 1 / (1 + len(sets)), float("nan")]
    return result


def heads_of_other_kinds(tables: Iterable[pd.DataFrame], kind: str) -> list[str]:
    """Sites of the heads that are clearly of another kind than `kind` (see `clear_heads`), to be excluded.

    Args:
        tables: what `find_heads` returned for several kinds; that of `kind` itself is passed over.
        kind: the one that is to be checked.
    """
    found: dict[str, None] = {}
    for table in tables:
        for name, rows in table.groupby("kind", sort=False):
            if name != kind:
                found |= dict.fromkeys(clear_heads(rows))
    return list(found)


def _check_of(table: pd.DataFrame) -> CausalTask:
    if "kind" not in table.columns:  # a table of one's own: what induction heads are checked on
        return CausalTask()
    found = list(dict.fromkeys(map(str, table["kind"])))
    if len(found) != 1:
        raise InputError(f"A check is for one kind of head, and the table has {', '.join(found) or 'none'}.")
    return get_kind(found[0]).check


def _units(sites: Iterable[Site | str]) -> set[Site]:
    """Single heads that some sites are made of; a mixer, an MLP or a layer is one of its own."""
    parsed = [site if isinstance(site, Site) else Site.parse(site) for site in sites]
    found: set[Site] = set()
    for site in parsed:
        heads = range(site.start, site.stop)
        found.update(Site.heads(site.layer, head, mixer=site.mixer or 0) for head in heads)
        if site.part != "heads":
            found.add(site)
    return found


def random_sets(top: Sequence[Site], others: Sequence[Site], draws: int, seed: int) -> list[list[Site]]:
    """Different sets of other sites, each with as many in every mixer of every layer as `top` has.

    There are fewer than `draws`, and a warning, where no more exist.

    Raises:
        InputError: fewer others than `top` has sites.
    """
    if len(others) < len(top):
        few = f"Only {len(others)} other heads are in the table, and {len(top)} are to be drawn"
        raise InputError(f"{few}; draws=0 ablates the top heads alone.")
    pool: dict[MixerPlace, list[Site]] = {}
    for site in others:
        pool.setdefault(_place(site), []).append(site)
    needed = _places_to_draw_from(Counter(map(_place, top)), {place: len(sites) for place, sites in pool.items()})
    possible = math.prod(math.comb(len(pool[place]), count) for place, count in needed.items())
    if possible < draws:
        warnings.warn(
            f"Only {possible} random set{'s' if possible > 1 else ''} of {len(top)} can be drawn beside the top ones, "
            f"not {draws}, so that no p-value falls below {1 / (1 + possible):.2g}.",
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


def _place(site: Site) -> MixerPlace:
    return site.layer, site.mixer or 0


def _named(place: MixerPlace) -> str:
    layer, mixer = place
    return f"mixer {mixer} of layer {layer}" if mixer else f"layer {layer}"


def _places_to_draw_from(wanted: Counter[MixerPlace], available: dict[MixerPlace, int]) -> Counter[MixerPlace]:
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


def _columns_of(task: Task, check: CausalTask) -> list[Column]:
    """What is measured: every label of the task, and all together where that is what decides."""
    labels: list[str | None] = [None] if check.label is None else list(task.label_names)
    measures = dict.fromkeys([*MEASURES, check.measure])
    return [(measure, label) for label in labels for measure in measures]


def _over_sequences(scores: TaskScores, columns: Sequence[Column], level: float) -> dict[str, float]:
    return _named_columns({(m, c): scores.interval(m, c, level=level) for m, c in columns})


def _over_draws(draws: Sequence[TaskScores], columns: Sequence[Column], level: float) -> dict[str, float]:
    found = {}
    limits = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    for measure, label in columns:
        values = torch.stack([scores.per_sequence(measure, label).mean() for scores in draws]).double()
        low, high = torch.quantile(values, limits.to(values.device)).tolist()
        found[measure, label] = Interval(float(values.mean()), low, high)
    return _named_columns(found)


def _named_columns(intervals: dict[Column, Interval]) -> dict[str, float]:
    row: dict[str, float] = {}
    for (measure, label), (mean, low, high) in intervals.items():
        name = measure if label is None else f"{measure}_{label}"
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return row
