"""The repetition experiment: a planted feature is found, and every number is that of a run edited by hand."""

import pytest
import torch

from tests.saes.using.hand_made import random_sae, zoo
from workbench.errors import InputError
from workbench.saes import FeatureEdit, SparseAutoencoder, find_repetition_features, repetition_experiment
from workbench.saes.using.repetition import RepetitionFeatures, windows_for

HOOK = "blocks.2.hook_resid_post"
SIZES = {"windows": 10, "prompts": 4, "length": 8, "max_new_tokens": 10, "repeats": 3, "strengths": (4.0,), "draws": 2}


def second_copies(model, windows):
    """The residual stream on a window's second copy, and on the same tokens after another window."""
    length = windows.shape[1]
    return [
        model.run_with_cache(torch.cat([first, windows], 1), HOOK)[1][HOOK][:, length:]
        for first in (windows, windows.roll(-1, 0))
    ]


@torch.no_grad()
def planted(model, windows, place=5):
    """Random features but for one, which reads and writes what a second copy has in excess."""
    sae = random_sae(model, HOOK)
    repeated, control = second_copies(model, windows)
    direction = torch.nn.functional.normalize((repeated - control).mean((0, 1)), dim=0)
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    weights["W_enc"][:, place], weights["W_dec"][place] = direction, direction
    weights["b_enc"][place] = -(control @ direction).mean()
    return SparseAutoencoder(sae.cfg, weights)


@torch.no_grad()
def test_the_planted_feature_is_found_and_every_number_is_that_of_the_texts():
    model = zoo("attention")
    windows = windows_for(model, None, 8, 12)
    sae = planted(model, windows)
    found = find_repetition_features(model, sae, windows, batch=5)
    table = found.table()
    assert table["feature"][0] == 5 and table["low"][0] > 0
    assert found.chosen(3)[0] == 5
    repeated, control = ((x @ sae.W_enc + sae.b_enc).relu() for x in second_copies(model, windows))
    torch.testing.assert_close(found.excess, (repeated - control).mean(1).float(), atol=1e-5, rtol=1e-4)
    whole = []
    for first in (windows, windows.roll(-1, 0)):
        _, cache = model.run_with_cache(torch.cat([first, windows], 1), HOOK)
        whole.append((cache[HOOK] @ sae.W_enc + sae.b_enc).relu().flatten(0, 1))
    torch.testing.assert_close(found.maxima, torch.cat(whole).amax(0).float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.density, (whole[1] > 0).float().mean(0), atol=1e-6, rtol=1e-5)
    row = table[table["feature"] == 3].iloc[0]
    one, other = repeated[..., 3].flatten().double(), control[..., 3].flatten().double()
    pooled = ((one.var(correction=0) + other.var(correction=0)) / 2).sqrt()
    assert row["effect_size"] == pytest.approx(float((one.mean() - other.mean()) / pooled), rel=1e-4)


@torch.no_grad()
def test_a_feature_that_the_control_text_never_fires_comes_not_first_for_that():
    """One that fires at a single repeated token, and never without repetition, has a small effect: sqrt(2 / tokens)."""
    model = zoo("attention")
    windows = windows_for(model, None, 8, 12)
    sae = planted(model, windows)
    repeated, _ = second_copies(model, windows)
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    direction = repeated[0, 3] / repeated[0, 3].norm()
    # On just below the highest of all projections, which is that token's own: nothing else reaches it.
    whole = [
        model.run_with_cache(torch.cat([first, windows], 1), HOOK)[1][HOOK] for first in (windows, windows.roll(-1, 0))
    ]
    others = sorted(float(x) for x in (torch.cat(whole) @ direction).flatten())
    weights["W_enc"][:, 9], weights["b_enc"][9] = direction, -(others[-1] + others[-2]) / 2
    assert others[-1] == pytest.approx(float(repeated[0, 3] @ direction), rel=1e-5) and others[-1] > others[-2]
    table = find_repetition_features(model, SparseAutoencoder(sae.cfg, weights), windows).table()
    seldom = table[table["feature"] == 9].iloc[0]
    assert seldom["effect_size"] == pytest.approx((2 / 96) ** 0.5, rel=0.01)
    assert table["feature"][0] == 5


def test_controls_fire_as_often_and_are_others():
    density = torch.tensor([0.5, 0.4, 0.39, 0.38, 0.01, 0.011, 0.012, 0.009, 0.0] + [0.1] * 11)
    maxima = torch.ones(20)
    maxima[8] = 0
    found = RepetitionFeatures(torch.zeros(3, 20), maxima, density, density)
    drawn = [found.matched([1, 4], seed) for seed in range(40)]
    assert {len(set(one)) for one in drawn} == {2}
    assert not {1, 4, 8} & {feature for one in drawn for feature in one}
    assert all(density[high] >= 0.1 and density[low] <= 0.1 for high, low in drawn)
    assert len({tuple(one) for one in drawn}) > 5
    with pytest.raises(InputError, match="no 15 other features"):
        RepetitionFeatures(torch.zeros(3, 20), maxima, density, density).matched(list(range(15)), 0)
    with pytest.raises(InputError, match="No feature fires more"):
        found.chosen(2)


@torch.no_grad()
def test_a_feature_that_writes_one_token_makes_a_model_say_it_again_and_again():
    """And the rows are what generation with the same edit, by hand, gives."""
    model = zoo("gla")
    sae = random_sae(model, "blocks.3.hook_resid_post")
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    said = model.to_tokens(" the")[0, -1]
    unembedding = model.wrapped.unembed.weight[said].double()
    weights["W_dec"][7] = 30 * torch.nn.functional.normalize(unembedding, dim=0)
    sae = SparseAutoencoder(sae.cfg, weights)
    result = repetition_experiment(model, sae, features=[7], **SIZES)
    rows = {(row.task, row.condition): row for row in result.table().itertuples()}
    loud = rows["induce", "features"]
    assert (
        loud.score == pytest.approx(6 / 7)
        and loud.change_low > 0.3
        and loud.score > rows["induce", "controls"].score_high
    )
    assert loud.loss > rows["induce", "unsteered"].loss + 1
    assert result.texts["induce", 4.0, "features"] == " the" * 10
    assert result.features == (7,) and all(7 not in one for one in result.controls)
    plain = rows["suppress", "unsteered"]
    assert plain.change == 0 and plain.loss == rows["induce", "unsteered"].loss
    every = windows_for(model, None, 8, 14)
    starts = every[torch.randperm(14, generator=torch.Generator().manual_seed(0))[10:]]
    with FeatureEdit.ablate(sae, [7]).applied(model):
        written = model.generate(starts.repeat(1, 3), 10, stop_at_eos=False)[:, 24:]
        probability = model(starts.repeat(1, 3)).softmax(-1)
    shares = [1 - len({tuple(row[i : i + 4]) for i in range(7)}) / 7 for row in (one.tolist() for one in written)]
    assert rows["suppress", "features"].score == pytest.approx(sum(shares) / 4)
    curve = result.reinforcement[result.reinforcement["condition"] == "features"]
    tokens = starts.repeat(1, 3)
    of_tokens = probability[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    assert list(curve["copy"]) == [1, 2, 3]
    assert curve["probability"].iloc[0] == pytest.approx(float(of_tokens[:, :7].mean()))
    assert curve["probability"].iloc[2] == pytest.approx(float(of_tokens[:, 15:].mean()))
    figure = result.figure()
    assert len(figure.data) == 6 and list(figure.layout.xaxis.ticktext) == ["clamped at 4 × max", "ablated"]


def test_a_model_that_copies_gets_surer_with_every_copy():
    """What the curve must look like where there is something to see; the intervals hold their means."""
    model = zoo("attention")
    result = repetition_experiment(model, planted(model, windows_for(model, None, 8, 12)), count=1, **SIZES)
    curve = result.reinforcement[result.reinforcement["condition"] == "unsteered"]
    probability = list(curve["probability"])
    assert probability[0] < 0.05 < probability[1] < probability[2]
    assert ((curve["low"] <= curve["probability"]) & (curve["probability"] <= curve["high"])).all()


def test_what_cannot_be_tried_is_refused():
    model = zoo("attention")
    sae = random_sae(model, HOOK)
    for options, says in (
        ({"count": 0}, "count is 0"),
        ({"repeats": 1}, "two copies"),
        ({"texts": "Too short a text."}, "holds 1 rows"),
        ({"texts": torch.ones(3, 9, dtype=torch.long)}, "14 rows of 8 tokens are needed"),
    ):
        with pytest.raises(InputError, match=says):
            repetition_experiment(model, sae, **{**SIZES, **options})
    with pytest.raises(InputError, match="two windows"):
        find_repetition_features(model, sae, torch.ones(1, 4, dtype=torch.long))
