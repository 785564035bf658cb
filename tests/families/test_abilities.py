"""The README's table of families and abilities is what asking every family says today."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

from tests.families import abilities
from tests.families.case import build, hooked
from tests.families.cases import every_case

README = (abilities.ROOT / "README.md").read_text("utf-8")


def test_the_table_in_the_readme_is_what_every_family_can_do_today() -> None:
    found = re.search(f"{abilities.BEGIN}\n(.*?)\n{abilities.END}", README, re.DOTALL)
    assert found is not None
    # In a process of its own, where not every annotated function is checked: that takes three times as long.
    command = [sys.executable, "-m", "tests.families.abilities", "--print"]
    made = subprocess.run(command, cwd=abilities.ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert found[1].splitlines() == made.stdout.splitlines(), "Run: make families"


def test_what_a_family_cannot_do_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = every_case()["zoo mamba2"]
    with hooked(build(case)) as model:
        form = model.implicit_attention(torch.tensor([[3, 5, 8, 13]]), case.layer, scope="core").form
        able = abilities.abilities_of(model, case.layer, form)
        with monkeypatch.context() as patched:
            patched.setattr(abilities.native, "misfit", lambda form, state=None: "there are no loops for it")
            patched.setattr("workbench.attention.operators.can_unroll", lambda form: False)
            patched.setattr(abilities, "_state_can_be_edited", lambda model, layer, tokens: False)
            less = abilities.abilities_of(model, case.layer, form)
        assert (able.kernels, able.statistics, able.state, able.pages) == ("CPU, GPU", "streamed", "yes", "all 8")
        assert (less.kernels, less.statistics, less.state, less.pages) == ("GPU", "in tiles", "–", "7, not State")
        monkeypatch.setattr(abilities, "at_steps", lambda edit, step: lambda state, hook: None)  # an edit that is lost
        assert not abilities._state_can_be_edited(model, case.layer, torch.tensor([[3, 5, 8, 13] * 5]))


def test_errors_are_the_worst_of_the_family_in_both_scopes() -> None:
    page = "\n".join(
        [
            "| family | model | core, float64 | core, float32 | mixer, float64 | mixer, float32 |",
            "| --- | --- | --- | --- | --- | --- |",
            "| a | one | 1e-16 | 2e-07 | 3e-16 |  |",
            "| a | two | 9e-17 | 1e-07 | 2e-16 | 8e-06 |",
            "| b | one | 1e-12 | 1e-03 | 1e-12 | 1e-03 |",
            "## Every number",
            "| a | core | plain | 1e+00 |",
        ]
    )
    assert abilities.errors(page) == {"a": "3e-16, 8e-06", "b": "1e-12, 1e-03"}
