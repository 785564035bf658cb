"""How compiled loops are built: what compilers lack, what goes wrong, where the results are kept."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from workbench.kernels.native import build

REAL = shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(REAL is None, reason="The compiled loops need a C++ compiler.")


def compiler(folder: Path, script: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_compiler_without_openmp_builds_loops_of_one_thread(tmp_path: Path) -> None:
    without = compiler(tmp_path, f'case "$*" in *-fopenmp*) echo no OpenMP >&2; exit 1;; esac; exec {REAL} "$@"')
    library = build.build("energies", tmp_path, without)
    assert ctypes.CDLL(str(library)).energies


def test_what_a_failing_compiler_says_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    failing = compiler(tmp_path, "echo the disk is full >&2; exit 1")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        build.build("energies", tmp_path, failing)
    assert caught.value.stderr == "the disk is full\n"
    assert [path.name for path in tmp_path.iterdir()] == ["compiler"]


def test_another_compiler_or_another_source_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch = compiler(tmp_path, 'while [ "$1" != -o ]; do shift; done; : > "$2"')
    first = build.build("energies", tmp_path, touch)
    shutil.copytree(build.FOLDER, tmp_path / "changed")
    with (tmp_path / "changed" / "lanes.h").open("a") as header:
        header.write("// changed\n")
    monkeypatch.setattr(build, "FOLDER", tmp_path / "changed")
    assert build.build("energies", tmp_path, touch) != first


def test_a_cache_that_cannot_be_written_gives_way_to_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("WORKBENCH_CACHE", str(blocked / "below"))
    monkeypatch.setattr(Path, "home", lambda: blocked)
    private = build.cache_directory()
    assert private.is_dir() and os.access(private, os.W_OK)
    assert private.stat().st_mode & 0o077 == 0
    assert build.cache_directory() == private
