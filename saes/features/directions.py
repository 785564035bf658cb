"""What features write: the tokens whose logits they raise and lower, and the features that write nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.direct_logits.anatomy import anatomy
from workbench.direct_logits.norms import LinearNorm
from workbench.errors import WorkbenchError
from workbench.model import HookedModel
from workbench.probes.weights import ModelWeights
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.features.pieces import Pieces

TABLE_NUMBERS = 2**24
"""Logits or cosines that are held at once."""
STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_out", "hook_mlp_out", "hook_embed")
"""Last parts of the names of hooks whose vectors lie in the residual stream."""


def nearest_columns(sae: SparseAutoencoder, best: int) -> dict[str, Any]:
    """The table ``nearest``: the features with the highest cosine between decoder directions."""
    unit = torch.nn.functional.normalize(sae.directions().detach().float(), dim=-1)
    count = min(best, len(unit) - 1)

    def cosines(rows: slice) -> Tensor:
        found = unit[rows] @ unit.T
        found[torch.arange(len(found)), torch.arange(rows.start, rows.start + len(found))] = -2.0
        return found

    other, cosine = _largest(cosines, len(unit), len(unit), count)
    return {
        "feature": np.repeat(np.arange(len(unit), dtype=np.int32), count),
        "rank": np.tile(np.arange(count, dtype=np.int32), len(unit)),
        "other": other.ravel().astype(np.int32),
        "cosine": cosine.ravel(),
    }


def logit_columns(
    model: HookedModel, sae: SparseAutoencoder, best: int, pieces: Pieces
) -> tuple[dict[str, Any], str | None]:
    """The table ``logits``: the tokens whose logits a feature raises and lowers most, highest first.

    ``effect`` is what a unit of the feature adds to the logit directly, past all later layers, with the final norm's
    weight (and its centring) and without its scale.

    Returns:
        the columns, empty where the feature's direction is not one of the residual stream; and why it is not.
    """
    directions, reason = stream_directions(model, sae)
    weight = None
    if directions is not None:
        try:
            weight = ModelWeights(model, fold_norm=True).W_U
        except WorkbenchError as error:
            reason = str(error)
    if directions is None or weight is None:
        return _logit_table(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), pieces), reason
    wide = weight.float()
    count = min(best, wide.shape[1] // 2)

    def effects(rows: slice) -> Tensor:
        return directions[rows] @ wide

    return _logit_table(*_largest(effects, len(directions), wide.shape[1], count, and_smallest=True), pieces), None


@torch.no_grad()
def final_scale(model: HookedModel, rows: Sequence[Int[np.ndarray, " _"]]) -> float:
    """By what the final norm divides, in the middle over the tokens of some rows; 1 where there is no such norm.

    What a feature adds to a logit at a token is its activation times its effect (`logit_columns`) over the scale there.
    """
    norm = model.layout.final_norm
    if norm is None:
        return 1.0
    linear = LinearNorm.of(norm, model.layout.embed.weight[:1])
    inverse: list[Tensor] = []
    handle = norm.register_forward_hook(
        lambda module, inputs, output: inverse.append(linear.inverse_scale(inputs[0], output).flatten())
    )
    try:
        for row in rows:
            model(torch.as_tensor(np.asarray(row, dtype=np.int64), device=model.cfg.device)[None])
    finally:
        handle.remove()
    return float(1 / torch.cat(inverse).median())


def stream_directions(
    model: HookedModel, sae: SparseAutoencoder
) -> tuple[Float[Tensor, "d_sae d_model"] | None, str | None]:
    """Features' directions in the residual stream as the unembedding reads them, or None and why not."""
    hook = sae.cfg.hook_out or sae.cfg.hook or ""
    directions = sae.directions().detach().float().to(model.cfg.device)
    if sae.basis is not None:
        directions = directions @ sae.basis.to(directions)
    width = model.layout.embed.weight.shape[1]
    if not hook.endswith(STREAM) or sae.cfg.head is not None or directions.shape[1] != width:
        return None, f"{hook or 'This place'} is not the residual stream, nor written into it as it is."
    norm = anatomy(model).final_norm
    if norm is not None:
        directions = LinearNorm.of(norm, model.layout.embed.weight[:1]).moved(directions)
    return directions, None


def _logit_table(tokens: Any, effects: Any, pieces: Pieces) -> dict[str, Any]:
    features, count = tokens.shape
    return {
        "feature": np.repeat(np.arange(features, dtype=np.int32), count),
        "rank": np.tile(np.arange(count, dtype=np.int32), features),
        "token_id": tokens.ravel().astype(np.int32),
        "token": pieces.column(tokens.ravel()),
        "effect": effects.ravel().astype(np.float32),
    }


def _largest(
    table: Callable[[slice], Tensor], rows: int, columns: int, count: int, and_smallest: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the largest numbers of each row of a table that is made some rows at a time.

    The largest come first; with `and_smallest` the smallest follow, the least of all at the end.
    """
    at_once = max(1, TABLE_NUMBERS // max(1, columns))
    names, values = [], []
    for start in range(0, rows, at_once):
        part = table(slice(start, start + at_once))
        best = part.topk(count, dim=-1)
        indices, numbers = best.indices, best.values
        if and_smallest:
            least = part.topk(count, dim=-1, largest=False)
            indices = torch.cat([indices, least.indices.flip(-1)], dim=-1)
            numbers = torch.cat([numbers, least.values.flip(-1)], dim=-1)
        names.append(indices.cpu().numpy())
        values.append(numbers.cpu().numpy())
    return np.concatenate(names), np.concatenate(values)
