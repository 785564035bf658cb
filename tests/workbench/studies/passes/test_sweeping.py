"""Whatever is reused and batched, every unit's logits are those of its plain pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.families.case import build, hooked
from tests.families.cases import every_case
from tests.workbench import decoder_cases
from tests.workbench.studies.passes.sweeps import check, edits_of, prompts_of, unit_of, units_of
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.knockout import Knockout
from workbench.model import HookedModel
from workbench.steps import EverySoManySteps, at_steps
from workbench.studies.edits.edit import BASELINE, Edit
from workbench.studies.edits.site import BoundEdit
from workbench.studies.passes.sweeping import Passes, Unit
from workbench.zoo.loading import available


@pytest.fixture(scope="module", params=available())
def member(request: pytest.FixtureRequest) -> Iterator[HookedModel]:
    model = wb.load(f"zoo:{request.param}", check=False)
    yield model
    model.unwrap()


def doubled(tensor: Tensor, hook: HookPoint) -> Tensor:
    return tensor * 2


def test_a_mix_of_edits_in_a_zoo_member_is_what_plain_passes_give(member: HookedModel) -> None:
    passes, prompts = Passes(member), prompts_of(member)
    check(member, passes, units_of(member, edits_of(member, [2]), prompts[:2]))
    check(member, passes, units_of(member, edits_of(member, [1, 3])[1:3], prompts))  # of several layers
    assert passes.trust.reasons == []


def test_edits_late_in_a_text_go_on_from_what_the_member_remembers(member: HookedModel) -> None:
    passes, prompts = Passes(member), prompts_of(member)
    for layer, positions in ((0, (-1,)), (2, (17, 20))):
        edits = [
            Edit(e.model, e.family, e.targets, e.site, e.method, positions=positions, seed=e.seed)
            for e in edits_of(member, [layer])[::2]
        ]
        check(member, passes, units_of(member, edits, prompts[:1]))
        assert passes.trust.tried(("start", layer, True))
    assert passes.trust.reasons == []


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama", "opt", "gpt_oss", "gpt_neox parallel"])
def test_transformers_decoders(name: str) -> None:
    with hooked(decoder_cases.build(name)) as model:
        passes, prompts = Passes(model), prompts_of(model)
        edits = edits_of(model, [1]) + edits_of(model, [2])[:2]
        late = [Edit(e.model, e.family, e.targets, e.site, e.method, positions=(20,), seed=e.seed) for e in edits]
        check(model, passes, units_of(model, edits, prompts))
        check(model, passes, units_of(model, late, prompts[:1]))
        assert passes.trust.reasons == []


def test_layers_that_cannot_be_left_out_run_plainly_and_say_so() -> None:
    with hooked(build(every_case()["nn.GRU"])) as model:
        passes = Passes(model)
        hooks = [("blocks.1.mixer.hook_out", doubled)]
        check(model, passes, [unit_of(prompt, hooks, layer=1) for prompt in prompts_of(model, 2)])
        assert any("none can be left out" in reason for reason in passes.trust.reasons)


@pytest.fixture(scope="module")
def gla() -> Iterator[HookedModel]:
    model = wb.load("zoo:gla", check=False)
    yield model
    model.unwrap()


def test_states_edited_at_different_steps_of_different_rows(gla: HookedModel) -> None:
    prompts = prompts_of(gla, 2, time=12)[:1]
    prompts = [type(one)(one.tokens, (3, 7, 11), (3, 4, 5)) for one in prompts]
    name = "blocks.1.mixer.hook_state"
    seen: list[int | None] = []

    def halved(tensor: Tensor, hook: HookPoint) -> Tensor:
        seen.append(hook.step)
        assert len(tensor) == 1
        return tensor / 2

    units = [
        unit_of(prompts[0], [(name, at_steps(halved, [2, 9]))], layer=1),
        unit_of(prompts[0], [(name, at_steps(doubled, 5))], layer=1),
        unit_of(prompts[0], [(name, EverySoManySteps(doubled, 4))], layer=1),
        unit_of(prompts[0], [("blocks.2.mixer.hook_out", doubled)], layer=1),
    ]
    passes = Passes(gla)
    check(gla, passes, units)
    assert passes.trust.reasons == []
    seen.clear()
    list(passes.logits(units))
    assert seen == [2, 9]  # the other rows' steps are not its own
    check(gla, passes, [*units, unit_of(prompts[0], [(name, doubled)], layer=1)])  # one at every step


def test_contexts_run_alone_and_final_hooks_are_heard(gla: HookedModel) -> None:
    prompts = prompts_of(gla, 2)
    cut = Knockout(sources=[3], destinations=[10, 22], layers=[2])
    units = [
        unit_of(prompts[0], [], layer=2, whole=lambda: gla.knocked_out(cut), kind="edge"),
        unit_of(prompts[1], [("ln_final.hook_normalized", doubled)], kind="norm"),
        unit_of(prompts[1], [("hook_logits", doubled), ("blocks.3.hook_mlp_out", doubled)], kind="logits"),
        unit_of(prompts[1], [("blocks.2.hook_resid_pre", doubled)], layer=2),
        unit_of(prompts[0], [("hook_embed", doubled)], kind="embed"),
    ]
    passes = Passes(gla)
    check(gla, passes, units)
    check(gla, passes, units)
    assert passes.trust.reasons == []


def test_an_edit_that_reaches_further_back_than_it_says_is_found_out(gla: HookedModel) -> None:
    prompts = prompts_of(gla, 1)

    def everywhere(tensor: Tensor, hook: HookPoint) -> Tensor:
        return tensor * 3

    units = [unit_of(prompts[0], [("blocks.1.hook_mlp_out", everywhere)], layer=1, positions=(20,), kind="liar")]
    passes = Passes(gla)
    check(gla, passes, units)
    (reason,) = passes.trust.reasons
    assert "liar" in reason and "differs from a plain pass" in reason
    check(gla, passes, units)


def test_an_edit_s_own_mistake_is_told_and_switches_nothing_off(gla: HookedModel) -> None:
    def wrong(tensor: Tensor, hook: HookPoint) -> Tensor:
        raise InputError("There is no such thing.")

    passes = Passes(gla)
    unit = unit_of(prompts_of(gla, 1)[0], [("blocks.1.hook_mlp_out", wrong)], layer=1)
    with pytest.raises(InputError, match="no such thing"):
        list(passes.logits([unit]))
    assert passes.trust.reasons == []


def test_baselines_and_no_reuse(gla: HookedModel) -> None:
    prompts = prompts_of(gla, 2)
    units = [Unit(Edit("m", BASELINE), prompt, lambda: BoundEdit([])) for prompt in prompts]
    edited = units_of(gla, edits_of(gla, [1])[:2], prompts)
    passes = Passes(gla)
    check(gla, passes, [*units, *edited])
    check(gla, passes, units)
    plain_only = Passes(gla, reuse=False)
    with_all = {id(unit): logits for unit, logits in plain_only.logits([*units, *edited])}
    with torch.no_grad():
        assert torch.equal(with_all[id(units[0])], gla(torch.tensor([prompts[0].tokens]))[0, list(prompts[0].scored)])
    check(gla, plain_only, edited, limit=0)
