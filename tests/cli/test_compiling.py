"""``workbench compile``."""

import json
import sys
from pathlib import Path

import pytest

from workbench.kernels.native import build


def test_compile_builds_every_source_once(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if build.library("convolution") is None:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "SOURCES", ("convolution", "energies"))
    for _ in range(2):
        result = run("compile", "--json", "-")
        assert result.exit_code == 0, result.output
    names = [row["kernels"] for row in json.loads(result.stdout)["compiled"]]
    assert names == ["convolution", "energies"]
    files = {Path(row["file"]) for row in json.loads(result.stdout)["compiled"]}
    assert files == set(tmp_path.iterdir())


def test_without_a_compiler_one_sentence_says_so(refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # of another test: a notebook is told what is compiled
    assert "not compiled" in refused("compile")


def test_every_source_is_known() -> None:
    assert set(build.SOURCES) == {path.stem for path in build.FOLDER.glob("*.cpp")} != set()
