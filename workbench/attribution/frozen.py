"""A model made linear in its embeddings for one run: norms, gates and MLPs held at what they were.

The mixers hold their own factors fixed (`workbench.mixing.linearised`); here are the norms and the output gates that
lie in stock modules. No number of the forward pass changes, only what autograd sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench import mixing
from workbench.errors import UnsupportedFamilyError
from workbench.families.softmax import SoftmaxAdapter

if TYPE_CHECKING:
    from workbench.model import HookedModel


@contextmanager
def frozen(model: HookedModel) -> Iterator[None]:
    """Hold every norm's scale, every gate and every attention pattern of the model fixed within the ``with`` block."""
    recurrent = {
        part for adapter in model.layout.every_adapter if adapter.recurrent for part in adapter.module.modules()
    }
    with ExitStack() as stack:
        stack.enter_context(mixing.linearised())
        for module in model.wrapped.modules():
            if module not in recurrent and is_norm(module):
                stack.callback(module.register_forward_hook(_linear_norm, with_kwargs=True).remove)
        for adapter in model.layout.every_adapter:
            if isinstance(adapter, SoftmaxAdapter):
                for part in _beside_the_values(adapter.module):
                    stack.callback(part.register_forward_hook(_detached).remove)
        yield


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: by its class's name, as every architecture of the field spells it."""
    return "norm" in type(module).__name__.lower() and not any(module.children())


def _beside_the_values(attention: nn.Module) -> list[nn.Module]:
    """The projections of an attention module that only make patterns and gates, where values have their own."""
    names = {name for name, _ in attention.named_children()}
    if "v_proj" not in names:
        return []
    through = ("v_proj", "o_proj", "out_proj", "dense", "v_norm")
    return [part for name, part in attention.named_children() if name not in through and isinstance(part, nn.Linear)]


def _detached(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output.detach()


def _linear_norm(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
    """The norm's output as a fixed linear map of its input: ``y = c w (x - mean) + b``, or without the mean.

    Nothing is known of the class: `b` is what it makes of zeros, `w` what it makes of a vector whose mean is zero, and
    whether it subtracts the mean shows on a constant one. The scale `c`, one number a token, is what is left.
    """
    x = args[0] if args else next(iter(kwargs.values()))
    rest = args[1:]
    if rest or len(kwargs) > (0 if args else 1):
        raise UnsupportedFamilyError(f"{type(module).__name__} takes more than one tensor, and cannot be held fixed.")
    wide = torch.promote_types(x.dtype, torch.float32)
    size = x.shape[-1]
    plain = type(module).forward

    def on(vector: Tensor) -> Tensor:
        made: Tensor = plain(module, vector.to(x.dtype))
        return made.to(wide)

    bias = on(torch.zeros(size, dtype=x.dtype, device=x.device))
    alternating = torch.ones(size, dtype=x.dtype, device=x.device)
    alternating[1::2] = -1
    if size % 2:
        alternating[-1] = 0
    with torch.no_grad():
        weight = (on(alternating) - bias) * alternating
        constant = on(torch.ones_like(alternating)) - bias
        if size % 2:
            weight[-1] = _last_weight(on, bias, size, x)
        centred = bool(constant.abs().max() <= 1e-3 * weight.abs().max())
        moved = (x.to(wide) - x.to(wide).mean(-1, keepdim=True) if centred else x.to(wide)) * weight
        scale = ((output.to(wide) - bias) * moved).sum(-1, keepdim=True) / moved.square().sum(-1, keepdim=True)
    straight = x.to(wide)
    straight = straight - straight.mean(-1, keepdim=True) if centred else straight
    made = straight * (weight * scale.nan_to_num()) + bias
    # The forward pass keeps the stock numbers to the last bit; only the gradient is the fixed map's.
    if made.dtype != output.dtype:
        rounded: Tensor = made.to(output.dtype)
        return rounded
    exact: Tensor = made + (output - made).detach()
    return exact


def _last_weight(on: Callable[[Tensor], Tensor], bias: Tensor, size: int, x: Tensor) -> Tensor:
    """The last channel's weight where the width is odd, on the same scale as the others'."""
    pair = torch.zeros(size, dtype=x.dtype, device=x.device)
    pair[0], pair[-1] = 1, -1
    first, last = (on(pair) - bias)[[0, -1]]
    alternating = torch.ones(size, dtype=x.dtype, device=x.device)
    alternating[1::2] = -1
    alternating[-1] = 0
    reference = (on(alternating) - bias)[0]
    weight: Tensor = -last * reference / first
    return weight
