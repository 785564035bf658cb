"""The residual stream at every depth from one forward pass: what every lens reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.hooks import HookPoint
    from workbench.model import HookedModel
    from workbench.wrapping import Mask, ModelInput

# Numbers of the residual streams of a forward pass that are held at once: 67 million are 268 MB in float32.
NUMBERS_AT_ONCE = 2**26


@checked_call
def residual_streams(
    model: HookedModel, input: ModelInput, attention_mask: Mask = None
) -> Float[Tensor, "depth batch time d_model"]:
    """The residual stream in front of every block and after the last one, from one pass that makes no logits.

    Depth 0 is what the first block reads, depth ``n_layers`` what the last one leaves for the final norm: the count of
    the published tuned lenses, whose translator ``l`` reads depth ``l``.

    Raises:
        InputError: a model whose layers differ in width, which has no residual stream; and as `HookedModel.forward`.
    """
    layers = model.cfg.n_layers
    found: dict[int, Tensor] = {}

    def keep(tensor: Tensor, hook: HookPoint) -> None:
        found[hook.layer()] = tensor.detach()

    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(layers)]
    with torch.no_grad():
        last = model.run_with_hooks(
            input, attention_mask=attention_mask, fwd_hooks=[(names, keep)], stop_at_layer=layers
        )
    streams = [*(found[layer] for layer in range(layers)), last]
    widths = [stream.shape[-1] for stream in streams]
    if len(set(widths)) > 1:
        raise InputError(
            f"{model.cfg.model_name} has no residual stream: its layers read and write {widths} numbers a token."
        )
    return torch.stack(streams)


def sequences_at_once(model: HookedModel, time: int) -> int:
    """How many sequences of a length a pass may take, so that all their residual streams fit a small memory."""
    return max(1, NUMBERS_AT_ONCE // ((model.cfg.n_layers + 1) * time * model.cfg.d_model))
