"""What the loss owes to each unit: silence one cell at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.loss import next_token_loss
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.tasks import bootstrap_means
from workbench.tokens import check_choice
from workbench.wrapping import Mask, ModelInput


@checked_call
@torch.no_grad()
def silence_units(
    model: HookedModel,
    input: ModelInput,
    layer: int,
    *,
    units: Sequence[int] | None = None,
    at: str = "state",
    mixer: int = 0,
    attention_mask: Mask = None,
    rows_at_once: int = 64,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """Loss with one unit (a head of the mixer; a cell's hidden unit is one) held at zero at every step.

    Args:
        input: text or tokens.
        layer: of the units.
        units: which; all by default.
        at: ``"state"`` empties what the unit remembers after every step, so nothing it knew reaches its own gates
            or the others'; ``"head_out"`` leaves the recurrence alone and silences what the unit tells the rest of
            the network. The first takes one step at a time.
        mixer: which of the layer's mixers.
        rows_at_once: sequences in one forward pass; several silenced units run side by side.
        level: coverage of the intervals, a bootstrap over sequences (NaN for a single one).
        progress: show a progress bar.

    Returns:
        One row a unit, the most harmful loss first: ``unit``, ``loss`` (nats a token), ``effect`` (on it, less
        nothing silenced) with ``low`` and ``high``.

    Raises:
        InputError: no such layer, mixer, unit or place; a mixer without a recurrent state.
    """
    adapter = model.mixer(layer, mixer)
    local = "hook_" + at.rpartition("hook_")[2]
    check_choice("at", local.removeprefix("hook_"), ("state", "head_out"))
    if local not in adapter.points:
        raise InputError(f"{adapter.place.capitalize()} of {model.cfg.model_name} has no {local}.")
    wanted = list(range(adapter.n_heads)) if units is None else [int(unit) for unit in units]
    if not wanted or not all(0 <= unit < adapter.n_heads for unit in wanted):
        raise InputError(f"Units of {adapter.place} go from 0 to {adapter.n_heads - 1}; got {wanted[:8]}.")
    if rows_at_once < 1:
        raise InputError(f"rows_at_once is {rows_at_once}; at least one sequence a forward pass is needed.")
    tokens, mask = model.prepared(input, attention_mask)
    point = adapter.points[local]
    axis = point.axes.index("head")

    def losses(chosen: Sequence[int]) -> Float[Tensor, "batch units"]:
        copies = max(1, len(chosen))
        many = tokens.repeat(copies, 1)
        seen = None if mask is None else mask.repeat(copies, 1)

        def silence(tensor: Tensor, hook: HookPoint) -> Tensor:
            edited = tensor.clone()
            for place, unit in enumerate(chosen):
                edited[place * len(tokens) : (place + 1) * len(tokens)].select(axis, unit).zero_()
            return edited

        if chosen:
            logits = model.run_with_hooks(many, fwd_hooks=[(point.name, silence)], attention_mask=seen)
        else:
            logits = model(many, attention_mask=seen)
        each = next_token_loss(logits, many, seen, per_token=True).double()
        count = each.new_full((len(many),), each.shape[1]) if seen is None else (seen[:, 1:] * seen[:, :-1]).sum(1)
        shaped: Tensor = (each.sum(1) / count).unflatten(0, (copies, len(tokens))).T.cpu()
        return shaped

    whole = losses([])
    together = max(1, rows_at_once // len(tokens))
    chunks = [wanted[start : start + together] for start in range(0, len(wanted), together)]
    changes = torch.cat([losses(chunk) for chunk in tracked(chunks, progress, "silencing units")], 1)
    changes = changes - whole
    mean, low, high = bootstrap_means(changes, level=level)
    table = pd.DataFrame(
        {
            "unit": wanted,
            "loss": (mean + whole.mean()).tolist(),
            "effect": mean.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
        }
    )
    return table.sort_values("effect", ascending=False, ignore_index=True)
