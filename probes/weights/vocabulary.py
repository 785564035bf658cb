"""Matrices read in the words of the vocabulary: which tokens a direction is made by, and which it speaks for.

Geva et al. 2021 (arXiv:2012.14913) and Dar et al. 2022 (arXiv:2209.02535): a direction that something writes is put
through the unembedding, one that something reads is compared with the embeddings. Millidge and Black 2022 ("The
Singular Value Decompositions of Transformer Weight Matrices are Highly Interpretable") do it to singular vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.weights.heads import head_weights
from workbench.probes.weights.model import ModelWeights

Side: TypeAlias = Literal["reads", "writes"]
MATRICES = ("W_in", "W_gate", "W_out", "W_Q", "W_K", "W_V", "W_O")


@checked_call
def project(
    model: HookedModel, directions: Float[Tensor, "directions d_model"], side: Side
) -> Float[Tensor, "directions vocab"]:
    """Scores of every token for each direction.

    Args:
        side: ``"writes"`` is the logit that the direction adds, through the final norm's weight and the unembedding
            (the norm's scale is left out); ``"reads"`` the product with each token's embedding.

    Raises:
        InputError: another side, or directions of another width.
    """
    if side not in ("reads", "writes"):
        raise InputError(f"A direction reads or writes; {side!r} is neither.")
    weights = ModelWeights(model, fold_norm=True)
    matrix = weights.W_U if side == "writes" else weights.W_E.T
    if directions.dim() != 2 or directions.shape[1] != matrix.shape[0]:
        raise InputError(f"Directions are [number, {matrix.shape[0]}], not {[*directions.shape]}.")
    wide = torch.promote_types(matrix.dtype, torch.float32)
    with torch.no_grad():
        return directions.to(matrix.device, wide) @ matrix.to(wide)


@checked_call
def top_tokens(
    model: HookedModel,
    directions: Float[Tensor, "directions d_model"],
    side: Side = "writes",
    *,
    k: int = 10,
    names: Sequence[object] | None = None,
) -> pd.DataFrame:
    """The tokens with the highest scores of each direction (see `project`).

    Args:
        k: tokens a direction.
        names: what the directions are called, in column ``direction``; by default they are numbered.

    Returns:
        ``direction``, ``side``, ``rank`` (0 is the highest), ``token``, ``text``, ``score``.

    Raises:
        InputError: as `project`, or `k` out of range.
    """
    scores = project(model, directions, side)
    if not 1 <= k <= scores.shape[1]:
        raise InputError(f"k is {k}; the vocabulary has 1 to {scores.shape[1]} tokens.")
    called = list(range(len(scores))) if names is None else list(names)
    best = scores.topk(k, dim=-1)
    rows = [
        {"direction": called[row], "side": side, "rank": rank, "token": token, "score": score}
        for row in range(len(scores))
        for rank, (token, score) in enumerate(zip(best.indices[row].tolist(), best.values[row].tolist(), strict=True))
    ]
    table = pd.DataFrame(rows, columns=["direction", "side", "rank", "token", "score"])
    table.insert(4, "text", _texts(model, table["token"].tolist()))
    return table


@checked_call
def singular_vectors(
    model: HookedModel,
    layer: int,
    head: int,
    circuit: Literal["OV", "QK"] = "OV",
    *,
    mixer: int = 0,
    count: int = 5,
    k: int = 10,
    fold_norm: bool = True,
) -> pd.DataFrame:
    """A head's circuit in the vocabulary: the tokens of its largest singular vectors, on both of its sides.

    Of an OV circuit the left vectors are what it reads and the right ones what it writes for that; of a QK circuit the
    left ones are destinations' and the right ones sources', both read. Of the two signs that a pair of vectors can
    have, the one is taken whose right side speaks louder for its best token than against its worst.

    Args:
        count: singular vectors.
        k: tokens of each.
        fold_norm: with the weight of the norm before the mixer in the sides that read.

    Returns:
        ``direction`` (0 is the largest singular value), ``singular_value``, ``side`` (``"reads"``, ``"writes"``; of a
        QK circuit ``"query"``, ``"key"``), ``rank``, ``token``, ``text``, ``score``.

    Raises:
        InputError: no such layer, mixer, head or circuit, or a count out of range.
    """
    head = model.head_index(layer, head, mixer)
    matrix = head_weights(model, layer, mixer, fold_norm=fold_norm).circuit(circuit)[head]
    if not 1 <= count <= matrix.rank:
        raise InputError(f"count is {count}; this circuit has 1 to {matrix.rank} singular vectors.")
    left, values, right = matrix.svd()
    left, right = left[:, :count].T, right[:, :count].T
    second: Side = "writes" if circuit == "OV" else "reads"
    loud = project(model, right, second)
    sign = torch.where(loud.amax(-1) < -loud.amin(-1), -1.0, 1.0)[:, None].to(left)
    sides = [top_tokens(model, left * sign, "reads", k=k), top_tokens(model, right * sign, second, k=k)]
    if circuit == "QK":
        sides[0]["side"], sides[1]["side"] = "query", "key"
    table = pd.concat(sides).sort_values(["direction", "side", "rank"], kind="stable").reset_index(drop=True)
    table.insert(1, "singular_value", [float(values[row]) for row in table["direction"]])
    return table


@checked_call
def matrix_tokens(
    model: HookedModel,
    matrix: str,
    layer: int,
    rows: Sequence[int] | None = None,
    *,
    head: int | None = None,
    mixer: int = 0,
    k: int = 10,
) -> pd.DataFrame:
    """Any matrix in the vocabulary, one hidden unit or one channel of a head a direction (see `top_tokens`).

    Args:
        matrix: ``"W_in"``, ``"W_gate"`` or ``"W_out"`` of the MLP (keys and values of Geva et al.), or ``"W_Q"``,
            ``"W_K"``, ``"W_V"`` or ``"W_O"`` of a `head`.
        rows: which units; all by default.

    Raises:
        InputError: no such matrix, layer, head or unit.
    """
    if matrix not in MATRICES:
        raise InputError(f"There is no matrix {matrix!r}; there are {', '.join(MATRICES)}.")
    if matrix in MATRICES[:3]:
        found = ModelWeights(model, fold_norm=True).mlp(layer)[MATRICES.index(matrix)]
        what = f"The MLP of layer {layer}"
    else:
        if head is None:
            raise InputError(f"{matrix} is a head's: give its number as head=.")
        number = model.head_index(layer, head, mixer)
        each = getattr(head_weights(model, layer, mixer, fold_norm=True), matrix)
        found, what = None if each is None else each[number], f"Mixer {mixer} of layer {layer}"
    if found is None:
        raise InputError(f"{what} of {model.cfg.model_name} has no {matrix}.")
    writes = matrix in ("W_out", "W_O")
    directions = found if writes else found.T
    chosen = list(range(len(directions))) if rows is None else [int(row) for row in rows]
    if any(not 0 <= row < len(directions) for row in chosen):
        raise InputError(f"{matrix} has units 0 to {len(directions) - 1}; got {chosen}.")
    return top_tokens(model, directions[chosen], "writes" if writes else "reads", k=k, names=chosen)


def _texts(model: HookedModel, tokens: list[int]) -> list[str]:
    if model.tokenizer is None:
        return [str(token) for token in tokens]
    known = {token: str(model.to_string([token])) for token in set(tokens)}
    return [known[token] for token in tokens]
