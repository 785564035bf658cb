"""Gated DeltaNet in transformers, beyond the contract suite: the paper's transitions, stock's states, long inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.families.case import (
    PADS,
    VOCABULARY,
    Case,
    all_in_float64,
    batch_of_tokens,
    build,
    hooked,
    record,
    recurrent,
    stock,
)
from tests.families.cases import olmo_hybrid, qwen3_5, qwen3_next
from workbench.attention import ImplicitAttention
from workbench.errors import UnsupportedFamilyError
from workbench.forms import Delta
from workbench.memory import TransformersMemory

CASES = qwen3_next.CASES | qwen3_5.CASES | olmo_hybrid.CASES
EVERY = [pytest.param(case, id=name) for name, case in CASES.items()]


def product_of_transitions(form: Delta) -> Tensor:
    """``A[t, s] = q_t' M_t ... M_{s+1} b_s k_s`` with ``M = (I - b k k') diag(decay)`` written out as matrices."""
    assert form.write is not None and form.probe is None and form.erase is None
    heads, time = form.heads, form.time
    q, k = (x.repeat_interleave(heads // x.shape[2], dim=2) for x in (form.q, form.k))
    eye = torch.eye(k.shape[-1], dtype=k.dtype)
    matrix = torch.zeros(form.batch, heads, time, time, dtype=k.dtype)
    for s in range(time):
        carried = form.write[:, s, :, None] * k[:, s]
        for t in range(s, time):
            if t > s:
                erase = eye - form.write[:, t, :, None, None] * k[:, t, :, :, None] * k[:, t, :, None, :]
                decay = torch.diag_embed(form.log_decay[:, t].exp().expand_as(carried))
                carried = (erase @ decay @ carried[..., None])[..., 0]
            matrix[:, :, t, s] = (q[:, t] * carried).sum(-1)
    return matrix


def assert_states_are_those_in_stocks_cache(case: Case) -> None:
    """Each state that a hook is shown is the one in stock's cache after as many tokens."""
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()
    with hooked(model) as wrapped:
        shown: list[Tensor] = []
        with recurrent(wrapped, case).points["hook_state"].listening(lambda state, hook: shown.append(state.clone())):
            stock(model, tokens, mask)
    for seen in (PADS + 1, 11, tokens.shape[1]):
        _, cache = stock(model, tokens[:, :seen], mask[:, :seen], keep=True)
        kept = TransformersMemory(cache, case.layer).get("state")
        assert kept is not None
        torch.testing.assert_close(shown[seen - 1], kept.double(), atol=1e-9, rtol=1e-9)


def assert_long_inputs_are_stocks(case: Case) -> None:
    """Across the borders of chunks, stock's (64 tokens) and ours, with more pads than one of ours has tokens."""
    model = build(case, torch.float64)
    tokens = torch.randint(0, VOCABULARY, (2, 100), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(tokens)
    mask[1, :40] = 0
    expected = stock(model, tokens, mask)
    with hooked(model):
        actual = stock(model, tokens, mask)
    torch.testing.assert_close(actual[mask.bool()], expected[mask.bool()], atol=1e-9, rtol=1e-9)


def assert_generation_is_stocks(case: Case) -> None:
    """Greedy generation by the model's own method: the same logits at each step, with the adapters and without."""
    model = build(case, torch.float64)
    tokens, mask = batch_of_tokens()

    def generated() -> Tensor:
        with torch.no_grad(), all_in_float64(torch.float64):
            out = model.generate(  # type: ignore[operator]
                tokens,
                attention_mask=mask,
                max_new_tokens=6,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
        return torch.stack(out.logits)

    expected = generated()
    with hooked(model):
        torch.testing.assert_close(generated(), expected, atol=max(1e-6, case.float64), rtol=1e-6)


def assert_half_precision_is_near_stocks(case: Case) -> None:
    """bfloat16 in and out, with errors against float64 no larger than stock's own by a half, at the median token.

    At single tokens rounding decides which expert is chosen, in stock and here; over many, their medians are near.
    """
    tokens = torch.randint(0, VOCABULARY, (16, 24), generator=torch.Generator().manual_seed(5))
    mask = torch.ones_like(tokens)
    mask[1::2, :5] = 0
    exact = stock(build(case, torch.float64), tokens, mask)
    model = build(case, torch.bfloat16)
    theirs = stock(model, tokens, mask)
    with hooked(model):
        ours = stock(model, tokens, mask)
    assert ours.dtype == torch.bfloat16
    error, allowed = ((x.double() - exact)[mask.bool()].abs().amax(-1).median() for x in (ours, theirs))
    assert error < 1.5 * allowed


@pytest.mark.parametrize("case", EVERY)
def test_the_matrix_is_the_product_of_the_papers_transitions(case: Case) -> None:
    form = record(case, torch.float64)
    assert isinstance(form.core, Delta)
    assert form.core.log_decay.shape[-1] == 1
    dense = ImplicitAttention.from_form(form, scope="core").dense()
    torch.testing.assert_close(dense, product_of_transitions(form.core), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("case", EVERY)
def test_states_are_those_in_stocks_cache(case: Case) -> None:
    assert_states_are_those_in_stocks_cache(case)


@pytest.mark.parametrize("name", ["qwen3_next", "qwen3_5", "olmo_hybrid"])
def test_long_inputs_cross_the_borders_of_chunks(name: str) -> None:
    assert_long_inputs_are_stocks(CASES[name])


@pytest.mark.parametrize("name", ["qwen3_next", "qwen3_5", "olmo_hybrid"])
def test_the_models_own_generation_runs_through_the_adapters(name: str) -> None:
    assert_generation_is_stocks(CASES[name])


@pytest.mark.parametrize("name", ["qwen3_next", "qwen3_5", "olmo_hybrid"])
def test_half_precision_is_no_worse_than_stocks(name: str) -> None:
    assert_half_precision_is_near_stocks(CASES[name])


@pytest.mark.parametrize("case", EVERY)
def test_queries_and_keys_have_the_lengths_the_paper_gives_them(case: Case) -> None:
    core = record(case, torch.float64, padded=False).core
    assert isinstance(core, Delta)
    length = core.k.norm(dim=-1)
    assert length.max() < 1 and length.median() > 0.999  # below one by what the epsilon takes
    torch.testing.assert_close(
        core.q.norm(dim=-1).median(), torch.tensor(core.q.shape[-1] ** -0.5).double(), atol=1e-3, rtol=1e-3
    )


def test_olmo_writes_with_up_to_twice_the_strength_where_eigenvalues_may_be_negative() -> None:
    strengths = []
    for name in ("olmo_hybrid", "olmo_hybrid with positive eigenvalues"):
        core = record(CASES[name], torch.float64, padded=False).core
        assert isinstance(core, Delta) and core.write is not None
        strengths.append(core.write.max())
    assert 1 < strengths[0] < 2 and strengths[1] < 1


@pytest.mark.parametrize(
    "made",
    [qwen3_next.made(hidden_act="gelu"), olmo_hybrid.made(hidden_act="gelu_new")],
    ids=["qwen3_next", "olmo_hybrid"],
)
def test_an_activation_without_a_linear_form_is_refused_by_its_key(made: Callable[[], nn.Module]) -> None:
    with pytest.raises(UnsupportedFamilyError, match="hidden_act 'gelu"), hooked(made()):
        pass


def test_an_unknown_activation_of_the_output_gate_is_refused() -> None:
    model = CASES["qwen3_5"].build()
    for module in model.modules():
        if type(module).__name__ == "Qwen3_5RMSNormGated":
            module.activation = "tanh"  # type: ignore[assignment]
    with pytest.raises(UnsupportedFamilyError, match="gate with the activation 'tanh'"), hooked(model):
        pass
