"""A model made linear in its embeddings for one run: norms, gates and MLPs held at what they were.

The mixers hold their own factors fixed (`workbench.mixing.linearised`); here are the norms and the output gates that
lie in stock modules. No number of the forward pass changes, only what autograd sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench import mixing
from workbench.direct_logits.norms import LinearNorm, is_norm
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
    """The norm's output as a fixed linear map of its input (`LinearNorm`), with the scale that it had here."""
    x = args[0] if args else next(iter(kwargs.values()))
    if args[1:] or len(kwargs) > (0 if args else 1):
        raise UnsupportedFamilyError(f"{type(module).__name__} takes more than one tensor, and cannot be held fixed.")
    linear = LinearNorm.of(module, x)
    weight = linear.weight.detach()
    with torch.no_grad():
        scale = linear.inverse_scale(x, output)
    made = linear.moved(x) * (weight * scale) + linear.bias
    # The forward pass keeps the stock numbers to the last bit; only the gradient is the fixed map's.
    if made.dtype != output.dtype:
        rounded: Tensor = made.to(output.dtype)
        return rounded
    exact: Tensor = made + (output - made).detach()
    return exact
