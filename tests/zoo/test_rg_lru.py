"""Griffin's recurrent block against a loop from the paper and transformers' RG-LRU; hybrids; local attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import kernels
from workbench.errors import InputError
from workbench.forms import DiagonalDecay
from workbench.memory import DictMemory, NoMemory
from workbench.zoo.attention import Attention
from workbench.zoo.cache import LayerCache
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel
from workbench.zoo.rg_lru import RGLRU

BATCH, TIME, MODEL, WIDTH = 2, 17, 8, 12


def block(dtype: torch.dtype = torch.float64) -> RGLRU:
    torch.manual_seed(0)
    mixer = RGLRU(ZooConfig("rg_lru", d_model=MODEL, mixer_options={"width": WIDTH, "blocks": 3}), 0)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer.to(dtype)


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(BATCH, TIME, MODEL, generator=torch.Generator().manual_seed(1), dtype=dtype)


def written_out(mixer: RGLRU, hidden: Tensor) -> Tensor:
    """Griffin's section 2 token by token: convolution, gates, recurrence, gate."""
    x, side = mixer.x_proj(hidden), F.gelu(mixer.y_proj(hidden), approximate="tanh")
    taps = mixer.conv.weight.shape[-1]
    state, outputs = torch.zeros(BATCH, WIDTH).to(x), []
    dense = {gate: torch.block_diag(*getattr(mixer, gate).weight) for gate in ("recurrence_gate", "input_gate")}
    for t in range(hidden.shape[1]):
        seen = mixer.conv.bias + sum(
            mixer.conv.weight[:, 0, taps - 1 - back] * x[:, t - back] for back in range(taps) if t >= back
        )
        r = torch.sigmoid(seen @ dense["recurrence_gate"] + mixer.recurrence_gate.bias)
        i = torch.sigmoid(seen @ dense["input_gate"] + mixer.input_gate.bias)
        a = torch.exp(-8 * torch.log(1 + torch.exp(mixer.decay)) * r)
        state = a * state + torch.sqrt(1 - a**2) * (i * seen)
        outputs.append(mixer.o_proj(side[:, t] * state))
    return torch.stack(outputs, dim=1)


def test_the_block_is_the_papers_written_out() -> None:
    mixer, hidden = block(), inputs()
    torch.testing.assert_close(mixer(hidden), written_out(mixer, hidden), atol=1e-12, rtol=1e-10)


def test_the_recurrence_is_that_of_recurrent_gemma_resets_included() -> None:
    from transformers import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRglru

    config = RecurrentGemmaConfig(
        hidden_size=WIDTH, lru_width=WIDTH, num_attention_heads=3, num_hidden_layers=1, vocab_size=8
    )
    theirs, mixer = RecurrentGemmaRglru(config), block(torch.float32)
    with torch.no_grad():
        theirs.recurrent_param.copy_(mixer.decay)
        for name, gate in (("recurrent_gate", mixer.recurrence_gate), ("input_gate", mixer.input_gate)):
            getattr(theirs, f"{name}_weight").copy_(gate.weight)
            getattr(theirs, f"{name}_bias").copy_(gate.bias.view(3, -1))
    # Theirs resets the first token, too, where position 0 stands there; ours begins a row as the paper does.
    positions = torch.tensor([5, 6, 7, 0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7]).expand(BATCH, -1)
    inlet = mixer.read_in(inputs(torch.float32), None, NoMemory(), positions)
    assert isinstance(inlet.form, DiagonalDecay) and inlet.path is not None
    gate = mixer.input_gate
    seen = F.conv1d(
        F.pad(mixer.x_proj(inputs(torch.float32)).mT, (3, 0)), mixer.conv.weight, mixer.conv.bias, groups=WIDTH
    ).mT
    torch.testing.assert_close(inlet.form.v[..., 0], gate(seen) * seen, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        expected = theirs(seen, positions)
        torch.testing.assert_close(kernels.forward(inlet.form)[0][..., 0], expected, atol=1e-5, rtol=1e-4)


def test_a_text_after_another_in_its_row_reads_nothing_of_it_but_through_the_convolution() -> None:
    mixer = block()
    with torch.no_grad():
        mixer.conv.weight[:, :, :-1] = 0  # which does not know where texts begin
    positions = torch.cat([torch.arange(7), torch.arange(TIME - 7)])[None]
    first, other = inputs(), inputs()
    other[:, :7] = 3.0
    torch.testing.assert_close(mixer(first, position_ids=positions)[:, 7:], mixer(other, position_ids=positions)[:, 7:])
    assert (mixer(first)[:, 7:] - mixer(other)[:, 7:]).abs().max() > 1e-3


def test_a_text_that_begins_in_a_later_call_forgets_the_cache() -> None:
    mixer, hidden = block(), inputs()
    positions = torch.cat([torch.arange(7), torch.arange(TIME - 7)])[None]
    whole = mixer(hidden, position_ids=positions)
    cache = LayerCache()
    parts = [
        mixer(hidden[:, span], position_ids=positions[:, span], cache=cache)
        for span in (slice(0, 7), slice(7, 8), slice(8, TIME))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=1e-10)


def test_the_form_passes_gradcheck() -> None:
    mixer = block()
    hidden = inputs()[:1, :4].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mixer(x, position_ids=torch.tensor([[0, 1, 0, 1]])), hidden)


def test_gates_that_close_altogether_leave_every_gradient_finite() -> None:
    mixer, hidden = block(), inputs().requires_grad_()
    with torch.no_grad():
        mixer.recurrence_gate.bias.fill_(-1000.0)
    mixer(hidden).square().mean().backward()
    reached = [hidden.grad, *(parameter.grad for parameter in mixer.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in reached)


def test_blocks_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InputError, match="5 blocks do not divide a width of 12"):
        RGLRU(ZooConfig("rg_lru", d_model=MODEL, mixer_options={"width": 12, "blocks": 5}), 0)


@pytest.mark.parametrize("padded", [False, True])
def test_local_attention_looks_through_its_window_only(padded: bool) -> None:
    torch.manual_seed(2)
    window = 5
    local = Attention(ZooConfig("attention", d_model=MODEL, mixer_options={"n_heads": 2, "window": window}), 0).double()
    hidden = inputs()
    mask = torch.ones(BATCH, TIME, dtype=torch.bool)
    mask[1, :4] = not padded
    out = local(hidden, attention_mask=mask if padded else None)
    for t in (4, 9, TIME - 1):
        far = hidden.clone()
        far[:, : max(0, t - window + 1)] += 1.0
        torch.testing.assert_close(local(far, attention_mask=mask if padded else None)[:, t], out[:, t])
        near = hidden.clone()
        near[:, t - window + 1] += 1.0
        changed = (local(near, attention_mask=mask if padded else None)[:, t] - out[:, t]).abs().amax(-1)
        assert (changed > 1e-6).tolist() == [True, bool(mask[1, t - window + 1])]
    cache = LayerCache()
    parts = [
        local(part, attention_mask=mask[:, :end] if padded else None, cache=cache)
        for part, end in ((hidden[:, :6], 6), (hidden[:, 6:7], 7), (hidden[:, 7:], TIME))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1)[mask], out[mask])


def test_a_hybrid_repeats_its_list_of_mixers_and_gives_each_its_options() -> None:
    options = {"rg_lru": {"width": 16}, "attention": {"n_heads": 2, "window": 3}}
    config = ZooConfig(["rg_lru", "attention"], d_model=MODEL, n_layers=5, mixer_options=options)
    model = ZooModel(ZooConfig.from_json(config.to_json()))
    assert [type(b.mixer).__name__ for b in model.blocks] == ["RGLRU", "Attention", "RGLRU", "Attention", "RGLRU"]
    assert model.blocks[4].mixer.n_heads == 16 and model.blocks[3].mixer.window == 3


def test_a_config_of_one_mixer_means_what_it_meant() -> None:
    config = ZooConfig("attention", d_model=MODEL, mixer_options={"n_heads": 2})
    assert config.of_layer(3) is config
    assert [type(b.mixer).__name__ for b in ZooModel(config).blocks] == ["Attention"] * 4


def test_memory_counts_real_tokens() -> None:
    mixer, memory = block(), DictMemory({})
    mask = torch.ones(BATCH, TIME, 1).double()
    mask[1, :4] = 0
    mixer.read_in(inputs(), mask, memory, torch.arange(TIME)[None])
    assert memory.get("seen").flatten().tolist() == [TIME, TIME - 4]
