"""The numbers of TransformerLens 3.9 on the same softmax models: GPT-2's and Llama's shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.interop.test_transformer_lens import LLAMA, hooked_transformer, tokens

SHAPES: dict[str, dict[str, Any]] = {"gpt2": {"normalization_type": "LN"}, "llama": LLAMA}


def stock_gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=12, n_layer=2, n_head=3, n_positions=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def agree(ours: Any, theirs: Any, within: float = 1e-4) -> None:
    """The same labels, and numbers as close as that in relation to the largest."""
    if isinstance(theirs, tuple):
        assert [*ours[1]] == [*theirs[1]]
        ours, theirs = ours[0], theirs[0]
    assert ours.shape == theirs.shape
    assert float((ours - theirs).detach().abs().max()) <= within * float(theirs.detach().abs().max())


@pytest.fixture(params=SHAPES)
def caches(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    """Caches of ours and theirs over the same weights, which are not folded."""
    theirs = hooked_transformer(**SHAPES[request.param])
    with torch.no_grad():
        _, known = theirs.run_with_cache(tokens())
        _, cache = wb.load(theirs).run_with_cache(tokens())
    return cache, known, theirs


STACKS: dict[str, Any] = {
    "accumulated": lambda c: c.accumulated_resid(return_labels=True),
    "accumulated, middle, final norm": lambda c: c.accumulated_resid(incl_mid=True, apply_ln=True, return_labels=True),
    "accumulated, second layer's MLP": lambda c: c.accumulated_resid(
        1, apply_ln=True, mlp_input=True, return_labels=True
    ),
    "accumulated, middle, up to a layer": lambda c: c.accumulated_resid(1, incl_mid=True, return_labels=True),
    "decomposed": lambda c: c.decompose_resid(return_labels=True),
    "decomposed, first MLP's input": lambda c: c.decompose_resid(0, mlp_input=True, apply_ln=True, return_labels=True),
    "decomposed, last token": lambda c: c.decompose_resid(pos_slice=-1, apply_ln=True, return_labels=True),
    "attention alone": lambda c: c.decompose_resid(mode="attn", incl_embeds=False, return_labels=True),
    "MLPs alone": lambda c: c.decompose_resid(mode="mlp", incl_embeds=False, return_labels=True),
    "MLPs alone, second MLP's input": lambda c: c.decompose_resid(1, mlp_input=True, mode="mlp", return_labels=True),
    "heads": lambda c: c.stack_head_results(return_labels=True),
    "heads and the rest, normalised": lambda c: c.stack_head_results(
        1, incl_remainder=True, apply_ln=True, pos_slice=(2, 8, 2), return_labels=True
    ),
    "neurons": lambda c: c.stack_neuron_results(2, pos_slice=-1, incl_remainder=True, return_labels=True),
    "some neurons": lambda c: c.stack_neuron_results(-1, neuron_slice=(3, 9), apply_ln=True, return_labels=True),
    "everything": lambda c: c.get_full_resid_decomposition(pos_slice=-2, return_labels=True),
    "everything, MLPs whole": lambda c: c.get_full_resid_decomposition(
        expand_neurons=False, apply_ln=True, return_labels=True
    ),
}


@pytest.mark.parametrize("name", STACKS)
@torch.no_grad()
def test_stacks_are_transformer_lens_stacks(name: str, caches: tuple[Any, Any, Any]) -> None:
    cache, known, _ = caches
    if name == "some neurons":  # theirs labels a chosen tensor of numbers with "tensor(3)"
        agree(STACKS[name](cache)[0], STACKS[name](known)[0])
    else:
        ours, theirs = STACKS[name](cache), STACKS[name](known)
        agree((ours[0], ours[1]), (theirs[0], [_plain(label) for label in theirs[1]]))


def _plain(label: str) -> str:
    """TransformerLens spells a neuron's number as the tensor it is."""
    return label.replace("tensor(", "").replace(")", "")


ATTRIBUTIONS: dict[str, Any] = {
    "one token": (3, None),
    "a difference": (3, 8),
    "a token a place": (tokens(), tokens().flip(0)),
}


@pytest.mark.parametrize("name", ATTRIBUTIONS)
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_attributions_are_transformer_lens_with_its_norms_folded(name: str, shape: str) -> None:
    """Theirs leaves the final norm's weight out of the direction unless it is folded; ours has it in either way."""
    theirs = hooked_transformer(**SHAPES[shape])
    _, cache = wb.load(theirs).run_with_cache(tokens())
    right, wrong = ATTRIBUTIONS[name]
    ours = cache.logit_attrs(cache.decompose_resid(), right, wrong)
    folded = hooked_transformer(**SHAPES[shape])
    folded.process_weights_(center_writing_weights=False, center_unembed=False)
    _, known = folded.run_with_cache(tokens())
    agree(ours, known.logit_attrs(known.decompose_resid(), right, wrong))


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_attributions_are_transformer_lens_where_the_final_norm_has_no_weight(shape: str) -> None:
    theirs = hooked_transformer(**SHAPES[shape])
    theirs.ln_final.w.fill_(1.0)
    _, cache = wb.load(theirs).run_with_cache(tokens())
    _, known = theirs.run_with_cache(tokens())
    answers: Tensor = tokens()[:, 0]
    ours = cache.logit_attrs(cache.decompose_resid(pos_slice=-1), answers, pos_slice=-1, batch_slice=(0, 2))
    agree(ours, known.logit_attrs(known.decompose_resid(pos_slice=-1), answers, pos_slice=-1, batch_slice=(0, 2)))
    heads = cache.logit_attrs(cache.stack_head_results(pos_slice=-1), 3, 7, pos_slice=-1)
    agree(heads, known.logit_attrs(known.stack_head_results(pos_slice=-1), 3, 7, pos_slice=-1))


@torch.no_grad()
def test_a_stock_model_gives_the_numbers_of_its_bridge() -> None:
    from tests.interop.test_transformer_lens import bridge

    stock = stock_gpt2()
    theirs = bridge(stock, "gpt2")
    _, known = theirs.run_with_cache(tokens())
    _, cache = wb.load(theirs).run_with_cache(tokens())
    for ask in ("accumulated", "decomposed", "heads"):
        agree(STACKS[ask](cache)[0], STACKS[ask](known)[0])
