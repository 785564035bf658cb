"""What counts as found in the demo, and that exactly those heads are ablated."""

from __future__ import annotations

import pandas as pd

from workbench.cli.findings import clear_first, clear_heads


def scores(*rows: tuple[str, float, float]) -> pd.DataFrame:
    """A finder's table of sites with a score and a null; intervals are 0.01 wide on each side."""
    return pd.DataFrame(
        [
            {"site": site, "score": score, "low": score - 0.01, "high": score + 0.01, "null": null}
            for site, score, null in rows
        ]
    )


TABLE = scores(
    ("L0H0", 0.40, 0.50),  # the highest score, below its own null
    ("L1H1", 0.35, 0.02),
    ("L1H2", 0.30, 0.02),
    ("L1H3", 0.15, 0.02),  # above its null, below half of the best
    *((f"L2H{head}", 0.0, 0.02) for head in range(4)),
)


def test_a_head_below_its_null_is_not_found_and_does_not_lead_the_table() -> None:
    assert clear_heads(TABLE) == ["L1H1", "L1H2"]
    assert clear_first(TABLE)["site"].tolist() == [
        "L1H1", "L1H2", "L0H0", "L1H3", "L2H0", "L2H1", "L2H2", "L2H3",
    ]  # fmt: skip


def test_at_most_a_quarter_of_the_heads_is_found() -> None:
    assert clear_heads(scores(*((f"L0H{head}", 0.9, 0.1) for head in range(8)))) == ["L0H0", "L0H1"]


def test_a_weak_score_is_not_found_even_above_its_null() -> None:
    assert clear_heads(scores(*((f"L0H{head}", 0.05, 0.01) for head in range(8)))) == []
