"""Activation patching equals runs that were edited by hand, and exchanging everything exchanges the runs."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from tests.probes.patching.cases import pick, repeats, zoo
from workbench.errors import InputError
from workbench.probes.patching import activation_patching, answer_metric, back_patching, effect_map
from workbench.tasks import score_model


@pytest.mark.parametrize("name", ["attention", "mamba", "gru"])
def test_exchanging_the_whole_stream_exchanges_the_runs(name: str) -> None:
    task, source = repeats(zoo(name))
    table = activation_patching(zoo(name), task, source, answer_metric(task, label="second"), positions="all")
    assert table["hook"].tolist() == [f"blocks.{layer}.hook_resid_post" for layer in range(4)]
    assert table["share"].tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    same = activation_patching(zoo(name), task, task.tokens, answer_metric(task), positions=[3])
    assert same["effect"].abs().max() < 1e-4


def test_every_head_and_position_is_the_run_edited_by_hand() -> None:
    lm = zoo("attention")
    task, source = repeats(lm)
    metric = pick(-1, 7, 9)
    table = activation_patching(lm, task.tokens, source, metric, at=["L1H2", "L1H3", "L0.mlp"], positions=[2, -3])
    with torch.no_grad():
        _, theirs = lm.run_with_cache(source)
        plain = metric(lm(task.tokens))
    assert len(table) == 6
    assert table["position"].tolist() == [2, 7] * 3
    for _, row in table.iterrows():

        def edit(tensor: torch.Tensor, hook: object, row: pd.Series = row) -> torch.Tensor:
            tensor = tensor.clone()
            place = (slice(None), row["position"]) if row["head"] < 0 else (slice(None), row["position"], row["head"])
            tensor[place] = theirs[row["hook"]][place]
            return tensor

        with torch.no_grad():
            effect = metric(lm.run_with_hooks(task.tokens, fwd_hooks=[(row["hook"], edit)])) - plain
        assert row["effect"] == pytest.approx(float(effect.mean()), abs=1e-5)
        assert row["low"] <= row["effect"] <= row["high"]


def test_states_are_patched_step_by_step_and_channels_in_groups() -> None:
    lm = zoo("mamba")
    task, source = repeats(lm, batch=2)
    metric = answer_metric(task, label="second")
    last = activation_patching(lm, task, source, metric, at="blocks.3.mixer.hook_state", positions=[-1], group=128)
    assert last["head"].tolist() == [0, 128]
    # The last token's answer is not scored: nobody reads the memory after it.
    assert last["effect"].abs().max() < 1e-4
    before = activation_patching(lm, task, source, metric, at="blocks.1.mixer.hook_state", positions=[5], by_head=False)
    assert abs(float(before["effect"][0])) > 1e-2


def test_the_metric_is_what_the_task_scores() -> None:
    lm = zoo("attention")
    task, _ = repeats(lm)
    with torch.no_grad():
        logits = lm(task.tokens)
    scored = score_model(lm, task)
    expected = -scored.per_sequence("loss", "second")
    torch.testing.assert_close(
        answer_metric(task, "log_probability", "second")(logits).double(), expected, rtol=1e-5, atol=1e-5
    )
    rows = logits[torch.arange(3)[:, None], task.positions].log_softmax(-1)
    answers = rows.gather(-1, task.answers[..., None])[..., 0]
    torch.testing.assert_close(answer_metric(task, "probability")(logits), answers.exp().mean(1))
    # Less the mean over the vocabulary, a logit is a log-probability less its mean.
    torch.testing.assert_close(answer_metric(task)(logits), (answers - rows.mean(-1)).mean(1), rtol=1e-4, atol=1e-4)


def test_wrong_answers_that_are_not_there_do_not_count() -> None:
    lm = zoo("attention")
    task, _ = repeats(lm)
    wrong = torch.randint(5, 2000, (*task.answers.shape, 2))
    wrong[:, 2] = -1
    wrong[:, 3, 1] = -1
    task = replace(task, distractors=wrong)
    with torch.no_grad():
        logits = lm(task.tokens).double()
    expected = []
    for row in range(3):
        differences = []
        for slot in range(task.answers.shape[1]):
            there = [int(one) for one in wrong[row, slot] if one >= 0]
            at = logits[row, task.positions[row, slot]]
            if there:
                differences.append(float(at[task.answers[row, slot]] - at[there].mean()))
        expected.append(sum(differences) / len(differences))
    assert answer_metric(task)(logits).tolist() == pytest.approx(expected)
    with pytest.raises(InputError, match="no position that counts"):
        answer_metric(replace(task, distractors=torch.full_like(wrong, -1)))


def test_back_patching_writes_a_late_layer_over_an_early_one() -> None:
    lm = zoo("gla")
    task, _ = repeats(lm)
    metric = pick(-1, 3, 4)
    table = back_patching(lm, task.tokens, metric, positions=[-1, 2], sources=[3, 1], targets=[0, 2])
    assert set(zip(table["source"], table["target"], strict=True)) == {(3, 0), (3, 2), (1, 0)}
    with torch.no_grad():
        plain, cache = lm.run_with_cache(task.tokens)

        def edit(tensor: torch.Tensor, hook: object) -> torch.Tensor:
            tensor = tensor.clone()
            tensor[:, 2] = cache["blocks.3.hook_resid_post"][:, 2]
            return tensor

        edited = lm.run_with_hooks(task.tokens, fwd_hooks=[("blocks.0.hook_resid_post", edit)])
    row = table[(table["source"] == 3) & (table["target"] == 0) & (table["position"] == 2)].iloc[0]
    effect = metric(edited) - metric(plain)
    assert row["effect"] == pytest.approx(float(effect.mean()), abs=1e-4)
    assert row["better"] == pytest.approx(float((effect > 0).float().mean()))


def test_the_map_shows_layers_by_positions() -> None:
    table = pd.DataFrame(
        {"layer": [0, 0, 1, 1], "position": [2, 5, 2, 5], "effect": [1.0, -2.0, 3.0, 4.0], "hook": ["a", "a", "b", "b"]}
    )
    figure = effect_map(table, tokens=["<bos>", "b", "c", "d", "e", "f"])
    assert figure.data[0].z.tolist() == [[1, -2], [3, 4]]
    assert list(figure.layout.xaxis.ticktext) == ["c", "f"]
    with pytest.raises(InputError, match="share layer and position"):
        effect_map(pd.concat([table, table]))
    with pytest.raises(InputError, match="no column 'head'"):
        effect_map(table, columns="head")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"metric": None}, "Tokens alone do not say"),
        ({"metric": lambda logits: logits.mean()}, "one number a sequence"),
        ({"positions": [10]}, "Positions go from 0 to 9"),
        ({"positions": "some"}, "there is 'all', 'each'"),
        ({"at": "mixer.hook_z", "group": 3}, "Groups of 3 do not divide the 4 heads"),
        ({"source": torch.ones(2, 10, dtype=torch.long)}, "2 sequences and this one 3"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused_with_a_sentence(asked: dict[str, object], said: str) -> None:
    lm = zoo("attention")
    task, source = repeats(lm)
    options = {"source": source, "metric": pick(-1, 0, 1), "positions": "all", **asked}
    with pytest.raises(InputError, match=said):
        activation_patching(lm, task.tokens, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such pair"):
        back_patching(lm, task, sources=[1], targets=[2])
    with pytest.raises(InputError, match="No measure"):
        answer_metric(task, "loss")
