"""Conditional cells against torch's own modules: outputs, states, Jacobians, and what an edit reaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import workbench
from tests.families.case import VOCABULARY
from tests.families.cases.torch_rnn import ResidualModel, StackModel
from workbench import mixing
from workbench.attention import ImplicitAttention, jacobian
from workbench.cells import ElmanCell, GRUCell, LSTMCell, Weights
from workbench.errors import InputError, UnsupportedFamilyError
from workbench.forms import MixerForm
from workbench.hooks import HookPoint
from workbench.memory import DictMemory

KINDS = {"LSTM": (nn.LSTM, LSTMCell), "GRU": (nn.GRU, GRUCell), "RNN": (nn.RNN, ElmanCell)}
TIME, UNITS, INPUTS = 9, 5, 4


def module_of(kind: str, layers: int = 1, **options: Any) -> nn.RNNBase:
    torch.manual_seed(3)
    made: nn.RNNBase = KINDS[kind][0](INPUTS, UNITS, layers, batch_first=True, **options).double().eval()
    return made


def stack_of(kind: str, layers: int = 2) -> workbench.HookedModel:
    module = module_of(kind, layers)
    return workbench.load(StackModel(module, UNITS).double())


def tokens(batch: int = 2) -> Tensor:
    return torch.randint(0, VOCABULARY, (batch, TIME), generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_gives_what_torchs_module_gives_with_and_without_steps(kind: str) -> None:
    module = module_of(kind)
    x = torch.randn(2, TIME, INPUTS, dtype=torch.float64)
    weights = Weights(*(getattr(module, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
    cell = KINDS[kind][1](weights, torch.float64)
    expected = module(x)[0]
    torch.testing.assert_close(cell.hidden_states(x, None, DictMemory({})), expected, atol=0, rtol=0)
    stepped = cell.hidden_states(x, torch.ones_like(x[..., :1]), DictMemory({}))  # a mask makes it go step by step
    torch.testing.assert_close(stepped, expected, atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hooked_stack_returns_the_modules_output_and_last_states(kind: str) -> None:
    plain, module = module_of(kind, 3), module_of(kind, 3)
    StackModel(module, UNITS)
    model = workbench.load(StackModel(module, UNITS).double())
    assert model.cfg.n_layers == 3 and model.cfg.families == [kind.lower()] * 3
    x = torch.randn(2, TIME, INPUTS, dtype=torch.float64)
    _, start = plain(x)  # something that is not zero
    expected, actual = plain(x, start), module(x, start)
    torch.testing.assert_close(actual, expected, atol=1e-13, rtol=1e-11)
    torch.testing.assert_close(module(x[0]), plain(x[0]), atol=1e-13, rtol=1e-11)  # without a batch
    model.unwrap()
    assert "forward" not in vars(module)


@pytest.mark.parametrize("kind", KINDS)
def test_the_jacobian_is_that_of_torchs_module(kind: str) -> None:
    model, module = stack_of(kind, 1), module_of(kind)
    x = torch.randn(1, TIME, INPUTS, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(lambda x: module(x)[0][0], x)[:, :, 0]  # time, out, source, in
    queries, keys = [0, 3, 8], [0, 2, 3, 7]
    actual = jacobian(model.adapters[0], x, queries, keys)[0]
    torch.testing.assert_close(actual, expected[queries][:, :, keys].transpose(1, 2), atol=1e-13, rtol=1e-9)
    assert actual[0, 1:].abs().max() == 0 and actual[2].abs().min() > 0


def test_the_conditional_map_is_a_part_of_the_jacobian_only() -> None:
    """Of a GRU whose gates read nothing of the past the two agree: then the conditional map is the whole one."""
    module = module_of("GRU")
    with torch.no_grad():
        module.weight_hh_l0.zero_()
        module.weight_ih_l0[: 2 * UNITS].zero_()  # nor of the present, which the Jacobian would see, too
    model = workbench.load(StackModel(module, UNITS).double())
    forms: list[MixerForm] = []
    x = torch.randn(1, TIME, INPUTS, dtype=torch.float64)
    with model.adapters[0].recorded_by(forms.append):
        module(x)
    attention = ImplicitAttention.from_form(forms[0], scope="core")
    slope = 1 - forms[0].core.v[..., 0].square()  # tanh' of the candidate, which the map from v leaves out
    linear = attention.dense()[0] * slope[0].T[:, None]  # unit, time, source
    expected = torch.einsum("uts,ui->tsui", linear, module.weight_ih_l0[2 * UNITS :])
    actual = jacobian(model.adapters[0], x, range(TIME))[0]
    torch.testing.assert_close(actual, expected, atol=1e-13, rtol=1e-9)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gradients_flow_in_eval_mode_and_equal_torchs(kind: str) -> None:
    def gradients(hooked: bool) -> list[Tensor]:
        module = module_of(kind, 2)
        user = StackModel(module, UNITS).double().eval()
        torch.manual_seed(5)
        for parameter in user.parameters():
            nn.init.normal_(parameter, std=0.5)
        model = workbench.load(user) if hooked else None
        assert not module.training
        run = user if model is None else model.wrapped
        run(tokens()).logits.square().mean().backward()
        return [parameter.grad for parameter in user.parameters() if parameter.grad is not None]

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-8)
        assert ours.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_of_a_cell_passes_gradcheck(kind: str) -> None:
    module = module_of(kind)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    x = torch.randn(2, 4, INPUTS, dtype=torch.float64, requires_grad=True)

    def written(x: Tensor, *parameters: Tensor) -> Tensor:
        cell = KINDS[kind][1](Weights(*parameters), torch.float64)
        inlet = cell.inlet(x, None, DictMemory({}))
        z, _ = workbench.kernels.forward(inlet.form)
        return mixing.outputs(z, inlet.form.v, inlet.gate, cell.outlet(z))

    parameters = [getattr(module, name).detach().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(written, (x, *parameters))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_an_edited_state_reaches_later_gates_as_in_a_loop_of_torchs_cells(kind: str) -> None:
    model, at = stack_of(kind), 3
    module = model.wrapped.recurrence
    cell = (nn.LSTMCell if kind == "LSTM" else nn.GRUCell)(INPUTS, UNITS).double()
    for name, parameter in cell.named_parameters():
        parameter.data = getattr(module, f"{name}_l0").data
    _, cache = model.run_with_cache(tokens(), "mixer.hook_in")
    x = cache["in", 0]

    def edit(state: Tensor, hook: HookPoint) -> Tensor | None:
        return 0.5 - 2 * state if hook.step == at else None

    hidden, state = (torch.zeros(2, UNITS, dtype=torch.float64) for _ in range(2))
    expected = []
    for t in range(TIME):
        if kind == "LSTM":
            hidden, state = cell(x[:, t], (hidden, state))
            if t == at:
                state = 0.5 - 2 * state
                gates = x[:, t] @ cell.weight_ih.T + cell.bias_ih + expected[-1] @ cell.weight_hh.T + cell.bias_hh
                hidden = torch.sigmoid(gates[:, 3 * UNITS :]) * state.tanh()
        else:
            hidden = cell(x[:, t], hidden)
            hidden = 0.5 - 2 * hidden if t == at else hidden
        expected.append(hidden)
    outs: list[Tensor] = []
    seen = ("blocks.0.mixer.hook_out", lambda y, hook: outs.append(y))
    model.run_with_hooks(tokens(), fwd_hooks=[("blocks.0.mixer.hook_state", edit), seen])
    torch.testing.assert_close(outs[0], torch.stack(expected, dim=1).detach(), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_an_edited_value_acts_with_the_gates_as_they_were_until_somebody_watches_the_state(kind: str) -> None:
    model, at = stack_of(kind), 2

    def edit(v: Tensor, hook: HookPoint) -> Tensor:
        changed = v.clone()
        changed[:, at] += 1.0
        return changed

    def decays(fwd_hooks: list[Any]) -> tuple[Tensor, Tensor]:
        forms: list[MixerForm] = []
        with model.adapters[0].recorded_by(forms.append):
            model.run_with_hooks(tokens(), fwd_hooks=fwd_hooks)
        assert forms[0].conditional
        assert ImplicitAttention.from_form(forms[0], scope="core").check(full=True) < 1e-10
        return forms[0].core.log_decay, forms[0].core.v

    plain, values = decays([])
    held, edited = decays([("blocks.0.mixer.hook_v", edit)])
    assert torch.equal(held, plain)
    torch.testing.assert_close(edited[:, at], values[:, at] + 1.0)
    watched = [("blocks.0.mixer.hook_v", edit), ("blocks.0.mixer.hook_state", lambda state, hook: None)]
    moved, stays = decays(watched)
    torch.testing.assert_close(stays[:, at], values[:, at] + 1.0)
    torch.testing.assert_close(moved[:, : at + 1], plain[:, : at + 1], atol=1e-12, rtol=1e-12)
    assert (moved - plain)[:, at + 1 :].abs().amax(dim=(0, 2, 3)).min() > 1e-6


def test_a_linearised_run_sees_the_gates_as_constants_and_follows_the_hidden_state() -> None:
    model = stack_of("LSTM", 1)
    x = torch.randn(1, TIME, INPUTS, dtype=torch.float64, requires_grad=True)
    with mixing.linearised():
        (grad,) = torch.autograd.grad(model.adapters[0].module(x)[0, 6, 2], x)
    lstm = model.wrapped.recurrence
    h = c = torch.zeros(UNITS, dtype=torch.float64)
    for t in range(7):
        read = lstm.weight_ih_l0 @ x[0, t] + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = read.chunk(4)
        slope = (g.tanh() / g).detach()
        c = f.sigmoid().detach() * c + i.sigmoid().detach() * slope * g
        h = (o.sigmoid() * c.tanh() / c).detach() * c
    (expected,) = torch.autograd.grad(h[2], x)
    torch.testing.assert_close(grad, expected, atol=1e-13, rtol=1e-9)


def test_a_model_that_reads_backwards_is_refused() -> None:
    module = nn.GRU(INPUTS, UNITS, bidirectional=True, batch_first=True)
    with pytest.raises(UnsupportedFamilyError, match="bidirectional=True"):
        workbench.load(StackModel(module, 2 * UNITS))


def test_a_deep_module_inside_a_block_is_refused() -> None:
    model = ResidualModel()
    model.layers[1].lstm = nn.LSTM(8, 8, 2, batch_first=True)
    with pytest.raises(UnsupportedFamilyError, match="num_layers=2"):
        workbench.load(model)


def test_packed_sequences_are_refused_with_what_to_do() -> None:
    model = stack_of("GRU")
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 4, INPUTS).double(), [4, 2], batch_first=True)
    with pytest.raises(InputError, match="padded batch"):
        model.wrapped.recurrence(packed)


def test_the_jacobian_of_what_is_no_recurrence_or_out_of_range_is_refused() -> None:
    model = stack_of("LSTM", 1)
    x = torch.zeros(1, 3, INPUTS, dtype=torch.float64)
    with pytest.raises(InputError, match="0 to 2"):
        jacobian(model.adapters[0], x, 3)
    with pytest.raises(InputError, match="\\[batch, time, model\\]"):
        jacobian(model.adapters[0], x[0], 0)


@pytest.mark.parametrize(("kind", "name"), [("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "rnn_tanh")])
def test_the_fused_recurrence_keeps_what_a_backward_pass_needs_in_eval_mode(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, cuDNN computes gradients only for calls in training mode; here the flag itself is looked at."""
    model, fused, flags = stack_of(kind, 1), getattr(torch, name), []

    def watched(*arguments: Any) -> Any:
        flags.append(arguments[-3])
        return fused(*arguments)

    monkeypatch.setattr(torch, name, watched)
    x = torch.zeros(1, TIME, INPUTS, dtype=torch.float64)
    model.adapters[0].module(x)
    with torch.no_grad():
        model.adapters[0].module(x)
    assert flags == [True, False]
