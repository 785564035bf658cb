"""Attribution patching is exact where the model is linear, and integrated gradients are complete."""

import pytest
import torch

from tests.probes.patching.cases import linear_after_attention, pick, repeats, zoo
from workbench.errors import InputError
from workbench.probes.patching import activation_patching, agreement, answer_metric, attribution_patching


def test_equals_patching_where_the_metric_is_linear_in_the_place() -> None:
    lm = linear_after_attention()
    task, source = repeats(lm)
    places = {"at": ["mixer.hook_z", "hook_resid_post"], "positions": "each"}
    estimated = attribution_patching(lm, task.tokens, source, pick(-1, 3, 4), **places)  # type: ignore[arg-type]
    true = activation_patching(lm, task.tokens, source, pick(-1, 3, 4), **places)  # type: ignore[arg-type]
    assert len(true) == 10 * (4 + 1)
    assert true["effect"].abs().max() > 0.1
    assert estimated["effect"].tolist() == pytest.approx(true["effect"].tolist(), abs=1e-10)
    found = agreement(estimated, true)
    assert (found.pearson, found.slope, found.places) == (pytest.approx(1), pytest.approx(1), 50)


@pytest.mark.parametrize("name", ["attention", "mamba2", "gru"])
def test_small_differences_are_those_of_patching(name: str) -> None:
    """To first order: between a run and one a thousandth of the way to another, the two agree."""
    lm = zoo(name)
    task, source = repeats(lm)
    metric = answer_metric(task, label="second")
    hook = "blocks.1.mixer.hook_head_out"
    with torch.no_grad():
        _, mine = lm.run_with_cache(task.tokens, hook)
        _, theirs = lm.run_with_cache(source, hook)
    full = attribution_patching(lm, task, source, metric, at=hook, positions="all", by_head=False)
    value = mine[hook] + 1e-3 * (theirs[hook] - mine[hook])
    with torch.no_grad():
        moved = lm.run_with_hooks(task.tokens, fwd_hooks=[(hook, lambda tensor, point: value)])
        effect = (metric(moved) - metric(lm(task.tokens))).mean() / 1e-3
    assert float(effect) == pytest.approx(float(full["effect"][0]), rel=0.05, abs=0.02)


def test_integrated_gradients_of_the_embeddings_add_up_to_exchanging_the_runs() -> None:
    lm = zoo("attention")
    task, source = repeats(lm)
    metric = answer_metric(task, label="second")
    options = {"at": "hook_embed", "positions": "each", "method": "integrated"}
    with torch.no_grad():
        whole = float((metric(lm(source)) - metric(lm(task.tokens))).mean())
    table = attribution_patching(lm, task, source, metric, steps=16, **options)  # type: ignore[arg-type]
    assert table["effect"].sum() == pytest.approx(whole, rel=0.02)
    assert table["share"].sum() == pytest.approx(1, rel=0.02)
    plain = attribution_patching(lm, task, source, metric, at="hook_embed")
    assert abs(plain["effect"].sum() - whole) > 0.1 * abs(whole)


@pytest.mark.parametrize(("name", "hook"), [("attention", "blocks.1.mixer.hook_z"), ("gla", "blocks.1.hook_mlp_out")])
def test_integrated_at_a_site_adds_up_to_patching_it_whole(name: str, hook: str) -> None:
    lm = zoo(name)
    task, source = repeats(lm)
    metric = answer_metric(task, label="second")
    true = activation_patching(lm, task, source, metric, at=hook, positions="all", by_head=False)
    parts = attribution_patching(lm, task, source, metric, at=hook, method="integrated_at_site", steps=16)
    assert parts["effect"].sum() == pytest.approx(float(true["effect"][0]), rel=0.02, abs=1e-3)


def test_states_are_attributed_at_their_steps() -> None:
    lm = zoo("gla")
    task, source = repeats(lm, batch=2)
    metric = answer_metric(task, label="second")
    hook = "blocks.3.mixer.hook_state"
    table = attribution_patching(lm, task, source, metric, at=hook, positions="each", by_head=False)
    assert table["position"].tolist() == list(range(10))
    # Oracle: the derivative along the difference of states at one step, by finite differences.
    with torch.no_grad():
        (_, mine), (_, theirs) = (lm.run_with_cache(tokens, hook) for tokens in (task.tokens, source))
        difference = (theirs[hook] - mine[hook])[:, 6]

        def at(size: float) -> torch.Tensor:
            def edit(state: torch.Tensor, point: object) -> torch.Tensor | None:
                return state + size * difference if point.step == 6 else None  # type: ignore[attr-defined]

            return metric(lm.run_with_hooks(task.tokens, fwd_hooks=[(hook, edit)]))

        slope = float(((at(0.01) - at(-0.01)) / 0.02).mean())
    assert float(table["effect"][6]) == pytest.approx(slope, rel=0.02, abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"method": "guess"}, "No method is called 'guess'"),
        ({"steps": 0}, "at least one"),
        ({"source": torch.ones(3, 9, dtype=torch.long)}, "position by position"),
        ({"metric": lambda logits: logits.argmax(-1)[:, -1].float()}, "no gradient"),
    ],
)
def test_attributions_that_make_no_sense_are_refused_with_a_sentence(asked: dict[str, object], said: str) -> None:
    lm = zoo("attention")
    task, source = repeats(lm)
    with pytest.raises(InputError, match=said):
        attribution_patching(lm, task.tokens, **{"source": source, "metric": pick(-1, 0, 1), **asked})  # type: ignore[arg-type]
