"""sLSTM, the leaky network, LSTM and GRU as mixers, against loops written from their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.zoo.config import ZooConfig
from workbench.zoo.gru import GRU
from workbench.zoo.leaky_rnn import LeakyRNN
from workbench.zoo.lstm import LSTM
from workbench.zoo.mixer import Mixer
from workbench.zoo.model import ZooModel
from workbench.zoo.slstm import SLSTM

BATCH, TIME, MODEL, UNITS = 2, 13, 6, 8


def mixer_of(kind: type[Mixer]) -> Mixer:
    torch.manual_seed(0)
    mixer = kind(ZooConfig("-", d_model=MODEL, mixer_options={"units": UNITS, "n_heads": 2}), 0)  # type: ignore[call-arg]
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer.double()


def inputs() -> Tensor:
    return torch.randn(BATCH, TIME, MODEL, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_slstm_is_the_papers_recurrence_without_its_stabiliser() -> None:
    mixer, x = mixer_of(SLSTM), inputs()
    h, c, n = (torch.zeros(BATCH, UNITS).double() for _ in range(3))
    outputs = []
    for t in range(TIME):
        gates = x[:, t] @ mixer.x_proj.weight.T + mixer.x_proj.bias
        recurrent = [
            torch.cat([h[:, head * 4 : head * 4 + 4] @ mixer.recurrent[head, gate].T for head in range(2)], dim=-1)
            for gate in range(4)
        ]
        i, f, z, o = (part + past for part, past in zip(gates.chunk(4, -1), recurrent, strict=True))
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        outputs.append(h @ mixer.o_proj.weight.T)
    torch.testing.assert_close(mixer(x), torch.stack(outputs, dim=1), atol=1e-12, rtol=1e-10)


def test_slstm_holds_input_gates_that_no_exponential_holds() -> None:
    mixer, x = mixer_of(SLSTM), inputs()
    expected = mixer(x)
    with torch.no_grad():
        mixer.x_proj.bias[:UNITS] += 800.0  # c and n grow alike
    torch.testing.assert_close(mixer(x), expected, atol=1e-9, rtol=1e-9)


def test_the_leaky_network_is_its_definition() -> None:
    mixer, x = mixer_of(LeakyRNN), inputs()
    h, leak, outputs = torch.zeros(BATCH, UNITS).double(), torch.sigmoid(mixer.leak), []
    for t in range(TIME):
        h = (1 - leak) * h + leak * torch.tanh(mixer.x_proj(x[:, t]) + mixer.h_proj(h))
        outputs.append(mixer.o_proj(h))
    torch.testing.assert_close(mixer(x), torch.stack(outputs, dim=1), atol=1e-13, rtol=1e-11)


@pytest.mark.parametrize(("kind", "module"), [(LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_lstm_and_gru_are_torchs_modules_and_a_projection(kind: type[Mixer], module: type[nn.RNNBase]) -> None:
    mixer, x = mixer_of(kind), inputs()
    theirs = module(MODEL, UNITS, batch_first=True).double()
    names = ("x_proj.weight", "h_proj.weight", "x_proj.bias", "h_proj.bias")
    with torch.no_grad():
        for own, other in zip(names, ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), strict=True):
            getattr(theirs, f"{other}_l0").copy_(mixer.get_parameter(own))
    assert torch.equal(mixer(x), mixer.o_proj(theirs(x)[0]))


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_gates_start_open(kind: type[Mixer]) -> None:
    mixer = kind(ZooConfig("-", d_model=MODEL, mixer_options={"units": UNITS}), 0)  # type: ignore[call-arg]
    assert (mixer.x_proj.bias[UNITS : 2 * UNITS] == 1).all() and mixer.x_proj.bias[:UNITS].abs().max() == 0
    first = mixer.h_proj.weight[:UNITS].double()
    torch.testing.assert_close(first @ first.T, torch.eye(UNITS).double(), atol=1e-6, rtol=0)


def test_heads_that_do_not_divide_the_units_are_refused() -> None:
    with pytest.raises(InputError, match="3 heads do not divide 8 units"):
        SLSTM(ZooConfig("slstm", d_model=MODEL, mixer_options={"units": 8, "n_heads": 3}), 0)


@pytest.mark.parametrize("mixer", ["gru", "lstm"])
def test_a_state_put_in_from_outside_is_the_one_that_gates_read(mixer: str) -> None:
    """After it, a GRU goes on as torch's cell does from that state; an LSTM's hidden state stays the last token's."""
    torch.manual_seed(0)
    model = HookedModel(
        ZooModel(ZooConfig(mixer, vocab_size=20, d_model=MODEL, n_layers=1, mixer_options={"units": 5}))
    )
    model.wrapped.double()
    tokens = torch.randint(0, 20, (1, 8))
    prompt = model.prefill(tokens[:, :5])
    hidden = prompt.cache.layers[0].get("hidden")
    new = torch.randn(1, 5, 1, 1).double()
    records: dict[str, Tensor] = {}
    names = ["blocks.0.mixer.hook_in", "blocks.0.mixer.hook_head_out"]
    with model.hooks([(names, lambda x, hook: records.__setitem__(hook.name, x))]):
        model.prefill(tokens[:, 5:], state=prompt.with_recurrent(0, new))
    x, out = (records[name][0] for name in names)
    own = model.wrapped.blocks[0].mixer
    cell = (nn.GRUCell if mixer == "gru" else nn.LSTMCell)(MODEL, 5).double()
    with torch.no_grad():
        for name, other in (("weight_ih", "x_proj.weight"), ("weight_hh", "h_proj.weight")):
            getattr(cell, name).copy_(own.get_parameter(other))
        cell.bias_ih.copy_(own.x_proj.bias)
        cell.bias_hh.copy_(own.h_proj.bias)
        h, c = (new[0, :, 0, 0] if mixer == "gru" else hidden[0]), new[0, :, 0, 0]
        for t in range(3):
            h, c = (cell(x[t], h), c) if mixer == "gru" else cell(x[t], (h, c))
            torch.testing.assert_close(out[t, :, 0], h, atol=1e-12, rtol=1e-10)
