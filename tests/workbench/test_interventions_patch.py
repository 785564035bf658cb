"""Patching everything gives the other run, patching nothing this one; a patched state goes on as a saved one does."""

import functools

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.interventions import Patch
from workbench.model import HookedModel

NAMES = ("attention", "mamba", "gru")


@functools.cache
def model(name: str) -> HookedModel:
    return wb.load(f"zoo:{name}")


def tokens(seed: int, batch: int = 2, time: int = 9) -> torch.Tensor:
    return torch.randint(5, 2000, (batch, time), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_patching_the_stream_everywhere_is_the_other_run(name: str) -> None:
    one, other = tokens(0), tokens(1)
    with Patch("blocks.1.hook_resid_post", other).applied(model(name)):
        patched = model(name)(one)
    torch.testing.assert_close(patched, model(name)(other), rtol=1e-5, atol=1e-5)
    assert (patched - model(name)(one)).abs().max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_patching_with_the_same_run_changes_nothing(name: str) -> None:
    one = tokens(0)
    edit = Patch(["L0.mixer", "L2.mlp", "L3H1"], one, positions=[2, -1])
    torch.testing.assert_close(
        model(name).run_with_hooks(one, fwd_hooks=edit.hooks(model(name), one)), model(name)(one), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_patch_puts_the_listed_head_at_the_listed_positions_and_nothing_else() -> None:
    lm, one, other = model("attention"), tokens(0), tokens(1)
    name = "blocks.1.mixer.hook_z"
    _, mine = lm.run_with_cache(one, name)
    _, theirs = lm.run_with_cache(other, name)
    seen = {}
    edit = Patch("L1H2", other, positions=[3, -1], source_positions=[0, 4])
    lm.run_with_hooks(
        one, fwd_hooks=[*edit.hooks(lm), (name, lambda tensor, hook: seen.__setitem__(hook.name, tensor.clone()))]
    )
    expected = mine[name].clone()
    expected[:, 3, 2] = theirs[name][:, 0, 2]
    expected[:, 8, 2] = theirs[name][:, 4, 2]
    torch.testing.assert_close(seen[name], expected, rtol=0, atol=0)


@torch.no_grad()
def test_every_sequence_may_have_positions_of_its_own() -> None:
    lm, one, other = model("attention"), tokens(0), tokens(1)
    name = "blocks.2.hook_resid_pre"
    _, mine = lm.run_with_cache(one, name)
    _, theirs = lm.run_with_cache(other, name)
    seen = {}
    edit = Patch(name, other, positions=torch.tensor([[1, 5], [2, 8]]), source_positions=torch.tensor([[0, 3], [4, 4]]))
    lm.run_with_hooks(
        one, fwd_hooks=[*edit.hooks(lm), (name, lambda tensor, hook: seen.__setitem__(hook.name, tensor.clone()))]
    )
    expected = mine[name].clone()
    for row, at, source in ((0, 1, 0), (0, 5, 3), (1, 2, 4), (1, 8, 4)):
        expected[row, at] = theirs[name][row, source]
    torch.testing.assert_close(seen[name], expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gla", "mamba2", "gru"])
@torch.no_grad()
def test_patched_state_goes_on_as_the_other_runs_memory_does(name: str) -> None:
    lm, one, other, step = model(name), tokens(0), tokens(1), 5
    edit = Patch("blocks.3.mixer.hook_state", other, positions=step)
    patched = lm.run_with_hooks(one, fwd_hooks=edit.hooks(lm))
    # The last layer's memory exchanged in a saved state (an earlier one's is read by the next layer at that very step).
    mine, theirs = lm.prefill(one[:, : step + 1]), lm.prefill(other[:, : step + 1])
    kept = mine.with_recurrent(3, theirs.recurrent[3])
    expected = torch.stack([lm.prefill(one[:, step + 1 : stop], state=kept).logits for stop in range(step + 2, 10)], 1)
    torch.testing.assert_close(patched[:, step + 1 :], expected, rtol=1e-4, atol=1e-4)
    assert (patched - lm(one))[:, step + 1 :].abs().max() > 1e-3
    torch.testing.assert_close(patched[:, :step], lm(one)[:, :step], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_state_is_taken_from_another_step_and_from_what_was_recorded() -> None:
    lm, one, other = model("gla"), tokens(0), tokens(1, time=12)
    name = "blocks.1.mixer.hook_state"
    by_run = Patch(name, other, positions=[3, -2], source_positions=[10, 2])
    expected = lm.run_with_hooks(one, fwd_hooks=by_run.hooks(lm, one))
    _, every = lm.run_with_cache(other, name)
    states = {3: every[name][:, 10], 7: every[name][:, 2]}
    by_hand = lm.run_with_hooks(one, fwd_hooks=[(name, lambda state, hook: states.get(hook.step))])
    torch.testing.assert_close(expected, by_hand, rtol=1e-5, atol=1e-5)
    by_cache = Patch(name, every, positions=[3, 7], source_positions=[10, 2])
    torch.testing.assert_close(lm.run_with_hooks(one, fwd_hooks=by_cache.hooks(lm)), by_hand, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_later_layers_state_is_written_into_an_earlier_layer() -> None:
    lm, one = model("attention"), tokens(0)
    _, cache = lm.run_with_cache(one, "hook_resid_post")
    late, early = "blocks.3.hook_resid_post", "blocks.0.hook_resid_post"

    def by_hand(tensor: torch.Tensor, hook: object) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[:, 4] = cache[late][:, 4]
        return tensor

    edit = Patch(early, one, positions=4, source_at=late)
    torch.testing.assert_close(
        lm.run_with_hooks(one, fwd_hooks=edit.hooks(lm)),
        lm.run_with_hooks(one, fwd_hooks=[(early, by_hand)]),
        rtol=0,
        atol=0,
    )


@torch.no_grad()
def test_prompt_stays_patched_while_tokens_are_generated() -> None:
    lm, one, other = model("attention"), tokens(0), tokens(1)
    edit = Patch("hook_resid_post", other)
    with edit.applied(lm):
        cached = lm.generate(one, max_new_tokens=4)
    assert cached[:, :9].equal(one)
    assert cached[:, 9].equal(lm(other)[:, -1].argmax(-1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda lm: Patch("L1H2", tokens(1), positions=[]), "no positions"),
        (lambda lm: Patch("L1H2", tokens(1), positions=[1, 2], source_positions=3), "2 positions are to be patched"),
        (lambda lm: Patch("L1H2", tokens(1), positions=30), "Position 30 is outside the 9 tokens"),
        (lambda lm: Patch("L1H2", tokens(1, time=5)), "The other run has 5 positions and this one 9"),
        (lambda lm: Patch("L1H2", tokens(1, batch=3)), "The other run has 3 sequences and this one 2"),
        (lambda lm: Patch("L1H2", tokens(1), heads=1), "names its heads"),
        (lambda lm: Patch(["L1H2", "blocks.1.mixer.hook_z"], tokens(1)), "a second time"),
        (lambda lm: Patch("hook_resid_post", tokens(1), source_at="blocks.0.hook_resid_post"), "source_at names one"),
        (lambda lm: Patch("hook_resid_post", tokens(1), heads=0), "no axis of heads"),
        (lambda lm: Patch("blocks.0.mixer.hook_z", tokens(1), heads=9), "not 9"),
    ],
)
@torch.no_grad()
def test_patches_that_make_no_sense_are_refused_with_a_sentence(make: functools.partial, said: str) -> None:  # type: ignore[type-arg]
    lm = model("attention")
    with pytest.raises(InputError, match=said):
        lm.run_with_hooks(tokens(0), fwd_hooks=make(lm).hooks(lm, tokens(0)))
