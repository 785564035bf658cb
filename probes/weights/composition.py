"""How much of what one head writes another one reads: Q-, K- and V-composition.

Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits", section "Two-layer attention-only
transformers"): the norm of the product of two heads' circuits over the product of their norms, with what random
matrices of the same shapes give as a baseline.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.figures.maps import colour_axis, plain_layout
from workbench.model import HookedModel
from workbench.probes.weights.factored import FactoredMatrix
from workbench.probes.weights.heads import HeadWeights, all_head_weights
from workbench.sites import Site

AT_ONCE = 2**24  # numbers of the pairs' small products that are held at once: 64 MiB in float32
MOST_PAIRS = 2**26  # scores in one tensor


def composition_scores(left: FactoredMatrix, right: FactoredMatrix) -> Float[Tensor, "left_heads right_heads"]:
    """``|L R| / (|L| |R|)`` (Frobenius norms) of every matrix of one batch with every one of another.

    Only products of the inner sizes are made: ``|A1 B1 A2 B2|`` is the norm of ``r(A1) B1 A2 r(B2)`` with the
    triangles ``r`` of the QR decompositions.

    Raises:
        InputError: the sizes do not fit, or there are more than one batch axis.
    """
    if left.shape[-1] != right.shape[-2] or len(left.shape) != 3 or len(right.shape) != 3:
        raise InputError(f"{left} and {right} do not compose: [heads, a, b] goes with [heads, b, c].")
    first = torch.linalg.qr(left.A.to(torch.float32), mode="r")[1] @ left.B.to(torch.float32)
    second = right.A.to(torch.float32) @ torch.linalg.qr(right.B.to(torch.float32).mT, mode="r")[1].mT
    rows = max(1, AT_ONCE // (second.shape[0] * first.shape[-2] * second.shape[-1]))
    norms = [
        torch.einsum("iad,jdb->ijab", first[start : start + rows], second).square().sum((-2, -1)).sqrt()
        for start in range(0, len(first), rows)
    ]
    return torch.cat(norms) / (left.norm()[:, None] * right.norm()[None]).clamp(min=1e-30)


@checked_call
def all_composition_scores(
    model: HookedModel, mode: str, *, mixer: int = 0, layers: Sequence[int] | None = None
) -> Float[Tensor, "layer head later_layer later_head"]:
    """The composition score of every head with every head of a later layer; 0 for the others (TransformerLens).

    Q-composition is ``OV`` with ``QK``, K-composition ``OV`` with ``QK'``, V-composition ``OV`` with ``OV``. Norms are
    not folded. Of a recurrent mixer it is the linear part that composes (see `HeadWeights`).

    Raises:
        InputError: an unknown mode, layers whose heads differ in number, mixers without queries and keys, or so many
            channels that the scores would not fit.
    """
    found = _weights(model, mode, mixer, layers)
    heads = len(found[0].W_V)
    if any(len(each.W_V) != heads for each in found):
        raise InputError(f"The layers of {model.cfg.model_name} differ in heads; use composition_table.")
    if (len(found) * heads) ** 2 > MOST_PAIRS:
        raise InputError(f"{len(found) * heads} heads make {(len(found) * heads) ** 2} pairs; choose fewer layers.")
    scores = torch.zeros(len(found), heads, len(found), heads)
    for early, one in enumerate(found):
        for late in range(early + 1, len(found)):
            scores[early, :, late] = composition_scores(one.OV, _reader(found[late], mode)).cpu()
    return scores


@checked_call
def composition_table(
    model: HookedModel,
    mode: str,
    *,
    mixer: int = 0,
    layers: Sequence[int] | None = None,
    top: int = 100,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """The pairs of heads that compose most, above what random matrices of their shapes would.

    Args:
        top: rows to keep.
        draws: pairs of random heads (Gaussian factors of the same shapes) behind the baseline.

    Returns:
        One row a pair, best first: ``writer`` and ``reader`` (sites), ``score``, ``baseline`` (mean of the random
        pairs), ``excess`` (their difference) and ``deviations`` (the excess in their standard deviations).

    Raises:
        InputError: as `all_composition_scores`.
    """
    found = _weights(model, mode, mixer, layers)
    rows: list[pd.DataFrame] = []
    known: dict[tuple[int, ...], tuple[float, float]] = {}
    for early, one in enumerate(found):
        for other in found[early + 1 :]:
            left, right = one.OV, _reader(other, mode)
            scores = composition_scores(left, right).cpu()
            shapes = (*left.A.shape[1:], *right.A.shape[1:])
            if shapes not in known:
                known[shapes] = _baseline(left, right, draws, seed)
            mean, spread = known[shapes]
            best = scores.flatten().topk(min(top, scores.numel()))
            writers, readers = np.divmod(best.indices.numpy(), scores.shape[1])
            value = best.values.double().numpy()
            columns = {
                "writer": [str(Site.heads(one.layer, int(head), mixer=mixer)) for head in writers],
                "reader": [str(Site.heads(other.layer, int(head), mixer=mixer)) for head in readers],
                "score": value,
                "baseline": mean,
                "excess": value - mean,
                "deviations": (value - mean) / max(spread, 1e-30),
            }
            rows.append(pd.DataFrame(columns))
    if not rows:
        raise InputError("Composition is between layers: choose at least two.")
    return pd.concat(rows).sort_values("excess", ascending=False).head(top).reset_index(drop=True)


def composition_map(scores: Float[Tensor, "layer head later_layer later_head"], mode: str = "K") -> go.Figure:
    """Heat map of `all_composition_scores`: rows are the heads that write, columns the heads that read."""
    layers, heads = scores.shape[:2]
    labels = [f"L{layer}H{head}" for layer in range(layers) for head in range(heads)]
    values = scores.flatten(2).flatten(0, 1).numpy().astype(np.float32)
    values = np.where(values == 0, np.nan, values).astype(np.float32)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=labels,
            y=labels,
            coloraxis="coloraxis",
            hoverongaps=False,
            hovertemplate="%{y} writes, %{x} reads<br>%{z:.3f}<extra></extra>",
        )
    )
    figure.update_layout(
        coloraxis=colour_axis(values, False, f"{mode}-composition"),
        xaxis={"title": "reads", "tickfont": {"size": 10}, "automargin": True},
        yaxis={"title": "writes", "autorange": "reversed", "tickfont": {"size": 10}, "automargin": True},
        **plain_layout(),
    )
    return figure


def _weights(model: HookedModel, mode: str, mixer: int, layers: Sequence[int] | None) -> list[HeadWeights]:
    if mode not in ("Q", "K", "V"):
        raise InputError(f"There is no {mode!r}-composition; there are Q, K and V.")
    return all_head_weights(model, model.mixers_of(layers, mixer))


def _reader(heads: HeadWeights, mode: str) -> FactoredMatrix:
    return heads.OV if mode == "V" else heads.QK if mode == "Q" else heads.QK.T


def _baseline(left: FactoredMatrix, right: FactoredMatrix, draws: int, seed: int) -> tuple[float, float]:
    """Mean and standard deviation of the score of random matrices of these shapes."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: Tensor) -> Tensor:
        return torch.randn(1, *like.shape[1:], generator=generator)

    scores = [
        float(
            composition_scores(
                FactoredMatrix(drawn(left.A), drawn(left.B)), FactoredMatrix(drawn(right.A), drawn(right.B))
            )
        )
        for _ in range(draws)
    ]
    return float(np.mean(scores)), float(np.std(scores))
