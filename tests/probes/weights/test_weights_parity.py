"""Weights and composition scores are TransformerLens' on the same models, and the modules' own parameters elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

import workbench as wb
from tests.interop.test_transformer_lens import LLAMA, hooked_transformer
from tests.workbench import decoder_cases
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.weights import ModelWeights, all_composition_scores, head_weights

SHAPES: dict[str, dict[str, Any]] = {"gpt2": {"normalization_type": "LN"}, "llama": LLAMA}


def close(ours: Tensor, theirs: Tensor, within: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).detach().abs().max()) <= within * float(theirs.detach().abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_and_composition_are_transformer_lens(shape: str) -> None:
    theirs = hooked_transformer(**SHAPES[shape])
    model = wb.load(theirs)
    ours = ModelWeights(model)
    names = ["W_E", "W_U", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out"]
    for name in names + (["W_gate"] if shape == "llama" else ["W_pos"]):
        close(getattr(ours, name), getattr(theirs, name))
    close(ours.OV.AB, theirs.OV.AB)
    close(ours.QK.AB, theirs.QK.AB)
    close(ours.OV.singular_values(), theirs.OV.svd()[1])
    for mode in ("Q", "K", "V"):
        close(all_composition_scores(model, mode), theirs.all_composition_scores(mode), 1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_folded_norms_are_transformer_lens_folded_weights(shape: str) -> None:
    ours = ModelWeights(wb.load(hooked_transformer(**SHAPES[shape])), fold_norm=True)
    theirs = hooked_transformer(**SHAPES[shape])
    theirs.process_weights_(center_writing_weights=False, center_unembed=False)
    for name in ("W_Q", "W_V", "W_in", "W_U"):
        mine, known = getattr(ours, name), getattr(theirs, name)
        if shape == "gpt2":  # it also takes the mean over d_model off what reads a LayerNorm's output
            mine, known = (matrix - matrix.mean(-2, keepdim=True) for matrix in (mine, known))
        close(mine, known)


def parameter(module: nn.Module, name: str) -> Tensor:
    return module.get_parameter(name).detach()


def test_recurrent_value_paths_are_their_projections() -> None:
    """The oracle is where each published layout puts its values."""
    mamba2 = wb.load("zoo:mamba2")
    found, module = head_weights(mamba2, 1), mamba2.mixers[1].module
    inner = found.W_O.shape[0] * found.W_O.shape[1]  # type: ignore[union-attr]
    close(found.W_V.mT.flatten(0, 1), parameter(module, "in_proj.weight")[inner : 2 * inner])
    close(found.W_O.flatten(0, 1), parameter(module, "out_proj.weight").T)  # type: ignore[union-attr]
    assert found.linear == {"q": False, "k": False, "v": True}
    retnet = wb.load("zoo:retnet")
    found, module = head_weights(retnet, 2), retnet.mixers[2].module
    close(found.W_V.mT.flatten(0, 1), parameter(module, "v_proj.weight"))
    assert found.linear["v"]


def test_the_state_of_mamba_is_written_and_read_through_b_and_c() -> None:
    """C silu(conv(x)) at zero: the convolution's tap on the token and its bias, the slope of SiLU there."""
    model = wb.load("zoo:mamba")
    found, module = head_weights(model, 0), model.mixers[0].module
    width = 256
    values = parameter(module, "in_proj.weight")[:width]
    bias = parameter(module, "conv1d.bias").double()
    gate = bias.sigmoid()
    slope = gate * (1 + bias * (1 - gate))
    reach = (slope * parameter(module, "conv1d.weight")[:, 0, -1].double())[:, None] * values.double()
    select = parameter(module, "x_proj.weight").double()
    rank = module.get_parameter("dt_proj.weight").shape[1]
    states = (len(select) - rank) // 2
    close(found.W_K[7].double(), (select[rank : rank + states] @ reach).T, 1e-4)  # type: ignore[index]
    close(found.W_Q[200].double(), (select[rank + states :] @ reach).T, 1e-4)  # type: ignore[index]
    before = head_weights(model, 0, lag=1)
    tap = parameter(module, "conv1d.weight")[:, 0, -2].double()
    close(before.W_K[7].double(), (select[rank : rank + states] @ ((slope * tap)[:, None] * values.double())).T, 1e-4)  # type: ignore[index]
    assert not before.W_V.any()  # the values' matrix stands before the convolution


def test_grouped_and_fused_projections_are_told_apart() -> None:
    model = HookedModel(decoder_cases.build("gpt_neox sequential"))
    fused = model.wrapped.gpt_neox.layers[1].attention.query_key_value.weight  # type: ignore[union-attr, index]
    q, k, v = fused.unflatten(0, (4, 3, -1)).unbind(1)
    found = head_weights(model, 1)
    for ours, theirs in ((found.W_Q, q), (found.W_K, k), (found.W_V, v)):
        close(ours, theirs.mT)  # type: ignore[arg-type]
    normed = head_weights(HookedModel(decoder_cases.build("qwen3")), 0)
    assert normed.linear == {"q": False, "k": False, "v": True}


def test_what_a_mixer_does_not_have_is_said() -> None:
    lstm = wb.load("zoo:lstm")
    assert head_weights(lstm, 0).W_Q is None
    with pytest.raises(InputError, match="has no queries and keys"):
        _ = head_weights(lstm, 0).QK
    with pytest.raises(InputError, match="do not all have W_Q"):
        _ = ModelWeights(lstm).W_Q
    with pytest.raises(InputError, match="no learned position embedding"):
        _ = ModelWeights(lstm).W_pos
    with pytest.raises(InputError, match="lag is 2"):
        head_weights(lstm, 0, lag=2)
    with pytest.raises(InputError, match="no circuit 'VO'"):
        head_weights(lstm, 0).circuit("VO")
    with pytest.raises(InputError, match="no 'X'-composition"):
        all_composition_scores(lstm, "X")
