"""What a token's input does to a later token's output through everything in a mixer, its gates included.

For LSTM and GRU the implicit attention holds the gates fixed and is exact given them; how the past moved the gates is
in the Jacobian alone. It is offered for every recurrent mixer, to see how much of the map the gates are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.families.base import MixerAdapter
from workbench.families.recurrent import RecurrentAdapter
from workbench.memory import NoMemory


def jacobian(
    adapter: MixerAdapter,
    hidden: Tensor,
    query: Sequence[int] | int,
    key: Sequence[int] | int | None = None,
    attention_mask: Int[Tensor, "batch time"] | None = None,
    positions: Int[Tensor, "batch time"] | None = None,
) -> Float[Tensor, "batch queries keys out model"]:
    """``d y_t / d x_s`` of a mixer by autograd, `y` what it writes (``hook_out``) and `x` what it reads (``hook_in``).

    One backward pass a query and output channel; the result holds ``batch * queries * keys * out * model`` numbers.
    Blocks of sources after their query are 0.

    Args:
        adapter: the mixer (``model.mixer(layer)``).
        hidden: what it reads, ``[batch, time, model]``, for example ``cache["in", layer]``; no earlier tokens are
            remembered.
        query: destinations t.
        key: sources s; None for all.

    Raises:
        InputError: the mixer is no recurrence, `hidden` is no ``[batch, time, model]``, or a position is out of range.
    """
    if not isinstance(adapter, RecurrentAdapter):
        raise InputError(f"Layer {adapter.layer} ({adapter.family}) is no recurrence; its pattern is its whole map.")
    if hidden.dim() != 3:
        raise InputError(f"The mixer's input is [batch, time, model], got a tensor of shape {tuple(hidden.shape)}.")
    time = hidden.shape[1]
    queries, keys = _positions("query", query, time), _positions("key", range(time) if key is None else key, time)
    with torch.enable_grad():
        x = hidden.detach().clone().requires_grad_()
        y = adapter.mix(x, NoMemory(), attention_mask, positions)
        rows = []
        for destination in queries:
            channels = [
                torch.autograd.grad(y[:, destination, channel].sum(), x, retain_graph=True)[0][:, keys]
                for channel in range(y.shape[-1])
            ]
            rows.append(torch.stack(channels, dim=2))
    return torch.stack(rows, dim=1)


def _positions(what: str, at: Sequence[int] | int, time: int) -> list[int]:
    listed = [int(position) for position in ([at] if isinstance(at, int) else at)]
    if not listed or not all(-time <= position < time for position in listed):
        raise InputError(f"A {what} goes from 0 to {time - 1}, and at least one is needed; got {listed}.")
    return [position % time for position in listed]
