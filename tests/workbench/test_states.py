"""What a model remembers: gone on from, read, changed, saved and loaded, in every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.families.case import Case, all_in_float64, batch_of_tokens, build, hooked, record
from tests.families.cases import every_case
from workbench.errors import InputError, LoadError
from workbench.model import HookedModel
from workbench.states import ModelState

FAMILIES = [pytest.param(case, id=name) for name, case in every_case().items() if case.cache]


def tokens_of(case: Case) -> tuple[Tensor, Tensor]:
    tokens, mask = batch_of_tokens()
    return tokens, mask if case.padding and case.mask_in_decoding else torch.ones_like(mask)


def rest_of(model: HookedModel, state: ModelState, tokens: Tensor, case: Case) -> ModelState:
    for part in tokens.split(tokens.shape[1] if case.chunks else 1, dim=1):
        state = model.prefill(part, state=state)
    return state


@pytest.mark.parametrize("case", FAMILIES)
def test_a_state_goes_on_is_saved_loaded_and_is_not_used_up(case: Case, tmp_path: Path) -> None:
    tokens, mask = tokens_of(case)
    with hooked(build(case, torch.float64)) as model, all_in_float64(torch.float64):
        whole = model.prefill(tokens, mask)
        prompt = model.prefill(tokens[:, :8], mask[:, :8])
        prompt.save(tmp_path / "state.safetensors")
        gone_on = [rest_of(model, prompt, tokens[:, 8:], case) for _ in range(2)]
        model(tokens.flip(1))  # another text in between
        loaded = model.load_state(tmp_path / "state.safetensors")
        gone_on.append(rest_of(model, loaded, tokens[:, 8:], case))
        last = model(tokens, attention_mask=mask)[:, -1]
    for state in gone_on:
        torch.testing.assert_close(state.logits, last, atol=1e-9, rtol=1e-9)
        assert torch.equal(state.tokens, tokens) and torch.equal(state.mask, mask)
        assert state.recurrent.keys() == whole.recurrent.keys() and case.layer in state.recurrent
        for layer, expected in whole.recurrent.items():
            torch.testing.assert_close(state.recurrent[layer], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", FAMILIES)
def test_a_changed_state_is_what_the_next_token_meets(case: Case) -> None:
    tokens, mask = tokens_of(case)
    with hooked(build(case, torch.float64)) as model, all_in_float64(torch.float64):
        prompt = model.prefill(tokens[:, :8], mask[:, :8])
        other = prompt.with_recurrent(case.layer, prompt.recurrent[case.layer] * -2.0 + 0.5)
        changed = model.prefill(tokens[:, 8:9], state=other)
        plain = model.prefill(tokens[:, 8:9], state=prompt)

        def edit(state: Tensor, hook: object) -> Tensor | None:
            return state * -2.0 + 0.5 if hook.step == 7 else None  # type: ignore[attr-defined]

        with model.hooks([(f"blocks.{case.layer}.mixer.hook_state", edit)]):
            hooked_edit = model.prefill(tokens[:, :8], mask[:, :8])
        expected = model.prefill(tokens[:, 8:9], state=hooked_edit)
    assert (changed.logits - plain.logits).abs().max() > 1e-7
    above = model.cfg.n_layers - 1 - case.layer
    # The hook's edit is also read at step 7: layers above remember that, and so does the hidden state of a cell.
    if above == 0 and not case.conditional:
        torch.testing.assert_close(changed.logits, expected.logits, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["mamba2", "zoo gated_delta", "zoo rwkv7"])
def test_states_at_listed_tokens_are_the_recurrences_own(name: str) -> None:
    case = every_case()[name]
    tokens, mask = batch_of_tokens()
    form = record(case, torch.float64)
    with hooked(build(case, torch.float64)) as model, all_in_float64(torch.float64):
        states = model.recurrent_states(tokens, case.layer, positions=[3, -1, 11], attention_mask=mask)
        every = model.recurrent_states(tokens, case.layer, attention_mask=mask)
        final = model.prefill(tokens, mask).recurrent[case.layer]
    assert every.shape[1] == tokens.shape[1]
    torch.testing.assert_close(states, every[:, [3, -1, 11]], atol=1e-12, rtol=1e-10)  # fused between
    torch.testing.assert_close(states[:, 1], final, atol=1e-10, rtol=1e-10)
    if form.core.diagonal is None and form.core.read is None:  # type: ignore[union-attr]
        q = form.core.q[:, -1].repeat_interleave(form.core.heads // form.core.q.shape[2], dim=1)  # type: ignore[union-attr]
        torch.testing.assert_close(torch.einsum("bhk,bhkv->bhv", q, final), form.z[:, -1], atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("name", ["zoo:attention", "zoo:mamba", "zoo:mamba2"])
def test_generation_goes_on_from_a_text_read_before(name: str) -> None:
    model = wb.load(name)
    text = "The state of the Union is strong, and the state of the"
    tokens = model.to_tokens([text, "Fellow citizens of the Senate and of the House of"])
    tokens, mask = model.tokenize_batch([text, "Fellow citizens of the Senate and of the House of"])
    expected = model.generate(tokens, 6, attention_mask=mask)
    state = model.prefill(tokens[:, :-2], mask[:, :-2])
    for _ in range(2):
        found = model.generate(tokens[:, -2:], 6, state=state)
        assert torch.equal(found[:, 2:], expected[:, tokens.shape[1] :])
    assert model.generate(" nation", 3, state=model.prefill(text)).startswith(" nation")


def test_bad_states_are_one_sentence(tmp_path: Path) -> None:
    model = wb.load("zoo:mamba2")
    tokens = torch.arange(1, 9)[None]
    state = model.prefill(tokens)
    with pytest.raises(InputError, match=r"The state of layer 2 is \[1, 4, 128, 64\], not \[1, 4, 64, 128\]"):
        state.with_recurrent(2, state.recurrent[2].mT)
    with pytest.raises(InputError, match="Layer 4 keeps no recurrent state"):
        state.with_recurrent(4, state.recurrent[2])
    with pytest.raises(InputError, match="of 1 sequences; the tokens that go on are 2"):
        model.prefill(tokens.repeat(2, 1), state=state)
    with pytest.raises(InputError, match="of 1 sequences; the tokens that go on are 2"):
        model.generate(tokens.repeat(2, 1), 2, state=state)
    with pytest.raises(InputError, match="Padding belongs to the beginning"):
        model.prefill(tokens, torch.tensor([[0, *[1] * 7]]), state)
    with pytest.raises(InputError, match="Positions go from 0 to 7"):
        model.recurrent_states(tokens, 1, positions=[8])
    with pytest.raises(InputError, match="keeps no recurrent state"):
        wb.load("zoo:attention").recurrent_states(tokens, 1)
    with pytest.raises(LoadError, match="is no saved state"):
        model.load_state(tmp_path / "missing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not a state")
    with pytest.raises(LoadError, match="is no saved state"):
        model.load_state(tmp_path / "broken.safetensors")
    state.save(tmp_path / "mamba2.safetensors")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["broken.safetensors", "mamba2.safetensors"]
    with pytest.raises(LoadError, match="saved from another model"):
        wb.load("zoo:mamba").load_state(tmp_path / "mamba2.safetensors")
    with pytest.raises(LoadError, match="saved from another model"):
        wb.load("zoo:attention").load_state(tmp_path / "mamba2.safetensors")
