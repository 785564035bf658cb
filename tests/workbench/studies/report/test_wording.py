"""Sentences say what the numbers say, and no more."""

import numpy as np
import pandas as pd
import pytest

from tests.workbench.studies.statistics.made_up import MadeUp, a_study, an_edit, noise, together
from workbench.studies.report import effects_table
from workbench.studies.report.grids import grid_of
from workbench.studies.report.numbers import listed, number, plural, probability, signed, span
from workbench.studies.report.ranked import ranked
from workbench.studies.report.running import mixtures
from workbench.studies.report.wording import answer, kind_text, lead, overview

GROUPS = 60


def said(*edits: pd.DataFrame, **study: object) -> str:
    results = MadeUp(together(*edits), a_study(**study))
    return answer(results.study, "attention", "heads", ranked(effects_table(results), "loss"))


def test_nothing_found_is_not_evidence_of_nothing():
    text = said(*(an_edit(f"L0H{i}", noise(GROUPS, i)) for i in range(4)))
    assert text.startswith("In attention, none of 4 edits of heads changes loss by more than chance would (q ≤ 0.05)")
    assert "That is not evidence that they do nothing." in text
    assert "Exploratory" not in text


def test_what_was_found_is_counted_with_its_direction():
    text = said(
        an_edit("L0H0", noise(GROUPS, 0, 3.0)),
        an_edit("L0H1", noise(GROUPS, 1, -2.0)),
        an_edit("L0H2", noise(GROUPS, 2, 0.0)),
    )
    assert text.startswith(
        "In attention, 2 of 3 edits of heads change loss (q ≤ 0.05): L0H0 raises it; L0H1 lowers it."
    )
    assert "The largest effect is L0H0: +" in text


def test_few_groups_are_called_exploratory():
    assert said(an_edit("L0H0", noise(12, 0, 3.0))).endswith("Exploratory: 12 prompt groups.")


def test_controls_that_do_as_much_are_counted():
    edits = [an_edit("L0H0", np.full(GROUPS, 1.0))]
    edits += [
        an_edit(f"L0H{1 + i}", np.full(GROUPS, size), control_of="L0H0") for i, size in enumerate((0.1, 2.0, 0.2))
    ]
    assert "1 of its 3 random controls does as much (p = 0.500)." in said(*edits)


def test_an_entry_that_failed_altogether_says_so():
    assert said(an_edit("L0H0", [np.nan] * 5)) == "In attention, nothing was measured of heads."


def test_a_distance_is_not_called_significant():
    study = a_study(metrics=["kl"])
    frame = an_edit("L0H0", np.abs(noise(GROUPS, 0, 3.0)), metric="kl", baseline=0.0)
    results = MadeUp(frame, study)
    effects = effects_table(results)
    text = answer(study, "attention", "heads", ranked(effects, "kl"))
    assert "moves kl furthest" in text
    assert "distances are not tested" in text
    assert overview(study, effects)[1][0][3] == "not tested"


def test_the_head_of_the_page_keeps_to_two_entries():
    study = a_study(edits=[{"name": name, "sites": "heads", "method": "zero"} for name in ("a", "b", "c")])
    frame = together(*(an_edit("L0H0", noise(GROUPS, 0, 2.0), family=name) for name in ("a", "b", "c")))
    text = lead(study, effects_table(MadeUp(frame, study)))
    assert "edit of a" in text
    assert "edit of b" in text
    assert "edit of c" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (-0.012345, "-0.0123"),
        (123.4, "123"),
        (1e-5, "1.00e-05"),
        (54321.0, "5.43e+04"),
        (np.nan, "–"),
        (np.inf, "–"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_signs_spans_and_probabilities():
    assert (signed(0.5), signed(-0.5), signed(0.0), signed(np.nan)) == ("+0.500", "-0.500", "0", "–")
    assert (span(0.1, 0.2), span(np.nan, 0.2)) == ("0.100 to 0.200", "–")
    assert (probability(1e-4), probability(0.0123), probability(np.nan)) == ("< 0.001", "0.012", "–")
    assert (plural(1, "edit"), plural(1200, "edit")) == ("1 edit", "1,200 edits")
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert (listed(["a"]), listed(["a", "b"]), listed([])) == ("a", "a and b", "none")


def test_a_kind_is_written_with_the_options_that_were_chosen():
    study = a_study(edits=[{"name": "x", "sites": {"kind": "heads", "layers": [0, 1]}, "method": "zero"}])
    assert kind_text(study.edits[0].sites) == "heads (layers 0 and 1)"
    assert kind_text(study.edits[0].method) == "zero"


def test_many_columns_become_profiles_best_first():
    effects = np.linspace(-1, 0.5, 80)
    frame = together(*(an_edit(f"L0.mlp#{i}", np.full(5, effect)) for i, effect in enumerate(effects)))
    grid = grid_of(effects_table(MadeUp(frame)))
    assert grid is not None
    assert grid.by_rank
    assert grid.values[0, 0] == pytest.approx(-1.0)
    assert (np.diff(np.abs(grid.values[0])) <= 1e-6).all()
    assert grid.texts[0][0].startswith("L0.mlp#0: -1.00")


def test_heads_are_in_the_order_of_their_numbers():
    frame = together(*(an_edit(f"L{layer}H{head}", np.ones(5)) for layer, head in ((0, 10), (0, 2), (3, 1))))
    grid = grid_of(effects_table(MadeUp(frame)))
    assert grid is not None
    assert grid.columns == ["H1", "H2", "H10"]
    assert grid.layers == ["0", "1", "2", "3"]
    assert np.isnan(grid.values).sum() == 12 - 3


def test_edits_of_several_places_have_no_map():
    assert grid_of(effects_table(MadeUp(an_edit("L0H0 + L1H0", np.ones(5))))) is None


def test_a_map_of_doses_shows_the_largest():
    frame = together(*(an_edit("L0H0", np.full(5, dose), dose=dose) for dose in (0.5, 2.0)))
    grid = grid_of(effects_table(MadeUp(frame)))
    assert grid is not None
    assert (grid.dose, grid.values[0, 0]) == (2.0, pytest.approx(2.0))


def test_one_machine_is_no_mixture():
    attempts = pd.DataFrame({"attempt_id": [1, 2, 3], "device": ["cpu", "cpu", "cuda"], "threads": [1, 1, 2]})
    frame = an_edit("L0H0", np.ones(4)).assign(attempt_id=[1, 2, 1, 2])
    assert mixtures(MadeUp(frame, attempts=attempts)) == []
    disagreeing = MadeUp(frame.assign(attempt_id=3), attempts=attempts, disagreements=pd.DataFrame({"unit": ["x"]}))
    assert mixtures(disagreeing) == ["1 measurement came twice with different values; the first is kept."]
    mixed = MadeUp(frame.assign(attempt_id=[1, 2, 3, 3]), attempts=attempts)
    assert mixtures(mixed)[0].startswith("The numbers come from 2 devices (cpu and cuda)")
