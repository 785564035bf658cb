"""What happens past the trained length: loss, state norm and outlier channels against position.

A recurrent model runs on any length, and what breaks first is its state: it was never trained to forget more than it
was shown (Chen et al. 2024, "Stuffed Mamba: Oversized States Lead to the Inability to Forget", arXiv:2410.07145: loss
rises and a few channels of the state explode past the training length).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookFunction, HookPoint, NamesFilter
from workbench.loss import next_token_loss
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.steps import at_steps
from workbench.tasks import bootstrap_means
from workbench.wrapping import ModelInput


@checked_call
@torch.no_grad()
def loss_by_position(
    model: HookedModel,
    input: ModelInput,
    *,
    width: int = 64,
    batch_size: int = 1,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """Next-token loss against the position of the predicted token, averaged within bins, with intervals.

    Args:
        input: sequences of one length, longer than the trained one for length generalisation; see `text_windows`.
        width: positions a bin; 1 for each on its own. Bins count from position 0, which is never predicted.
        batch_size: sequences a forward pass.
        level: coverage of the intervals, a bootstrap over sequences.
        progress: show a progress bar.

    Returns:
        One row a bin: ``start`` and ``stop`` (positions, the end exclusive), ``loss`` in nats, ``low``, ``high``.

    Raises:
        InputError: sequences of different lengths, a width or batch size below 1, fewer than two tokens.
    """
    tokens, mask = model.prepared(input, None)
    if mask is not None:
        raise InputError("Positions are compared between sequences of one length; cut the texts into windows.")
    if width < 1 or batch_size < 1:
        raise InputError(f"width and batch_size are at least 1; got {width} and {batch_size}.")
    parts = [
        next_token_loss(model(part), part, per_token=True).double().cpu()
        for part in tracked(tokens.split(batch_size), progress, "reading long texts")
    ]
    losses = torch.cat(parts)
    starts = list(range(0, tokens.shape[1], width))
    stops = [min(start + width, tokens.shape[1]) for start in starts]
    # The loss at index i is of the token at position i + 1.
    kept = [(a, b) for a, b in zip(starts, stops, strict=True) if b > max(a, 1)]
    binned = torch.stack([losses[:, max(a - 1, 0) : b - 1].mean(1) for a, b in kept], dim=1)
    mean, low, high = bootstrap_means(binned, level=level)
    return pd.DataFrame(
        {
            "start": [a for a, _ in kept],
            "stop": [b for _, b in kept],
            "loss": mean.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
        }
    )


@checked_call
@torch.no_grad()
def state_norms(
    model: HookedModel,
    input: ModelInput,
    positions: Sequence[int],
    *,
    level: float = 0.95,
) -> pd.DataFrame:
    """Size of every layer's recurrent state and residual stream after some tokens, and its outlier channels.

    Only the listed steps are taken one at a time, so a long text costs little more than a forward pass.

    Args:
        input: sequences of one length.
        positions: after which tokens, from 0 on.
        level: coverage of the intervals, a bootstrap over sequences.

    Returns:
        One row a layer, mixer, tensor and position: ``layer``, ``mixer``, ``asked`` (``"state"`` or ``"resid_post"``),
        ``position``, ``norm`` (Euclidean, over everything the layer holds) with ``low`` and ``high``, ``outlier`` (the
        largest magnitude over the root mean square), ``outlier_head`` (the state's head or the stream's channel that
        has it most often) and ``top_share`` (of the squared norm, in the 1 % largest entries).

    Raises:
        InputError: no positions or one out of range, or sequences of different lengths.
    """
    tokens, mask = model.prepared(input, None)
    if mask is not None:
        raise InputError("Positions are compared between sequences of one length; cut the texts into windows.")
    time = tokens.shape[1]
    steps = [int(step) for step in positions]
    if not steps or min(steps) < 0 or max(steps) >= time:
        raise InputError(f"Positions go from 0 to {time - 1}, and at least one is needed; got {steps}.")
    rows: list[dict[str, object]] = []

    def measured(layer: int, mixer: int, what: str, position: int, tensor: Float[Tensor, "batch heads *rest"]) -> None:
        wide = tensor.flatten(2) if tensor.dim() > 2 else tensor[..., None]
        rows.append(
            {"layer": layer, "mixer": mixer, "asked": what, "position": position, **_sizes(wide.double().cpu(), level)}
        )

    hooks: list[tuple[NamesFilter, HookFunction]] = []
    for adapter in model.mixers:
        if "hook_state" in adapter.points:
            layer, index = adapter.layer, adapter.index

            def see(state: Tensor, hook: HookPoint, layer: int = layer, index: int = index) -> None:
                assert hook.step is not None  # of a hook that fires once a step
                measured(layer, index, "state", hook.step, state)

            hooks.append((adapter.points["hook_state"].name, at_steps(see, set(steps))))
    for layer in range(model.cfg.n_layers):

        def stream(resid: Tensor, hook: HookPoint) -> None:
            for step in sorted(set(steps)):
                measured(hook.layer(), 0, "resid_post", step, resid[:, step])

        hooks.append((f"blocks.{layer}.hook_resid_post", stream))
    model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None)
    table = pd.DataFrame(rows)
    return table.sort_values(["asked", "layer", "mixer", "position"], ascending=[False, True, True, True]).reset_index(
        drop=True
    )


def _sizes(tensor: Float[Tensor, "batch heads rest"], level: float) -> dict[str, float | int]:
    flat = tensor.flatten(1)
    squares = flat.square()
    norm, low, high = bootstrap_means(squares.sum(1, keepdim=True).sqrt(), level=level)
    largest = flat.abs().max(1)
    scale = squares.mean(1).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    heads = largest.indices // tensor.shape[2]
    top = squares.topk(max(1, flat.shape[1] // 100), dim=1).values.sum(1)
    total = squares.sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    return {
        "norm": float(norm[0]),
        "low": float(low[0]),
        "high": float(high[0]),
        "outlier": float((largest.values / scale).mean()),
        "outlier_head": int(heads.mode().values),
        "top_share": float((top / total).mean()),
    }
