"""Implicit attention against oracles that know nothing of it: impulses, and autograd's Jacobian of the mixer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.workbench.recurrent_cases import CASES, batch_of_tokens, blocks, build, hooked, record, run
from tests.workbench.test_recurrent_hooks import manual_states
from workbench.attention import ImplicitAttention
from workbench.forms import MixerForm


@pytest.mark.parametrize("case", CASES)
def test_columns_are_the_responses_to_unit_impulses_in_the_values(case: str) -> None:
    form = record(build(case, torch.float64))
    attention = ImplicitAttention.from_form(form)
    dense = attention.dense()
    for source in (0, 7, 18):
        impulse = torch.zeros_like(form.core.v)
        impulse[:, source] = 1.0
        _, response = manual_states(replace(form, core=replace(form.core, v=impulse)))
        assert (response - response[..., :1]).abs().max() < 1e-12  # every value channel of a head answers alike
        column = response[..., 0].transpose(1, 2)
        torch.testing.assert_close(dense[..., source], column, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(attention.columns([source])[..., 0], column, atol=1e-12, rtol=1e-9)
        listed = attention.pairs(list(range(19)), [source] * 19)
        torch.testing.assert_close(listed, column, atol=1e-12, rtol=1e-9)


class FrozenMixer:
    """A mixer written out anew, with everything but the value path held at what one run of `hidden` gives.

    Called with the value path before the convolution ``[B, T, inner]``, it returns what the output projection reads.
    """

    def __init__(self, mixer: Any, hidden: Tensor) -> None:
        self.mixer, time = mixer, hidden.shape[1]
        self.inner = mixer.out_proj.weight.shape[1]
        self.scalar = mixer.A_log.ndim == 1
        flat = hidden @ mixer.in_proj.weight.T
        heads = mixer.A_log.shape[0]
        states = (mixer.conv1d.weight.shape[0] - self.inner) // 2 if self.scalar else mixer.A_log.shape[1]
        if self.scalar:
            gate, mixed, step = flat.split([self.inner, mixer.conv1d.weight.shape[0], heads], dim=-1)
            self.inputs = mixed[..., : self.inner]
            active = F.silu(self.convolved(mixed, slice(None)))
            b, c = active[..., self.inner :].split(states, dim=-1)
            groups = getattr(mixer, "n_groups", 1)
            shared = heads // groups
            b, c = (m.unflatten(-1, (groups, -1)).repeat_interleave(shared, dim=2) for m in (b, c))
            dt = F.softplus(step + mixer.dt_bias)
            per_channel = self.inner // heads
            b, c = (m.repeat_interleave(per_channel, dim=2) for m in (b, c))  # [B, T, inner, N]
            dt = dt.repeat_interleave(per_channel, dim=2)
            rate = mixer.A_log.exp().repeat_interleave(per_channel)[:, None].expand(-1, b.shape[-1])
            self.skip = mixer.D.repeat_interleave(per_channel)
        else:
            self.inputs, gate = flat.chunk(2, dim=-1)
            active = F.silu(self.convolved(self.inputs, slice(None)))
            low, b, c = (active @ mixer.x_proj.weight.T).split([mixer.dt_proj.weight.shape[1], states, states], dim=-1)
            if hasattr(mixer, "b_layernorm"):
                low, b, c = (m / (m.square().mean(-1, keepdim=True) + mixer.rms_eps).sqrt() for m in (low, b, c))
            dt = F.softplus(low @ mixer.dt_proj.weight.T + mixer.dt_proj.bias)
            b, c = (m[:, :, None].expand(-1, time, self.inner, -1) for m in (b, c))
            rate, self.skip = mixer.A_log.exp(), mixer.D
        self.sigmoid = self.convolved(self.inputs, slice(0, self.inner)).sigmoid()
        self.decay, self.write, self.read = (-dt[..., None] * rate).exp(), dt[..., None] * b, c
        self.gate, self.scale = F.silu(gate), 1.0
        if self.scalar:
            gated = self(self.inputs)
            groups = getattr(mixer, "n_groups", 1)
            epsilon = getattr(mixer.norm, "variance_epsilon", getattr(mixer.norm, "eps", None))
            mean = gated.unflatten(-1, (groups, -1)).square().mean(-1).repeat_interleave(self.inner // groups, dim=-1)
            self.scale = mixer.norm.weight / (mean + epsilon).sqrt()

    def convolved(self, inputs: Tensor, channels: slice) -> Tensor:
        weight, bias = self.mixer.conv1d.weight[channels], self.mixer.conv1d.bias[channels]
        padded = F.pad(inputs.transpose(1, 2), (weight.shape[-1] - 1, 0))
        return F.conv1d(padded, weight, bias, groups=weight.shape[0]).transpose(1, 2)

    def __call__(self, inputs: Tensor) -> Tensor:
        values = self.sigmoid * self.convolved(inputs, slice(0, self.inner))
        state = torch.zeros_like(self.write[:, 0])
        outputs = []
        for t in range(inputs.shape[1]):
            state = self.decay[:, t] * state + self.write[:, t] * values[:, t, :, None]
            outputs.append((self.read[:, t] * state).sum(-1) + self.skip * values[:, t])
        return torch.stack(outputs, dim=1) * self.gate * self.scale


def frozen(case: str) -> tuple[FrozenMixer, MixerForm]:
    """The mixer of the second layer on an unpadded batch, written out and as recorded."""
    model = build(case, torch.float64)
    tokens, _ = batch_of_tokens()
    tokens = tokens[:1, :7]
    read, forms = [], []
    mixer = blocks(model)[1].mixer
    with hooked(model) as installed, installed[1].recorded_by(forms.append):
        handle = mixer.register_forward_pre_hook(
            lambda module, args, kwargs: read.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
        run(model, tokens)
        handle.remove()
    with torch.no_grad():
        return FrozenMixer(mixer, read[0]), forms[0]


@pytest.mark.parametrize("case", CASES)
def test_the_mixers_matrix_is_its_jacobian_with_gates_held_fixed(case: str) -> None:
    oracle, form = frozen(case)
    with torch.no_grad():
        # The oracle is the mixer: it reproduces what the layer did.
        torch.testing.assert_close(oracle(oracle.inputs), form.outputs.flatten(2), atol=1e-9, rtol=1e-7)
    jacobian = torch.autograd.functional.jacobian(oracle, oracle.inputs)[0, :, :, 0]  # [T, inner, S, inner]
    attention = ImplicitAttention.from_form(form, scope="mixer")
    assert attention.unit == "channel" and attention.units == oracle.inner
    own = jacobian.diagonal(dim1=1, dim2=3).permute(2, 0, 1)
    torch.testing.assert_close(attention.dense()[0], own, atol=1e-10, rtol=1e-7)
    other = jacobian * (1 - torch.eye(oracle.inner, dtype=jacobian.dtype)[:, None])
    assert other.abs().max() == 0
    with torch.no_grad():
        rest = oracle(torch.zeros_like(oracle.inputs))
    assert rest.abs().max() > 1e-3
    torch.testing.assert_close(attention.constant.flatten(2), rest, atol=1e-10, rtol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_dropping_the_skip_and_the_bias_as_published_code_does_is_far_off(case: str) -> None:
    """Ali et al. 2024 (arXiv:2403.01590) leave out D and the convolution's bias; neither is small."""
    form = record(build(case, torch.float64), padded=False)
    shortcut = ImplicitAttention.from_form(replace(form, skip=None, value_offset=None), scope="mixer")
    assert shortcut.check(full=True) > 0.1
    assert ImplicitAttention.from_form(replace(form, skip=None), scope="mixer").check(full=True) > 0.1
    assert ImplicitAttention.from_form(replace(form, value_offset=None), scope="mixer").check(full=True) > 1e-3
