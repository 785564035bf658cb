"""The page State against the model itself: norms, slices, edits, and the code that it offers."""

import threading
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.app.serving import Shelf
from workbench.app.views import state_edits
from workbench.app.views.state import (
    half_lives,
    half_lives_code,
    half_lives_figure,
    half_lives_in_words,
    keeps_code,
    keeps_in_words,
    largest_heads,
    norms_figure,
    state_norms,
    state_norms_code,
    state_slice,
    state_slice_code,
)
from workbench.app.views.state_edits import StateEdit, edit_hooks, edits_of, outcome, outcome_code
from workbench.attribution.linear import unembedding
from workbench.errors import InputError

PROMPT = "The state of the Union is strong because our people are strong. The state of the Union is"
OTHER, OTHER_ID = "Our enemies have never been weaker.", "0123456789ab"
FAMILIES = ("mamba", "gated_delta")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[str, wb.HookedModel]:
    source = f"zoo:{request.param}"
    return source, wb.load(source)


@lru_cache(maxsize=1)
def hybrid() -> wb.HookedModel:
    """Layer 2 is attention and keeps no state."""
    return wb.load("zoo:rg_lru")


def _run(code: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(code, space)
    return space


def test_norms_end_at_those_of_the_state_that_one_goes_on_from(family: tuple[str, wb.HookedModel]) -> None:
    source, model = family
    found = state_norms(model, PROMPT)
    kept = model.prefill(PROMPT).recurrent
    assert found.heads.keys() == kept.keys()
    for layer, state in kept.items():
        expected = state[0].flatten(1).norm(dim=1).numpy()
        # Steps taken one by one and all at once differ in the last digits of float32.
        np.testing.assert_allclose(found.heads[layer][:, -1], expected, rtol=1e-3, atol=1e-4 * expected.max())
        assert found.layers[layer][-1] == pytest.approx(float(state.norm()), rel=1e-4)
    layer = next(iter(kept))
    space = _run(state_norms_code(source, PROMPT, layer, found.mixers[layer]))
    np.testing.assert_allclose(space["heads"].detach().numpy(), found.heads[layer], rtol=1e-4)
    assert [trace.name for trace in norms_figure(found).data] == [f"layer {layer}" for layer in kept]


def test_a_slice_is_the_state_after_its_token(family: tuple[str, wb.HookedModel]) -> None:
    source, model = family
    found = state_slice(model, PROMPT, 1, 1, 7)
    before = model.prefill(model.to_tokens(PROMPT)[:, :8]).recurrent[1][0].numpy()
    whole = before.shape[-1] == 1
    expected = before[..., 0] if whole else before[1]
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert found.rows == ("channel" if whole else "key dimension")
    space = _run(state_slice_code(source, PROMPT, 1, 1, 7))
    np.testing.assert_array_equal(space["values"].detach().numpy(), found.values)


def test_half_lives_are_said_and_shown(family: tuple[str, wb.HookedModel]) -> None:
    source, model = family
    table = half_lives(model, PROMPT)
    assert sorted(table["layer"].unique()) == sorted(state_norms(model, PROMPT).heads)
    finite = table[table["half_life"] <= 1e6]
    assert sorted(half_lives_figure(table).data[0].y) == sorted(finite["half_life"])
    assert f"the longest {finite['half_life'].max():.3g}" in half_lives_in_words(table)
    assert half_lives_in_words(table, "channel").startswith("Half of the channels that forget")
    space = _run(half_lives_code(source, PROMPT, sorted(table["layer"].unique().tolist())))
    assert space["table"].equals(table)


def _by_hand(model: wb.HookedModel, edit: StateEdit) -> torch.Tensor:
    """Next-token probabilities where the text is read in two parts and the state between them is another."""
    tokens = model.to_tokens(PROMPT)
    state = model.prefill(tokens[:, : edit.position + 1])
    recurrent = state.recurrent[edit.layer].clone()
    other = model.prefill(OTHER).recurrent[edit.layer]
    new = {"zero": torch.zeros_like(recurrent), "scale": edit.factor * recurrent, "patch": other}[edit.kind]
    if edit.head is None:
        recurrent = new
    else:
        recurrent[:, edit.head] = new[:, edit.head]
    changed = model.prefill(tokens[:, edit.position + 1 :], state=state.with_recurrent(edit.layer, recurrent))
    return changed.logits[0].softmax(-1)


@pytest.mark.parametrize(
    # Of the last layer: what a state gives at its own token reaches no later one from there.
    "text",
    ["zero:L3@9", "scale=0.25:L3H1@12", f"patch={OTHER_ID}.-1:L3@15"],
)
def test_an_edit_does_what_changing_the_state_between_two_halves_does(
    family: tuple[str, wb.HookedModel], text: str
) -> None:
    source, model = family
    (edit,) = edits_of(text)
    prompts = {OTHER_ID: OTHER}
    found = outcome(model, PROMPT, [edit], prompts, 6)
    expected = _by_hand(model, edit)
    tokens = [model.to_tokens(token, prepend_bos=False)[0, 0] for token in found.next_tokens["token"][:1]]
    assert found.next_tokens["after"][0] == pytest.approx(float(expected[tokens[0]]), abs=2e-4)
    assert np.all(found.divergence[: edit.position] < 1e-6)
    assert edit.head is not None or found.divergence[edit.position :].max() > 1e-4
    space = _run(outcome_code(source, PROMPT, [edit], prompts, 6))
    np.testing.assert_allclose(space["divergence"].detach().numpy(), found.divergence, atol=1e-5)


def test_the_continuation_goes_on_from_the_edited_state(family: tuple[str, wb.HookedModel]) -> None:
    _, model = family
    tokens = model.to_tokens(PROMPT)
    edits = [StateEdit("zero", layer, None, 9) for layer in (0, 1)]
    found = outcome(model, PROMPT, edits, {}, 6)
    assert found.before == model.to_string(model.generate(tokens, 6, return_type="tokens")[0, tokens.shape[1] :])
    with model.hooks(fwd_hooks=edit_hooks(model, tokens.shape[1], edits, {})):
        # Without a cache every step reads the whole text, and the edit is made anew in each.
        whole = model.generate(tokens, 6, use_cache=False, return_type="tokens")
    assert found.after == model.to_string(whole[0, tokens.shape[1] :]) != found.before


def _whole(model: wb.HookedModel, edits: list[StateEdit]) -> np.ndarray:
    """The divergence from the logits of all positions."""
    tokens = model.to_tokens(PROMPT)
    with torch.no_grad():
        first = model(tokens)[0].log_softmax(-1)
        hooks = edit_hooks(model, tokens.shape[1], edits, {})
        second = model.run_with_hooks(tokens, fwd_hooks=hooks)[0].log_softmax(-1)
    return (first.exp() * (first - second)).sum(-1).clamp_min(0).numpy()


def test_a_long_prompt_makes_logits_of_a_few_positions_at_a_time(
    family: tuple[str, wb.HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = family
    monkeypatch.setattr(state_edits, "LOGITS", 5 * model.cfg.d_vocab, raising=False)
    monkeypatch.setattr(state_edits, "FEWEST", 1, raising=False)
    made: list[int] = []
    head = unembedding(model.wrapped)
    assert head is not None
    edits = [StateEdit("zero", 1, None, 3), StateEdit("scale", 0, None, 9, factor=-1.0)]
    handle = head.register_forward_hook(lambda module, args, output: made.append(output.shape[1]))
    found = outcome(model, PROMPT, edits, {}, 1)
    handle.remove()
    assert max(made) == 5 < len(found.tokens)
    np.testing.assert_allclose(found.divergence, _whole(model, edits), atol=1e-6)


def test_a_model_none_of_whose_layers_can_be_left_out_is_read_whole(
    family: tuple[str, wb.HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = family

    def refused(*_: Any, **__: Any) -> None:
        raise InputError("None of its layers can be left out.")

    monkeypatch.setattr(state_edits, "recording", refused)
    monkeypatch.setattr(state_edits, "LOGITS", 5 * model.cfg.d_vocab)
    monkeypatch.setattr(state_edits, "FEWEST", 1)
    edits = [StateEdit("zero", 1, None, 3)]
    found = outcome(model, PROMPT, edits, {}, 1)
    np.testing.assert_allclose(found.divergence, _whole(model, edits), atol=1e-6)


def test_edits_of_one_session_do_not_reach_another() -> None:
    shelf = Shelf()
    with shelf.lend("zoo:gated_delta") as model:
        expected = model(PROMPT).detach().clone()
    edits = [StateEdit("zero", 1, None, 3), StateEdit("scale", 0, None, 9, factor=-1.0)]
    wrong: list[float] = []

    def edits_states() -> None:
        for _ in range(2):
            with shelf.lend("zoo:gated_delta") as model:
                assert outcome(model, PROMPT, edits, {}, 3).divergence.max() > 0.1

    def only_reads() -> None:
        for _ in range(4):
            with shelf.lend("zoo:gated_delta") as model:
                wrong.append(float((model(PROMPT).detach() - expected).abs().max()))

    threads = [threading.Thread(target=edits_states), threading.Thread(target=only_reads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0.0] * 4


def test_an_edit_is_read_back_as_it_was_written() -> None:
    edits = (
        StateEdit("zero", 1, 3, 5),
        StateEdit("scale", 0, None, 7, factor=-0.5),
        StateEdit("patch", 2, 1, 9, source=OTHER_ID, source_position=-1),
    )
    assert ",".join(map(str, edits)) == f"zero:L1H3@5,scale=-0.5:L0@7,patch={OTHER_ID}.-1:L2H1@9"
    assert edits_of(",".join(map(str, edits))) == edits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("zero", "no edit of a state"),
        ("zero:L9@3", "Layer 9 keeps no recurrent state"),
        ("zero:L2@3", "Layer 2 keeps no recurrent state"),
        ("zero:L1H900@3", "Channel 900 is out of range: layer 1 has channels 0 to"),
        ("zero:L1@300", "tokens 0 to 18"),
        (f"patch={OTHER_ID}.-1:L1@3", "not kept here"),
        (",".join(["zero:L1@3"] * 21), "at most 20"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused_in_a_sentence(text: str, says: str) -> None:
    model = hybrid()
    with pytest.raises(InputError, match=says):
        outcome(model, PROMPT, edits_of(text), {}, 2)


def test_a_transformer_says_what_it_keeps_instead() -> None:
    model = wb.load("zoo:attention")
    found = state_norms(model, PROMPT)
    time = len(found.tokens)
    assert not found.heads and found.cache == int(found.keeps[f"bytes_{time}"].sum())
    # Keys and values of 4 layers, each as wide as the residual stream, in float32.
    assert found.cache == time * 4 * 2 * model.cfg.d_model * 4
    assert f"{4 * 2 * model.cfg.d_model * 4:,} bytes a token" in keeps_in_words(found)
    assert _run(keeps_code("zoo:attention", PROMPT))["held"] == found.cache


def test_a_long_text_is_read_at_as_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.app.views.state.MOST_STEPS", 5)
    model = wb.load("zoo:gated_delta")
    found = state_norms(model, PROMPT)
    assert found.steps == [0, 4, 9, 14, 18]
    at = model.recurrent_states(PROMPT, 1, found.steps)[0].flatten(2).norm(dim=-1).T
    np.testing.assert_allclose(found.heads[1], at.detach().numpy(), rtol=1e-4)


def test_a_picture_has_room_for_so_many_heads_and_shows_those_with_the_largest_states() -> None:
    norms = np.array([[1.0, 0.0], [0.0, 9.0], [3.0, 3.0], [2.0, 0.0], [0.0, 5.0]])
    assert largest_heads(norms, most=5) == [0, 1, 2, 3, 4]
    assert largest_heads(norms, most=3) == [1, 2, 4]
    assert largest_heads(norms, also=4, most=3) == [1, 2, 4]
    assert largest_heads(norms, also=0, most=3) == [0, 1, 4]  # the one that is looked at is always among them
