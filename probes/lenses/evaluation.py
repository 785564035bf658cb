"""How well lenses guess what the model will say, a depth each, on text they were not fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.lenses.residuals import residual_streams, sequences_at_once
from workbench.progress import tracked
from workbench.tasks import bootstrap_means

if TYPE_CHECKING:
    from workbench.probes.lenses.lens import Lens
    from workbench.wrapping import Mask

PRECISIONS = (1, 5, 10)


def evaluate_lenses(
    lenses: Lens | Sequence[Lens],
    tokens: Int[Tensor, "sequences time"],
    *,
    attention_mask: Mask = None,
    depths: Sequence[int] | None = None,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare lenses with the model they look at, and with the text.

    Args:
        lenses: one lens or several of one model, told apart by their names.
        tokens: sequences of at least two tokens.
        attention_mask: 1 at tokens, 0 at padding, which counts for nothing.
        depths: all by default, the last (the model itself) included.
        level: coverage of the intervals, a bootstrap over sequences.
        seed: of the bootstrap.
        progress: show a progress bar.

    Returns:
        One row a lens and depth. ``kl``: ``KL(model || lens)`` in nats (Belrose et al. 2023, section 3). ``surprisal``:
        the lens' negative log-probability of the model's likeliest token, in nats, and ``precision@k``: how often that
        token is among the lens' k likeliest (Din et al. 2023, arXiv:2303.09435, section 4); ``precision@1`` is how
        often lens and model agree. Against the text: ``bits_per_token`` of the next token, ``bits_per_byte`` where the
        model has a tokenizer, and ``accuracy``. Each with ``_low`` and ``_high``.

    Raises:
        InputError: no lens, lenses of several models or of one name, sequences of one token, a depth out of range.
    """
    chosen = _checked(lenses)
    model = chosen[0].model
    listed = [
        *dict.fromkeys(chosen[0].depth_index(d) for d in (range(chosen[0].n_layers + 1) if depths is None else depths))
    ]
    rows, mask = model.prepared(tokens, attention_mask)
    if rows.shape[1] < 2 or not listed:
        raise InputError("A lens is evaluated on sequences of at least two tokens, and at one depth at least.")
    real = torch.ones_like(rows, dtype=torch.bool) if mask is None else mask.bool()
    if bool((real.sum(1) < 2).any()):
        raise InputError("A sequence has fewer than two tokens; without a next token there is nothing to evaluate on.")
    found: list[Float[Tensor, "sequences lenses depths measures"]] = []
    parts = list(range(0, len(rows), sequences_at_once(model, rows.shape[1])))
    for start in tracked(parts, progress, "reading with the lenses"):
        some = slice(start, start + sequences_at_once(model, rows.shape[1]))
        streams = residual_streams(model, rows[some], None if mask is None else mask[some])
        for row, kept, stream in zip(rows[some], real[some], streams.unbind(1), strict=True):
            found.append(_measured(chosen, listed, row, kept, stream))
    values = torch.stack(found)
    lengths = _bytes_per_token(model, rows, real)
    names = ["kl", "surprisal", *(f"precision@{k}" for k in PRECISIONS), "bits_per_token", "accuracy"]
    columns = {name: values[..., index] for index, name in enumerate(names)}
    if lengths is not None:
        columns["bits_per_byte"] = columns["bits_per_token"] / lengths[:, None, None]
    table = pd.DataFrame(
        [{"lens": lens.name, "depth": depth, "sequences": len(rows)} for lens in chosen for depth in listed]
    )
    for name, column in columns.items():
        mean, low, high = bootstrap_means(column.flatten(1), level=level, seed=seed)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = mean.numpy(), low.numpy(), high.numpy()
    return table


def _checked(lenses: Lens | Sequence[Lens]) -> list[Lens]:
    listed: list[Lens] = [*lenses] if isinstance(lenses, Sequence) else [lenses]
    if not listed:
        raise InputError("There is no lens to evaluate.")
    if any(lens.model is not listed[0].model for lens in listed):
        raise InputError("The lenses look at different models; evaluate them one model at a time.")
    names = [lens.name for lens in listed]
    if len(set(names)) < len(names):
        raise InputError(f"Two lenses have one name ({', '.join(names)}); give each a name of its own.")
    return listed


@torch.no_grad()
def _measured(
    lenses: Sequence[Lens],
    depths: Sequence[int],
    row: Int[Tensor, " time"],
    real: Bool[Tensor, " time"],
    stream: Float[Tensor, "depth time d_model"],
) -> Float[Tensor, "lenses depths measures"]:
    """Averages over one sequence's tokens; what has to do with the next token, over all but the last."""
    unembedding = lenses[0].unembedding
    places = real.nonzero()[:, 0]
    totals = torch.zeros(len(lenses), len(depths), 4 + len(PRECISIONS), dtype=torch.float64)
    for some in places.split(unembedding.positions_at_once):
        target = unembedding.log_probabilities(stream[-1, some])
        probabilities = target.exp()
        likeliest = target.argmax(-1, keepdim=True)
        entropy = -(probabilities * target).sum(-1)
        has_next = some < places[-1]
        following = row[(some + 1).clamp(max=len(row) - 1)][:, None]
        for i, lens in enumerate(lenses):
            for j, depth in enumerate(depths):
                predicted = unembedding.log_probabilities(lens.transform(stream[depth, some], depth))
                of_likeliest, of_next = predicted.gather(-1, likeliest), predicted.gather(-1, following)
                rank = (predicted > of_likeliest).sum(-1)
                right = predicted.argmax(-1, keepdim=True) == following
                measures = [
                    -torch.linalg.vecdot(probabilities, predicted) - entropy,
                    -of_likeliest[:, 0],
                    *(rank < k for k in PRECISIONS),
                    -of_next[:, 0] * has_next / math.log(2),
                    right[:, 0] & has_next,
                ]
                totals[i, j] += torch.stack([measure.double().sum().cpu() for measure in measures])
    counts = torch.full_like(totals[0, 0], float(len(places)))
    counts[-2:] -= 1
    return totals / counts


def _bytes_per_token(model: object, rows: Tensor, real: Tensor) -> Float[Tensor, " sequences"] | None:
    """UTF-8 bytes of the tokens that are predicted, a token; None without a tokenizer."""
    from workbench.model import HookedModel

    assert isinstance(model, HookedModel)
    if model.tokenizer is None:
        return None
    lengths = []
    for row, kept in zip(rows, real, strict=True):
        predicted = row[kept][1:]
        text = model.to_string(predicted)
        assert isinstance(text, str)
        lengths.append(max(1, len(text.encode("utf-8", "surrogatepass"))) / len(predicted))
    return torch.tensor(lengths, dtype=torch.float64)
