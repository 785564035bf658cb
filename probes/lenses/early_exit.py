"""Early exit: how many blocks a lens would save if the model stopped as soon as it is sure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.probes.lenses.lens import Lens
from workbench.probes.lenses.residuals import residual_streams, sequences_at_once
from workbench.tasks import bootstrap_means

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@checked_call
@torch.no_grad()
def early_exit(
    lens: Lens,
    tokens: Int[Tensor, "sequences time"],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Leave each token at the first depth where the lens is sure, and compare its answer with the model's.

    Sure means that the likeliest token's probability exceeds the next one's by more than the threshold (Schuster et al.
    2022, arXiv:2207.07061, the softmax measure). Later tokens are not recomputed from what an earlier exit left out.

    Args:
        lens: which lens answers.
        tokens: sequences without padding.
        thresholds: margins between 0 and 1, ascending or not.
        level: coverage of the bootstrap intervals over sequences.
        seed: of the bootstrap.

    Returns:
        One row a threshold: ``threshold``, ``depth`` (mean number of blocks that ran), ``saved`` (share of blocks that
        did not), ``agreement`` (share of tokens whose answer is the model's); ``_low`` and ``_high`` of depth and
        agreement.

    Raises:
        InputError: no threshold, or one outside 0..1.
    """
    if not thresholds or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise InputError(f"Thresholds are margins between two probabilities, from 0 to 1; got {[*thresholds]}.")
    rows, _ = lens.model.prepared(tokens, None)
    size = sequences_at_once(lens.model, rows.shape[1])
    depths, agreements = [], []
    for start in range(0, len(rows), size):
        for stream in residual_streams(lens.model, rows[start : start + size]).unbind(1):
            depth, agreement = _exits(lens, stream, torch.tensor(thresholds))
            depths.append(depth)
            agreements.append(agreement)
    table = pd.DataFrame({"lens": lens.name, "threshold": [*thresholds]})
    for name, values in (("depth", torch.stack(depths)), ("agreement", torch.stack(agreements))):
        mean, low, high = bootstrap_means(values, level=level, seed=seed)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = mean.numpy(), low.numpy(), high.numpy()
    table.insert(3, "saved", 1 - table["depth"] / lens.n_layers)
    return table


def _exits(
    lens: Lens, stream: Float[Tensor, "depth time d_model"], thresholds: Float[Tensor, " thresholds"]
) -> tuple[Float[Tensor, " thresholds"], Float[Tensor, " thresholds"]]:
    """Mean depth of the exit, and agreement with the model, over one sequence's tokens."""
    unembedding, last = lens.unembedding, lens.n_layers
    depth_sum = torch.zeros(len(thresholds), dtype=torch.float64)
    agreed = torch.zeros(len(thresholds), dtype=torch.float64)
    for part in stream.split(unembedding.positions_at_once, dim=1):
        margins, answers = [], []
        for depth in range(last + 1):
            top = unembedding.log_probabilities(lens.transform(part[depth], depth)).topk(2, dim=-1)
            probabilities = top.values.exp()
            margins.append(probabilities[:, 0] - probabilities[:, 1])
            answers.append(top.indices[:, 0])
        margin, answer = torch.stack(margins).cpu(), torch.stack(answers).cpu()
        for number, threshold in enumerate(thresholds):
            sure = margin > threshold
            sure[last] = True
            exit_depth = sure.int().argmax(0)
            depth_sum[number] += exit_depth.sum()
            given = answer.gather(0, exit_depth[None])[0]
            agreed[number] += (given == answer[last]).sum()
    time = stream.shape[1]
    return depth_sum / time, agreed / time
