"""Based of the zoo: its linear attention alone, and beside attention through a window."""

from __future__ import annotations

from tests.families.case import VOCABULARY, Case, zoo
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel


def hybrid() -> ZooModel:
    """Attention through a window, then linear attention."""
    options = {"based": {"n_heads": 3, "feature_dim": 3}, "attention": {"n_heads": 2, "window": 5}}
    return ZooModel(
        ZooConfig(["attention", "based"], VOCABULARY, d_model=12, n_layers=2, d_mlp=16, mixer_options=options)
    )


CASES = {
    "based": Case(zoo("based", n_heads=2, feature_dim=3)),
    "based with sliding window": Case(hybrid),
}
