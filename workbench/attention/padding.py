"""A recorded mixer without the padding of its sequences, so that no pad is a row or a source of anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from jaxtyping import Int
from torch import Tensor

from workbench.errors import InputError
from workbench.forms import Form, MixerForm, Softmax
from workbench.kernels.segments import during

# What belongs to a sequence's tokens, and so is cut; a convolution's taps are not.
_OF_TOKENS = ("z", "outputs", "inputs", "source", "value_offset", "gate", "skip", "offset", "carried_z")


def left_padding(mask: Int[Tensor, "batch time"] | None, batch: int) -> list[int]:
    """How many pads each sequence begins with.

    Raises:
        InputError: there are pads elsewhere.
    """
    if mask is None:
        return [0] * batch
    if not bool((mask.long().diff(dim=1) >= 0).all()):
        raise InputError("Statistics need padding on the left: a row of the attention mask goes from 1 back to 0.")
    return [int(count) for count in (mask == 0).sum(1)]


def without_padding(form: MixerForm, rows: Sequence[int], pads: int) -> MixerForm:
    """Some sequences of a recorded mixer, from their first token on; all of them have that many pads."""
    batch, time = form.outputs.shape[:2]

    def cut(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        x = x[list(rows)] if x.shape[0] == batch else x
        return x[:, pads:] if x.shape[1] == time else x

    parts: dict[str, Any] = {name: cut(getattr(form, name)) for name in _OF_TOKENS}
    return replace(form, core=_core(form.core, rows, pads), **parts)


def _core(core: Form, rows: Sequence[int], pads: int) -> Form:
    chosen = list(rows)
    if isinstance(core, Softmax):

        def square(x: Tensor | None) -> Tensor | None:
            if x is None:
                return None
            return (x[chosen] if x.shape[0] == core.batch else x)[..., pads:, pads:]

        q, k, v = (x[chosen, pads:] for x in (core.q, core.k, core.v))
        return replace(core, q=q, k=k, v=v, mask=square(core.mask), bias=square(core.bias))
    later = during(core, slice(pads, core.time))
    own = {field.name: getattr(later, field.name) for field in fields(later)}
    return replace(later, **{name: x[chosen] for name, x in own.items() if x is not None and x.ndim > 2})
