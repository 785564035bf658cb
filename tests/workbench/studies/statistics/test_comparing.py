"""Two studies compared: paired where the prompts are the same, by depth where the models are not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.workbench.studies.statistics.made_up import MadeUp, a_study, an_edit, noise, together
from workbench.errors import InputError
from workbench.studies.statistics.comparing import compare_studies
from workbench.studies.statistics.settings import differing_settings

PROMPTS = 8


def test_the_same_edits_on_the_same_prompts_are_compared_prompt_by_prompt():
    common = noise(PROMPTS, 0, 1.0, 5.0)  # what prompts differ by drowns the difference, unless it is paired
    extra = noise(PROMPTS, 1, 0.2, 0.05)
    a = MadeUp(together(an_edit("L0H0", common), an_edit("L0H1", common)))
    b = MadeUp(together(an_edit("L0H0", common + extra), an_edit("L0H1", common)))
    table = compare_studies(a, b)
    first = table.iloc[0]
    assert first["difference"] == pytest.approx(extra.mean())
    assert first["paired"]
    assert 0 < first["low"] < extra.mean() < first["high"] < 0.5
    exact = stats.permutation_test((extra,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert first["p"] == pytest.approx(exact)
    assert list(table["q"]) == pytest.approx(list(stats.false_discovery_control(table["p"])))
    assert table.iloc[1]["difference"] == 0


def test_only_prompts_that_both_have_are_compared():
    a = an_edit("L0H0", [1.0, 1.0, 1.0, 1.0, 100.0])
    b = an_edit("L0H0", [2.0, 2.5, 1.5, 2.0, 50.0])
    b["prompt_id"] = [*b["prompt_id"][:4], "another"]
    found = compare_studies(MadeUp(a), MadeUp(b)).iloc[0]
    assert (found["n_a"], found["n_b"]) == (4, 4)
    assert found["difference"] == pytest.approx(1.0)
    assert found["effect_a"] == pytest.approx(1.0)


def test_different_prompts_are_resampled_apart_and_not_tested():
    of_a, of_b = noise(PROMPTS, 0, 1.0), noise(PROMPTS + 3, 1, 3.0)
    b = an_edit("L0H0", of_b)
    b["prompt_id"] = b["group"] = [f"other{i}" for i in range(len(of_b))]
    found = compare_studies(MadeUp(an_edit("L0H0", of_a)), MadeUp(b)).iloc[0]
    assert not found["paired"]
    assert np.isnan([found["p"], found["q"]]).all()
    assert (found["n_a"], found["n_b"]) == (PROMPTS, PROMPTS + 3)
    theirs = stats.bootstrap(
        (of_b, of_a),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        method="percentile",
        n_resamples=5000,
        rng=0,
        vectorized=True,
    ).confidence_interval
    assert found["low"] == pytest.approx(theirs.low, abs=0.15)
    assert found["high"] == pytest.approx(theirs.high, abs=0.15)


def test_models_of_other_names_are_matched_by_depth():
    shallow = together(*(an_edit(f"L{layer}H0", np.full(6, float(layer))) for layer in (0, 1, 2)))
    deep = together(
        *(
            an_edit(f"L{layer}H{head}", np.full(6, 10.0 * layer + head), model="mamba")
            for layer in range(5)
            for head in (0, 1)
        )
    )
    table = compare_studies(MadeUp(shallow), MadeUp(deep))
    assert set(table["match"]) == {"label", "depth"}
    assert list(table.loc[table["match"] == "label", "label"]) == ["L0H0", "L1H0", "L2H0"]
    by_depth = table[table["match"] == "depth"]
    assert list(by_depth["effect_a"]) == pytest.approx([0.0, 1.0, 2.0])
    assert list(by_depth["effect_b"]) == pytest.approx([0.5, 20.5, 40.5])
    assert list(by_depth["label"])[1] == "L1 of 3 beside L2 of 5"


def test_depth_counts_the_models_layers_not_the_edited_ones():
    a = MadeUp(an_edit("L1H0", np.ones(6)), plan={"models": [{"model": "attention", "layers": 3}]})
    b = MadeUp(
        together(*(an_edit(f"L{layer}H1", np.full(6, layer), model="mamba") for layer in (0, 1, 2))),
        plan={"models": [{"model": "mamba", "layers": 3}]},
    )
    table = compare_studies(a, b)
    assert list(table["label"]) == ["L1 of 3 beside L1 of 3"]


def test_controls_and_what_is_not_a_number_are_left_out():
    broken = np.ones(6)
    broken[0] = np.nan
    a = MadeUp(together(an_edit("L0H0", broken), an_edit("L0H1", np.ones(6), control_of="L0H0")))
    table = compare_studies(a, a)
    assert list(table["label"]) == ["L0H0"]
    assert table["n_a"].iloc[0] == 5


def test_studies_with_nothing_in_common_are_refused():
    a, b = MadeUp(an_edit("L0H0", [1.0] * 6)), MadeUp(an_edit("L0H0", [1.0] * 6, metric="kl"))
    with pytest.raises(InputError, match=r"no metric in common: made-up has loss, made-up has kl\."):
        compare_studies(a, b)
    with pytest.raises(InputError, match="no entry of edits in common"):
        compare_studies(a, replace(b, frame=an_edit("L0H0", [1.0] * 6, family="others")))


def test_settings_that_differ_are_named_by_their_path():
    a = a_study()
    b = a_study(
        seed=4,
        question="why",
        edits=[
            {"name": "mlps", "sites": "mlps", "method": "zero"},
            {"name": "heads", "sites": "heads", "method": "mean"},
        ],
        run={"workers": 2},
    )
    table = differing_settings(a, b)
    changed = {row["setting"]: (row["a"], row["b"]) for row in table.to_dict(orient="records")}
    assert changed["seed"] == ("3", "4")
    assert changed["edits[heads].method.kind"] == ('"zero"', '"mean"')
    assert changed["edits[mlps].sites.kind"] == ("", '"mlps"')
    assert not any(path.startswith(("run", "question", "name")) for path in changed)
    assert differing_settings(a, a).empty
