"""What a canvas is sent, and which clicks are believed."""

from __future__ import annotations

import numpy as np
import pytest
import streamlit as st

from workbench.app.components import Axis, kept
from workbench.app.components.mounting import _valid
from workbench.figures.colours import MISSING
from workbench.figures.levels import MASKED_LEVEL, MISSING_LEVEL, TOP, as_levels, palette


def test_zero_is_the_middle_of_a_signed_scale_and_the_bottom_of_another() -> None:
    signed = as_levels(np.array([[0.0, -2.0], [2.0, 1.0]]), limit=2.0)
    assert signed.levels.tolist() == [[TOP // 2, 0], [TOP, TOP * 3 // 4]]
    assert as_levels(np.array([[0.0, 4.0]])).levels.tolist() == [[0, TOP]]


@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_level_is_within_half_a_step_of_its_value_and_what_is_beyond_is_counted(limit: float | None) -> None:
    values = np.random.default_rng(0).normal(size=(40, 50))
    found = as_levels(values, limit=limit)
    back = found.low + (found.high - found.low) * found.levels / TOP
    inside = np.abs(values) <= found.high
    assert np.abs(back - values)[inside].max() <= (found.high - found.low) / TOP / 2 * 1.001
    assert found.clipped == pytest.approx(1 - inside.mean())


def test_missing_and_masked_cells_have_levels_of_their_own() -> None:
    values = np.array([[1.0, np.nan], [np.inf, 9.0]])
    found = as_levels(values, masked=np.array([[False, False], [False, True]]))
    assert found.levels.tolist() == [[TOP, MISSING_LEVEL], [MISSING_LEVEL, MASKED_LEVEL]]
    assert (found.missing, found.high) == (2, 1.0)


@pytest.mark.parametrize("dark", [True, False])
def test_palettes_fade_out_at_zero_and_keep_their_hues(dark: bool) -> None:
    two, one = palette(True, dark), palette(False, dark)
    assert two[TOP // 2, 3] == one[0, 3] == 0
    assert two[0].tolist() == [0, 114, 178, 255] and two[TOP].tolist() == [213, 94, 0, 255]
    assert (two[: TOP // 2, :3] == two[0, :3]).all() and (np.diff(two[: TOP // 2, 3].astype(int)) <= 0).all()
    assert one[TOP, 3] == 255 and "#{:02X}{:02X}{:02X}".format(*one[MISSING_LEVEL, :3]) == MISSING


def test_tokens_on_an_axis_are_visible_and_say_where_they_are() -> None:
    axis = Axis.of_tokens("reads", [" a", "\n", "\u202e<b>"])
    assert axis.labels == ("·a", "↵", "U+202E<b>") and axis.names[1] == "1 “↵”"
    pooled = Axis.of_tokens("reads", ["a", "b", "c"], factor=2, first=10)
    assert pooled.labels == ("10 a", "12 c") and pooled.names == ("10–11 “a…”", "12 “c”")


@pytest.mark.parametrize(
    ("sent", "believed"),
    [
        ({"fingerprint": "now", "at": [2, 0]}, (2, 0)),
        ({"fingerprint": "before", "at": [2, 0]}, None),
        ({"fingerprint": "now", "at": [3, 0]}, None),
        ({"fingerprint": "now", "at": [-1, 0]}, None),
        ({"fingerprint": "now", "at": [2]}, None),
        ({"fingerprint": "now", "at": ["2", "0"]}, None),
        ({"fingerprint": "now", "at": [True, False]}, None),
        ("now", None),
        (None, None),
    ],
)
def test_only_a_click_on_what_is_drawn_is_believed(sent: object, believed: tuple[int, int] | None) -> None:
    assert _valid({"chosen": sent}, "now", (3, 2)) == believed


@pytest.mark.parametrize(
    ("linked", "believed"),
    [
        ("2.1", (2, 1)),
        ("3.1", None),
        ("2.2", None),
        ("2", None),
        ("2.1.0", None),
        ("-1.0", None),
        ("².1", None),
        ("", None),
    ],
)
def test_a_choice_in_a_link_is_one_of_those_there_are(
    linked: str, believed: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(st, "query_params", {"cell": linked})
    assert kept("cell", (3, 2)) == believed
