"""Steering vectors from pairs of prompts that differ in what the vector is to stand for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.interventions import Positions, SteeringVector
from workbench.interventions.positions import When
from workbench.interventions.selection import Selection, head_axis, selections, time_axis
from workbench.model import HookedModel
from workbench.probes.linear.places import At


@checked_call
def contrastive_vector(
    model: HookedModel,
    positive: Sequence[str] | Tensor,
    negative: Sequence[str] | Tensor,
    at: At,
    layers: Sequence[int] | int | None = None,
    *,
    positions: Positions = -1,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
    batch_size: int = 16,
) -> SteeringVector:
    """Mean over pairs of the activation on the positive prompt less that on the negative one.

    Contrastive activation addition (Rimsky et al. 2024, arXiv:2312.06681, section 3); on ``"mixer.hook_state"`` for the
    memory of recurrent layers (Paulo et al. 2024, arXiv:2404.05971, section 4).

    Args:
        positive, negative: prompts, as many of each: texts, or tokens ``[pairs, time]``. Texts are padded on the left,
            so a position counted from the end is a token's in every prompt.
        at, layers: as in `workbench.probes.linear.places`; one direction for each hook, zero outside the heads where a
            site names some.
        positions: whose activations are averaged; the last token by default.
        positive_mask, negative_mask: 1 or True where tokens are text, 0 where they are padding.
        batch_size: prompts a forward pass.

    Raises:
        InputError: prompts that make no pairs, a batch size below 1, or a hook without positions.
        HookNameError: a hook name matches nothing.
    """
    if len(positive) != len(negative) or len(positive) == 0:
        raise InputError(f"{len(positive)} positive and {len(negative)} negative prompts make no pairs.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; at least one prompt a forward pass is needed.")
    chosen = selections(model, at, layers=layers)
    names = [one.name for one in chosen]
    when = When.of(positions)
    of_positive = _mean(model, positive, positive_mask, names, when, batch_size)
    of_negative = _mean(model, negative, negative_mask, names, when, batch_size)
    values = {one.name: _of_heads(model, one, of_positive[one.name] - of_negative[one.name]) for one in chosen}
    details = {"pairs": len(positive), "positions": str(positions), "method": "mean difference over pairs"}
    return SteeringVector(values, model.cfg.model_name, details)


def _of_heads(model: HookedModel, chosen: Selection, direction: Tensor) -> Tensor:
    """The direction in float32, zero at heads that were not asked for."""
    axis = head_axis(model.points[chosen.name])
    if chosen.heads is None or axis is None:
        return direction.float()
    axis -= 1 if model.points[chosen.name].per_step else 2  # batch and, but for states, time are gone
    heads = torch.tensor(chosen.heads)
    kept = torch.zeros_like(direction).index_copy(axis, heads, direction.index_select(axis, heads))
    return kept.float()


@torch.no_grad()
def _mean(
    model: HookedModel,
    prompts: Sequence[str] | Tensor,
    mask: Tensor | None,
    names: Sequence[str],
    when: When,
    batch_size: int,
) -> dict[str, Tensor]:
    """Mean over prompts of each one's mean over its positions, in float64."""
    sums: dict[str, Tensor] = {}
    # Together, not in batches: all prompts have to be padded to one length for positions to mean the same.
    tokens, mask = model.prepared(prompts if isinstance(prompts, Tensor) else list(prompts), mask)
    at = when.within(tokens.shape[1])
    if len(at) not in (1, len(tokens)):
        raise InputError(f"There are positions for {len(at)} prompts, and there are {len(tokens)}.")
    if mask is not None and not bool(mask.cpu().gather(1, at.expand(len(tokens), -1)).all()):
        raise InputError("A position whose activation is to be averaged is padding in one of the prompts.")
    states = [name for name in names if model.points[name].per_step]
    steps = at.unique()
    for first in range(0, len(tokens), batch_size):
        rows = slice(first, first + batch_size)
        _, cache = model.run_with_cache(
            tokens[rows],
            names,
            None if mask is None else mask[rows],
            return_type=None,
            steps=steps.tolist() if states else None,
        )
        for name in names:
            taken = (at if len(at) == 1 else at[rows]).expand(len(tokens[rows]), -1)
            taken = torch.searchsorted(steps, taken.contiguous()) if name in states else taken
            axis = 1 if name in states else time_axis(model.points[name])
            if axis != 1:
                raise InputError(f"{name} has no activation a position to be averaged.")
            value = cache[name].double()
            index = torch.arange(len(value), device=value.device)[:, None], taken.to(value.device)
            found = value[index].mean(1).sum(0).cpu()
            sums[name] = sums[name] + found if name in sums else found
    return {name: total / len(tokens) for name, total in sums.items()}
