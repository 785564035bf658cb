"""What the numbers of a metric are counted in, and which way is better, for axes and captions."""

from __future__ import annotations

from workbench.studies.metrics.metric import MetricKind
from workbench.studies.schema.study import Study


def with_unit(study: Study, metric: str, what: str = "effect on") -> str:
    """The name of an axis: ``effect on loss (nats)``."""
    found = _kind(study, metric)
    return f"{what} {metric}" + (f" ({found.unit})" if found is not None and found.unit else "")


def direction(study: Study, metric: str) -> str:
    """The end of a caption about effects: ``; above 0 is worse``; empty where a metric has no better way."""
    found = _kind(study, metric)
    if found is None or found.better is None:
        return ""
    return f"; above 0 is {'better' if found.better == 'higher' else 'worse'}"


def _kind(study: Study, metric: str) -> type[MetricKind] | None:
    """None where the study does not measure it, as where two studies are compared."""
    return next((type(kind) for kind in study.metrics if kind.name == metric), None)
