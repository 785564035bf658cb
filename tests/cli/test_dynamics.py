"""``workbench dynamics``: fixed points, spectra and exponents of a recurrent layer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.cli.conftest import Run
from tests.workbench.test_report import Dom
from workbench.probes.dynamics import StateMap, find_fixed_points, lyapunov_exponents, principal_trajectories

TEXT = "The state of the Union is the best of the best"
QUICK = ("--iterations", 20, "--steps", 4, "--settle", 2, "--exponents", 2, "--starts", 2)


def test_it_writes_what_the_library_finds(run: Run, tmp_path: Path) -> None:
    files = ("--json", tmp_path / "d.json", "--out", tmp_path / "d.html")
    result = run("dynamics", "zoo:rg_lru", TEXT, "--layer", -1, "--length", 8, *QUICK, *files)
    assert result.exit_code == 0, (result.output, result.exception)
    got = json.loads((tmp_path / "d.json").read_text())
    model = wb.load("zoo:rg_lru", check=False, dtype=torch.float64)
    recurrence = StateMap(model, layer=-1)
    the = int(model.to_tokens(" the", prepend_bos=False)[0, 0])
    step, visited = recurrence.under_token(the), recurrence.trajectory(model.to_tokens(TEXT)[:, :8])
    found = find_fixed_points(step, visited[0, [0, 7]], iterations=20)
    assert (got["token"], got["state"], got["lost"]) == ("·the", recurrence.dim, found.lost)
    assert [row["radius"] for row in got["points"]] == pytest.approx(found.table()["radius"].tolist())
    assert len(got["points"]) >= 1 and len(got["spectra"][0]) == recurrence.dim
    assert got["spectra"][0][0] == pytest.approx(torch.view_as_real(found.spectra)[0, 0].tolist())
    want = lyapunov_exponents(step, visited[0, -1], steps=4, settle=2, count=2)
    assert [row["exponent"] for row in got["exponents"]] == pytest.approx(want.exponents.tolist())
    assert got["dimension"] == pytest.approx(principal_trajectories(visited).dimension)
    assert found.table()["stability"][0] in result.stdout
    page = Dom((tmp_path / "d.html").read_text())
    assert page.text["h1"] == ["zoo:rg_lru: dynamics of layer 3"]
    data = json.loads(next(t for a, t in zip(page.named("script"), page.text["script"], strict=True) if a.get("id")))
    assert len(data["figures"]) == 2


def test_a_token_can_be_chosen_and_a_search_that_finds_nothing_says_so(run: Run) -> None:
    options = ("--token", " of", "--length", 4, "--exponents", 0, "--starts", 1, "--iterations", 1)
    result = run("dynamics", "zoo:gru", TEXT, *options, "--json", "-")
    assert result.exit_code == 0, (result.output, result.exception)
    got = json.loads(result.stdout)
    assert (got["token"], got["points"], got["exponents"], got["lost"]) == ("·of", [], [], 1)
    assert "No search came to rest" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("zoo:attention", TEXT), "no recurrence"),
        (("zoo:gru",), "Give a text as PROMPT, or a file with --text"),
        (("zoo:gru", ""), "empty"),
        (("zoo:gru", TEXT, "--layer", 9), "layers 0 to 3"),
        (("zoo:gru", TEXT, "--token", " the state"), "is 2 tokens"),
        (("zoo:gru", TEXT, "--exponents", 999), "The state has 192 numbers"),
        (("zoo:gru", TEXT, "--starts", "-1"), "'--starts'"),
    ],
)
def test_what_has_no_dynamics_is_one_sentence(
    refused: Callable[..., str], arguments: tuple[Any, ...], sentence: str
) -> None:
    assert sentence in refused("dynamics", *arguments)
