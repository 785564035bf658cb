"""mLSTM against the paper's unstabilised equations, written as a loop, and against transformers' layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import kernels
from workbench.memory import DictMemory
from workbench.zoo.config import ZooConfig
from workbench.zoo.mlstm import MLSTM, matrix_memory, soft_capped

BATCH, TIME, HEADS, KEY, VALUE = 2, 23, 3, 5, 4


def operands(gates: float = 1.0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(BATCH, TIME, HEADS, *shape, generator=generator, dtype=torch.float64)

    return normal(KEY), normal(KEY), normal(VALUE), gates * normal(), gates * normal() + 1


def unstabilised(q: Tensor, k: Tensor, v: Tensor, input_gate: Tensor, forget_gate: Tensor) -> Tensor:
    """Equations 19 to 23 of arXiv:2405.04517 token by token, with nothing divided by a running maximum."""
    matrix, vector = torch.zeros(BATCH, HEADS, VALUE, KEY).double(), torch.zeros(BATCH, HEADS, KEY).double()
    outputs = []
    for t in range(q.shape[1]):
        f, i = torch.sigmoid(forget_gate[:, t]), torch.exp(input_gate[:, t])
        matrix = f[..., None, None] * matrix + i[..., None, None] * torch.einsum("bhv,bhk->bhvk", v[:, t], k[:, t])
        vector = f[..., None] * vector + i[..., None] * k[:, t]
        normaliser = torch.einsum("bhk,bhk->bh", vector, q[:, t]).abs().clamp(min=1)
        outputs.append(torch.einsum("bhvk,bhk->bhv", matrix, q[:, t]) / normaliser[..., None])
    return torch.stack(outputs, dim=1)


def test_the_stabilised_form_is_the_papers_recurrence() -> None:
    values = operands()
    z, _ = kernels.forward(matrix_memory(*values, None, DictMemory({}), eps=0.0))
    torch.testing.assert_close(z, unstabilised(*values), atol=1e-12, rtol=1e-10)


def test_gates_far_beyond_what_an_exponential_holds_stay_finite() -> None:
    q, k, v, _, forget = operands()
    q, k, v, forget = (x.float() for x in (q, k, v, forget))
    form = matrix_memory(q, k, v, torch.full_like(forget, 400.0), forget, None, DictMemory({}))
    shifted = matrix_memory(q, k, v, torch.full_like(forget, 20.0), forget, None, DictMemory({}))
    # So large that max(|n q|, 1) is |n q|: then only differences between input gates count.
    torch.testing.assert_close(kernels.forward(form)[0], kernels.forward(shifted)[0], atol=1e-4, rtol=1e-4)


def test_a_sequence_in_parts_is_the_sequence() -> None:
    values = operands()
    whole, last = kernels.forward(matrix_memory(*values, None, DictMemory({})))
    memory, parts, state = DictMemory({}), [], None
    for span in (slice(0, 1), slice(1, 9), slice(9, TIME)):
        form = matrix_memory(*(x[:, span] for x in values), None, memory)
        part, state = kernels.forward(form, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(state, last, atol=1e-12, rtol=1e-10)


def test_gradients_pass_gradcheck_through_maximum_and_normaliser() -> None:
    values = tuple(x[:1, :5, :2].requires_grad_() for x in operands())

    def written(*values: Tensor) -> Tensor:
        return kernels.forward(matrix_memory(*values, None, DictMemory({})))[0]

    assert torch.autograd.gradcheck(written, values)


def test_without_its_convolution_the_mixer_is_the_layer_of_xlstm_7b() -> None:
    from transformers import xLSTMConfig
    from transformers.models.xlstm.modeling_xlstm import xLSTMLayer

    config = xLSTMConfig(hidden_size=128, num_heads=4, vocab_size=8, num_hidden_layers=1, chunk_size=16)
    torch.manual_seed(0)
    theirs = xLSTMLayer(config).eval()
    ours = MLSTM(ZooConfig("mlstm", norm_eps=1e-6, mixer_options={"qk_dim": 64, "conv_kernel": 0}), 0)
    names = {"q": "q", "k": "k", "v": "v", "g": "ogate_preact", "i": "igate_preact", "f": "fgate_preact"}
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, other in names.items():
            ours.get_submodule(f"{name}_proj").load_state_dict(theirs.get_submodule(other).state_dict())
        ours.o_proj.load_state_dict(theirs.out_proj.state_dict())
        ours.norm.copy_(theirs.multihead_norm.weight.view(4, -1))
        x = torch.randn(2, 33, 128)
        torch.testing.assert_close(ours(x), theirs(x)[0], atol=1e-5, rtol=1e-4)


def test_gates_are_capped() -> None:
    gates = torch.tensor([-1e4, -1.0, 0.0, 1e4])
    torch.testing.assert_close(soft_capped(gates), torch.tensor([-15.0, -15 * torch.tanh(torch.tensor(1 / 15)), 0, 15]))


def test_the_mimetic_start_looks_for_successors_of_the_present_token() -> None:
    """Before training, keys whose predecessor is the query's token score above others, on average over tokens."""
    torch.manual_seed(0)
    options = {"qk_dim": 512, "v_dim": 64, "n_heads": 4, "initialisation": "mimetic"}
    mixer = MLSTM(ZooConfig("mlstm", mixer_options=options), 0)
    with torch.no_grad():
        torch.nn.init.normal_(mixer.q_proj.weight, std=0.02)
        mixer.initialise()
        vectors = torch.randn(40, 128)
        block = F.rms_norm(vectors, (128,))
        form = mixer.read_in(torch.cat([block, block])[None], None, DictMemory({})).form
        scores = torch.einsum("bthk,bshk->bhts", form.q, form.k).mean(1)[0, 41:79, :40]
    successors = scores.diagonal(offset=2)[:37].mean()
    assert successors > scores.mean() + 2 * scores.std()
    with pytest.raises(ValueError, match="neither 'reference' nor 'mimetic'"):
        MLSTM(ZooConfig("mlstm", mixer_options={"initialisation": "other"}), 0)
