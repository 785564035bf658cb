"""Axes say what a metric is counted in, and captions which way is worse."""

import pytest

import workbench.studies.edits
import workbench.studies.inputs
import workbench.studies.searches  # noqa: F401  (kinds are registered by importing)
from workbench.studies.metrics import METRICS
from workbench.studies.report.units import direction, with_unit
from workbench.studies.schema.study import Study

STUDY = Study(
    name="a",
    models="zoo:gru",
    inputs={"task": "repetition"},
    edits=[{"name": "x", "sites": "heads", "method": "zero"}],
    metrics=METRICS.words,
)


@pytest.mark.parametrize(
    ("metric", "axis", "caption"),
    [
        ("loss", "effect on loss (nats)", "; above 0 is worse"),
        ("accuracy", "effect on accuracy (share of positions)", "; above 0 is better"),
        ("probability", "effect on probability", "; above 0 is better"),
        ("entropy", "effect on entropy (nats)", ""),
        ("logit_difference", "effect on logit_difference (logits)", "; above 0 is better"),
        ("kl", "effect on kl (nats)", ""),  # a distance: further is not worse
        ("of another study", "effect on of another study", ""),
    ],
)
def test_units_and_directions(metric: str, axis: str, caption: str) -> None:
    assert with_unit(STUDY, metric) == axis and direction(STUDY, metric) == caption


def test_a_unit_is_the_one_that_the_metrics_docstring_names() -> None:
    for word in METRICS.words:
        kind = METRICS.find(word)
        said = (kind.__doc__ or "").lower()
        assert all(part in said for part in kind.unit.rstrip("s").replace("share of position", "share").split()), word
