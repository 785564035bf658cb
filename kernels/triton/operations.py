"""The backend's operations on the forms it computes, differentiable where the others are."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.forms import Delta, Reader, ScalarDecay
from workbench.kernels.triton import channels, running
from workbench.kernels.triton.gradients import decaying_gradients, delta_gradients
from workbench.kernels.triton.layout import Tiles, on_device_of, rows, tiles
from workbench.kernels.triton.maps import Kept, Maps, decayed, decaying, erased, erasing, log_decays

State = Float[Tensor, "batch heads key value"]
Values = Float[Tensor, "batch time heads value"]


def tiles_of(form: Reader, recorded: bool = False) -> Tiles:
    """Sizes of the form's tiles; one operand in float32 asks for its digits, a backward pass for shorter chunks."""
    operands = (form.q, form.k, form.v)
    dtype = torch.float32 if any(x.dtype == torch.float32 for x in operands) else form.v.dtype
    simple = isinstance(form, ScalarDecay) and not recorded
    return tiles(form.time, form.k.shape[-1], form.v.shape[-1], dtype, simple, isinstance(form, Delta))


def maps_of(form: Reader) -> Maps:
    """The form's maps, in its own tiles."""
    # Not the longest chunks: energies hold a whole state besides.
    return _maps(form, tiles_of(form, recorded=True))


def forward(form: Reader, initial_state: State | None = None) -> tuple[Values, State]:
    """Outputs in the dtype of `v`, and the final state in float32."""
    if form.v.numel() == 0 or form.k.shape[-1] == 0:
        empty = form.v.new_zeros(form.batch, form.heads, form.k.shape[-1], form.v.shape[-1], dtype=torch.float32)
        return form.v.clone(), empty if initial_state is None else initial_state.to(torch.float32)
    if channels.fits(form, initial_state):
        return channels.forward(form, initial_state)[:2]
    probe, erase = (form.probe, form.erase) if isinstance(form, Delta) else (None, None)
    operands = (form.q, form.k, form.v, log_decays(form), form.write, probe, erase, initial_state)
    recorded = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in operands)
    outputs, final = _Forward.apply(type(form), tiles_of(form, recorded), *operands)
    return outputs, final


def _form(kind: type[Reader], *operands: Tensor | None) -> Reader:
    """A form from its operands, in the order that `forward` lists them."""
    names = ("q", "k", "v", "log_decay", "write", "probe", "erase")
    given = {name: x for name, x in zip(names, operands, strict=True) if x is not None}
    if kind is ScalarDecay:
        given["log_decay"] = given["log_decay"][..., 0]
    return kind(**given)


class _Forward(torch.autograd.Function):
    """Keeps the operands and the states at chunk starts; everything inside a chunk is computed again backwards."""

    @staticmethod
    def forward(ctx: Any, kind: type[Reader], sizes: Tiles, *operands: Tensor | None) -> tuple[Tensor, Tensor]:
        *given, initial = operands
        form = _form(kind, *given)
        values = rows(form.v)
        with on_device_of(values):
            maps = _maps(form, sizes)
            start = None if initial is None else initial.to(torch.float32).contiguous()
            final, starts = running.states(maps, values, start)
            outputs = running.outputs(maps, values, starts)
        ctx.kind, ctx.sizes = kind, sizes
        ctx.state_dtype = None if initial is None else initial.dtype
        ctx.save_for_backward(*given, starts if any(ctx.needs_input_grad) else None)
        ctx.set_materialize_grads(False)
        return outputs, final

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: Tensor | None, d_final: Tensor | None) -> tuple[Tensor | None, ...]:
        *given, starts = ctx.saved_tensors
        form, sizes = _form(ctx.kind, *given), ctx.sizes
        values = rows(form.v)
        d_outputs = torch.zeros_like(values) if d_outputs is None else rows(d_outputs)
        d_final = None if d_final is None else d_final.contiguous()
        q, k, _, log_decay, write, probe, erase = given
        with on_device_of(values):
            if isinstance(form, Delta):
                parts = erasing(form, sizes)
                kept = Kept(torch.empty_like(parts.read_sources.matrix), torch.empty_like(parts.read_sources.matrix))
                maps = erased(parts, sizes, kept)
            else:
                own = decaying(form, sizes)
                maps = decayed(own, sizes)
            d_initial, ends = running.state_gradients(maps, d_outputs, d_final)
            d_values = running.value_gradients(maps, d_outputs, ends, form.v.dtype)
            of = running.map_gradients(maps, values, d_outputs, starts, ends)
            d_probe = d_erase = None
            if isinstance(form, Delta):
                delta = delta_gradients(parts, kept, maps, of, probe is not None)
                d_q, d_k, d_write, d_decay = delta.query, delta.key, delta.write, delta.log_decay
                d_probe, d_erase = delta.probe, delta.erase
            else:
                plain = decaying_gradients(own, sizes, of)
                d_q, d_k, d_write, d_decay = plain.reader, plain.writer, plain.write, plain.log_decay
        return (
            None,
            None,
            _gathered(d_q, q),
            _gathered(d_k, k),
            d_values,
            d_decay.to(log_decay.dtype),
            None if d_write is None else d_write.to(write.dtype),
            None if d_probe is None else _gathered(d_probe, probe),
            None if d_erase is None else _gathered(d_erase, erase),
            None if ctx.state_dtype is None else d_initial.to(ctx.state_dtype),
        )


def _maps(form: Reader, sizes: Tiles) -> Maps:
    return erased(erasing(form, sizes), sizes) if isinstance(form, Delta) else decayed(decaying(form, sizes), sizes)


def _gathered(gradient: Float[Tensor, "batch time heads key"], operand: Tensor) -> Tensor:
    """The gradient of an operand that heads share: summed over them."""
    groups = operand.shape[2]
    if groups != gradient.shape[2]:
        gradient = gradient.unflatten(2, (groups, -1)).sum(3)
    return gradient.to(operand.dtype)
