"""Values recorded of a whole prompt, brought to the tokens that an edit sees."""

from __future__ import annotations

from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.interventions.selection import time_axis
from workbench.model import HookedModel


def aligned(values: Tensor, tensor: Tensor, hook: HookPoint, model: HookedModel) -> Tensor:
    """The part of recorded values that belongs where a hook's tensor is, in its shape and type.

    A run may go on from a state that earlier tokens left, and a state is shown one step at a time.

    Args:
        values: ``[1, time, ...]``, or ``[1, 1, ...]`` for all positions alike; of a state, after every step.

    Raises:
        InputError: the values are of a shorter prompt, or of tensors of another shape.
    """
    axis = 1 if hook.step is not None else time_axis(hook)
    if values.shape[axis] > 1:
        first = hook.step if hook.step is not None else 0 if hook.axes[axis] == "source" else model.past
        count = 1 if hook.step is not None else tensor.shape[axis]
        if first + count > values.shape[axis]:
            raise InputError(
                f"{hook.name} is edited up to position {first + count - 1}, and the values to put there are of "
                f"{values.shape[axis]} positions; prompts of one length are needed."
            )
        values = values.narrow(axis, first, count)
    if hook.step is not None:
        values = values[:, 0]
    try:
        return values.to(tensor).expand_as(tensor)
    except RuntimeError:
        raise InputError(
            f"{hook.name} is {[*tensor.shape]}, and values of shape {[*values.shape]} do not fit."
        ) from None
