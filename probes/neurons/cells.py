"""Units whose value follows a predicate: Karpathy et al. 2015's cells, searched for in every hook of every family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Num
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.places import At
from workbench.probes.linear.scores import GroupDraws
from workbench.probes.neurons.corpus import Corpus
from workbench.probes.neurons.predicates import Predicate, token_labels
from workbench.probes.neurons.streaming import stream_units, unit_places


@checked_call
def cells_that_follow(
    model: HookedModel,
    corpus: Corpus,
    predicate: str | Predicate,
    at: At = "z",
    layers: Sequence[int] | int | None = None,
    *,
    null_draws: int = 20,
    batch: int = 8,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Correlate every unit with a predicate over a text, in one streaming pass.

    Args:
        predicate: a name in `workbench.probes.neurons.PREDICATES`, or a function from a text to one number a character.
        at, layers: as in `workbench.probes.linear.places`; ``"z"`` by default: what a mixer reads from its memory (an
            LSTM's cells); ``"mixer.hook_head_out"``, ``"mlp.hook_post"``, ``"resid_post"`` and all others with a time
            axis.
        null_draws: how often the predicate is also compared after each window was given another window's labels.

    Returns:
        One row a unit, the strongest first: ``hook``, ``layer``, ``unit``, ``correlation`` (Pearson's, over all counted
        tokens) with its bootstrap interval over windows ``low`` and ``high``; ``null``, the largest absolute
        correlation that any unit has with labels of other windows in 95 % of the draws, and ``follows``: whether the
        unit's whole interval lies beyond it.

    Raises:
        InputError: the predicate is the same at every token, too few windows, or a corpus without text.
    """
    labels = token_labels(corpus, predicate).astype(np.float64)
    count = len(labels)
    if count < 2:
        raise InputError("The text makes one window and an interval needs two; take a longer text or shorter windows.")
    if not np.ptp(labels):
        raise InputError(f"The predicate is {labels.flat[0]:g} at every token of this text; nothing can follow it.")
    labels -= labels.mean()
    generator = np.random.default_rng(seed)
    # Another window's labels have the predicate's own runs and rhythm, and nothing to do with the unit.
    shifts = [int(generator.integers(1, count)) for _ in range(null_draws)]
    targets = torch.as_tensor(np.stack([labels, *(np.roll(labels, shift, axis=0) for shift in shifts)], axis=2))
    found = unit_places(model, at, layers)
    sums: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {place.name: [] for place in found}
    centres: dict[str, Tensor] = {}
    for part, values in stream_units(model, corpus, [place.name for place in found], batch, progress):
        for name, raw in values.items():
            wide = raw.double()
            # Sums of squares lose no digits to a large mean when most of it is taken off first.
            wide = wide - centres.setdefault(name, wide.mean((0, 1)))
            products = torch.einsum("wtu,wtd->wdu", wide, targets[part])
            sums[name].append((wide.sum(1), (wide**2).sum(1), products))
    draws = GroupDraws(np.arange(count), seed=seed)
    moments = _moments(labels, draws)
    rows: list[pd.DataFrame] = []
    null_of_draws = np.zeros(null_draws)
    for place in found:
        x, xx, xy = (torch.cat(parts).numpy() for parts in zip(*sums[place.name], strict=True))
        correlations = _correlations(x, xx, xy[:, 0], moments, draws)
        low, high = np.nanquantile(correlations[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
        for draw in range(null_draws):
            shifted = _correlations(x, xx, xy[:, 1 + draw], moments, None)[0]
            null_of_draws[draw] = max(null_of_draws[draw], np.nanmax(np.abs(shifted), initial=0.0))
        rows.append(
            pd.DataFrame(
                {
                    "hook": place.name,
                    "layer": -1 if place.layer is None else place.layer,
                    "unit": np.arange(x.shape[1]),
                    "correlation": correlations[0],
                    "low": low,
                    "high": high,
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    table["null"] = float(np.quantile(null_of_draws, 0.95)) if null_draws else float("nan")
    table["follows"] = (table["low"] > table["null"]) | (table["high"] < -table["null"])
    order = table["correlation"].abs().sort_values(ascending=False, kind="stable", na_position="last").index
    return table.loc[order].reset_index(drop=True)


@checked_call
def cell_values(
    model: HookedModel, text: str, at: At, layer: int | None, unit: int, *, bos: bool = False
) -> tuple[list[str], Float[np.ndarray, " time"]]:
    """The tokens of one text and a unit's value after each: what `plot_cell` draws.

    Args:
        at, layer: one hook, as in `workbench.probes.linear.places`.

    Raises:
        InputError: no such unit, or a name that means several hooks.
    """
    place, *more = unit_places(model, at, layer)
    if more:
        raise InputError(f"{at} means {1 + len(more)} hooks; name one layer.")
    tokens = model.to_tokens(text, prepend_bos=True if bos else None)
    corpus = Corpus(tokens.cpu())
    ((_, values),) = stream_units(model, corpus, [place.name], 1)
    units = values[place.name].shape[2]
    if not 0 <= unit < units:
        raise InputError(f"Unit {unit} is out of range: {place.name} has units 0 to {units - 1}.")
    return model.to_str_tokens(tokens), values[place.name][0, :, unit].numpy()


Moments = tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]


def _moments(labels: Num[np.ndarray, "windows time"], draws: GroupDraws) -> Moments:
    """Tokens, sum and sum of squares of the labels in every draw of windows."""
    parts = (np.full(len(labels), float(labels.shape[1])), labels.sum(1), (labels**2).sum(1))
    return draws.sums(parts[0]), draws.sums(parts[1]), draws.sums(parts[2])


def _correlations(
    x: Float[np.ndarray, "windows units"],
    xx: Float[np.ndarray, "windows units"],
    xy: Float[np.ndarray, "windows units"],
    moments: Moments,
    draws: GroupDraws | None,
) -> Float[np.ndarray, "some units"]:
    """Correlation of each unit with the labels, in the data alone without `draws`; NaN where one is constant."""
    weights = np.ones((1, len(x))) if draws is None else draws.weights
    n, y, yy = (column[: len(weights), None] for column in moments)
    sx, sxx, sxy = weights @ x, weights @ xx, weights @ xy
    vx, vy = sxx - sx**2 / n, yy - y**2 / n
    # What is constant, or is so in the windows of a draw, has a variance of rounding errors.
    vx, vy = (np.where(v > 1e-12 * np.maximum(squares, 1e-300), v, np.nan) for v, squares in ((vx, sxx), (vy, yy)))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Float[np.ndarray, "some units"] = (sxy - sx * y / n) / np.sqrt(vx * vy)
    return found
