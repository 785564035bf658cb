import pytest
import torch

from tests.workbench.studies.inputs.studies import read
from workbench.errors import InputError
from workbench.tasks import NOT_SCORED, make_task, score_model


def test_prompts_without_padding_are_scored_as_the_padded_task_is(zoo):
    """Sequences of a task made of words differ in length; the mean loss of all slots is that of the scorer of tasks."""
    model = zoo("attention")
    prompts = read({"task": "laundry_list", "count": 5}, model, seed=3)
    task = make_task("laundry_list", model, batch=5, seed=3)
    assert task.mask is not None and len({len(prompt.tokens) for prompt in prompts}) > 1
    losses = []
    for prompt in prompts:
        with torch.no_grad():
            logits = model(torch.tensor([prompt.tokens]))[0, list(prompt.scored)]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(prompt.answers), reduction="none"))
    counts = task.labels != NOT_SCORED
    expected = score_model(model, task).loss
    for row, found in enumerate(losses):
        order = task.positions[row][counts[row]].argsort()
        torch.testing.assert_close(found, expected[row][counts[row]][order], atol=1e-4, rtol=1e-4)


def test_slots_keep_their_foils_and_sources(zoo):
    prompts = read({"task": "associative_recall", "count": 6, "settings": {"pairs": 4}}, zoo("attention"))
    for prompt in prompts:
        (position,), (answer,), (wrong,), (source,) = prompt.scored, prompt.answers, prompt.foils, prompt.sources
        assert position == len(prompt.tokens) - 1
        assert prompt.tokens[source] == answer
        assert prompt.tokens[source - 1] == prompt.tokens[position]  # the key that is asked for
        assert {answer, *wrong} == set(prompt.tokens[1:8:2])


def test_only_the_labels_that_are_asked_for_are_scored(zoo):
    asked = {"task": "repeated_random_tokens", "count": 2, "settings": {"block": 5}}
    (first, _), (both, _) = (read({**asked, **more}, zoo("attention")) for more in ({"labels": ["second"]}, {}))
    assert first.scored == (5, 6, 7, 8)
    assert both.scored == (0, 1, 2, 3, 5, 6, 7, 8)
    with pytest.raises(InputError, match=r"no positions called 'third'; there is: first, second"):
        read({**asked, "labels": ["third"]}, zoo("attention"))


@pytest.mark.parametrize("task", ["repeated_random_tokens", "associative_recall", "laundry_list"])
def test_a_corrupt_prompt_is_another_draw_that_is_scored_at_the_same_places(zoo, task):
    model = zoo("attention")
    prompts = read({"task": task, "count": 6}, model)
    drawn = [prompt.corrupt for prompt in prompts if prompt.corrupt is not None]
    assert drawn
    assert len(set(drawn)) == len(drawn)
    others = {prompt.tokens: prompt for prompt in read({"task": task, "count": 24}, model, seed=1_000_003)}
    for prompt in prompts:
        if prompt.corrupt is not None:
            assert prompt.corrupt != prompt.tokens
            assert others[prompt.corrupt].scored == prompt.scored


def test_sequences_are_groups_of_their_own_and_the_seed_draws_them(zoo):
    asked = {"task": "repeated_random_tokens", "count": 4}
    first, again, other = (read(asked, zoo("attention"), seed=seed) for seed in (0, 0, 1))
    assert len({prompt.group for prompt in first}) == 4
    assert first == again
    assert not {prompt.tokens for prompt in first} & {prompt.tokens for prompt in other}


def test_equal_prompts_are_numbered(zoo):
    """A task with few sequences draws some of them twice."""
    asked = {"task": "associative_recall", "count": 40, "settings": {"pairs": 1, "fillers": 1}}
    prompts = read({**asked, "settings": {"pairs": 1, "avoid": list(range(6, 2048))}}, zoo("attention"))
    assert len({(prompt.tokens, prompt.corrupt) for prompt in prompts}) < 40
    assert len({prompt.prompt_id for prompt in prompts}) == 40
    assert all(prompt.corrupt != prompt.tokens for prompt in prompts)
