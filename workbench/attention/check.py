"""The number behind `ImplicitAttention.check`: entries times values, against what the layer wrote."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.attention.operators import Operator
from workbench.forms import Softmax
from workbench.kernels.blocking import BLOCK_ELEMENTS, blocks


@torch.no_grad()
def relative_error(
    operator: Operator,
    recorded: Float[Tensor, "batch time heads value"],
    sample: tuple[int, int] | None,
    seed: int = 0,
) -> float:
    """``max |A v + constant - recorded| / max |recorded|`` over all entries, or over a sample of (units, rows).

    Raises nothing on a bad match: a NaN anywhere in what is compared gives NaN, an infinite output infinity or NaN.
    """
    units, rows = list(range(operator.units)), torch.arange(operator.time)
    if sample is not None:
        units, rows = _sampled(operator, sample, seed)
    rows = rows.to(recorded.device)
    looking = _looking(operator, recorded)
    constant = operator.constant
    worst = recorded.new_zeros(())
    largest = recorded.new_zeros(())
    each = operator.batch * operator.source * 8  # about eight temporaries of a tile's size
    for span in blocks(len(rows), each):
        part = rows[span]
        for group in blocks(len(units), each * len(part), BLOCK_ELEMENTS):
            chosen = units[group]
            tile = operator.dense(chosen, part)
            got = torch.einsum("burs,bsuv->bruv", tile, operator.values(chosen).to(tile.dtype))
            if constant is not None:
                got = got + operator.by_unit(constant[:, part], chosen)
            want = operator.by_unit(recorded[:, part], chosen)
            if looking is not None:
                counted = operator.by_unit(looking[:, part], chosen)
                got, want = got.where(counted, 0), want.where(counted, 0)
            worst = torch.maximum(worst, (got - want).abs().max())
            largest = torch.maximum(largest, want.abs().max())
    return float(worst / largest) if largest > 0 else float(worst)


def _sampled(operator: Operator, sample: tuple[int, int], seed: int) -> tuple[list[int], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    units = torch.randperm(operator.units, generator=generator)[: sample[0]].sort().values
    rows = torch.randperm(operator.time, generator=generator)[: sample[1]]
    rows = torch.cat([rows, torch.tensor([operator.time - 1])]).unique()
    return units.tolist(), rows


def _looking(
    operator: Operator, recorded: Float[Tensor, "batch time heads value"]
) -> Bool[Tensor, "batch time heads value"] | None:
    """Which outputs belong to softmax rows that may look anywhere at all; None where all may."""
    core = operator.form.core
    if not isinstance(core, Softmax) or core.mask is None:
        return None
    return core.mask.any(-1).transpose(1, 2)[..., None].expand_as(recorded)
