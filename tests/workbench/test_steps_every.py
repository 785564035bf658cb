"""A hook on a state that acts every so many steps: as one at all these steps, in prompts and in what is generated."""

import torch

import workbench as wb
from workbench.steps import EverySoManySteps


@torch.no_grad()
def test_it_sees_the_states_that_a_hook_at_every_step_sees():
    model = wb.load("zoo:gated_delta")
    tokens = model.to_tokens("The meeting began at noon, and nobody was late.")
    every, all_steps = {}, {}
    name = "blocks.1.mixer.hook_state"

    def keep(into):
        return lambda state, hook: into.__setitem__(hook.step, state.clone())

    model.run_with_hooks(tokens, fwd_hooks=[(name, EverySoManySteps(keep(every), 3))])
    model.run_with_hooks(tokens, fwd_hooks=[(name, keep(all_steps))])
    assert list(every) == list(range(2, tokens.shape[1], 3)) and len(all_steps) == tokens.shape[1]
    for step, state in every.items():
        torch.testing.assert_close(state, all_steps[step], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_generation_counts_on_and_may_be_shorter_than_a_stride():
    model = wb.load("zoo:gated_delta")
    tokens = model.to_tokens("The meeting began at noon.")[:, :4]
    seen = []
    hook = EverySoManySteps(lambda state, point: seen.append(point.step), 3)
    with model.hooks(fwd_hooks=[("blocks.1.mixer.hook_state", hook)]):
        model.generate(tokens, max_new_tokens=6, temperature=0.0)
    assert seen == [2, 5, 8]
