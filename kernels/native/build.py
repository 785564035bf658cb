"""Compiles the C++ beside this file on first use, keeps what was built, and loads it.

A compiler is no requirement: where there is none, or where it fails, `library` says so once and returns None, and the
caller computes the same in PyTorch.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
# No -ffast-math: before version 13 GCC then links crtfastmath.o into a shared library, and loading that changes the
# rounding mode of the whole process. The vector types of lanes.h need no such flag.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared")
THREADED = (*FLAGS, "-fopenmp")  # tried first; Apple's compiler, for one, has no OpenMP
SOURCES = tuple(sorted(path.stem for path in FOLDER.glob("*.cpp")))

_forked = False


def _notice_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notice_fork)


def threads() -> int:
    """How many threads a compiled loop may use: torch's number, and one in a forked process.

    OpenMP's threads do not survive a fork; a parallel loop in the child would wait for them for ever.
    """
    return 1 if _forked else torch.get_num_threads()


def cache_directory() -> Path:
    """The first writable of ``$WORKBENCH_CACHE``, ``~/.cache/workbench`` and a private temporary directory."""
    named = os.environ.get("WORKBENCH_CACHE")
    for candidate in (Path(named) if named else None, Path.home() / ".cache" / "workbench"):
        if candidate is None:
            continue
        try:
            candidate.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(candidate, os.W_OK):
            return candidate
    return _private_directory()


@cache
def _private_directory() -> Path:
    # mkdtemp: a fixed name under /tmp could be planted by someone else, and we load what we find there.
    return Path(tempfile.mkdtemp(prefix="workbench-"))


def _processor() -> str:
    """What ``-march=native`` depends on, so that a cache on a shared home serves several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def build(name: str, directory: Path | None = None, compiler: str | None = None) -> Path:
    """Compile ``NAME.cpp`` unless the cache has it, and return the library's path.

    The file's name carries a hash of source, headers, flags, compiler and processor. The compiler writes to a private
    file that is renamed into place, so two processes that build at once both end with a whole library.

    Raises:
        FileNotFoundError: there is no C++ compiler.
        subprocess.CalledProcessError: the compiler failed; its message is in ``stderr``.
    """
    compiler = compiler or os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise FileNotFoundError("no C++ compiler (looked for $CXX, g++, clang++)")
    source = FOLDER / f"{name}.cpp"
    texts = [path.read_text() for path in (source, *sorted(FOLDER.glob("*.h")))]
    identity = "\0".join([*texts, *THREADED, compiler, platform.machine(), _processor()])
    target = (directory or cache_directory()) / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if target.exists():
        return target
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        print(f"workbench: compiling {name}.cpp for this processor, once; about ten seconds", file=sys.stderr)
    handle, partial = tempfile.mkstemp(suffix=".so", dir=target.parent)
    os.close(handle)

    def compiled(flags: tuple[str, ...]) -> None:
        command = [compiler, *flags, str(source), "-o", partial]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)

    try:
        try:
            compiled(THREADED)
        except subprocess.CalledProcessError:
            compiled(FLAGS)
        Path(partial).replace(target)
    finally:
        Path(partial).unlink(missing_ok=True)
    return target


@cache
def library(name: str) -> ctypes.CDLL | None:
    """The compiled library, or None where it cannot be built or loaded (which one line on stderr says, once).

    ``WORKBENCH_NO_CPP=1`` in the environment asks for None.
    """
    if os.environ.get("WORKBENCH_NO_CPP"):
        return None
    try:
        return ctypes.CDLL(str(build(name)))
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        _say_once(reason[0] if reason else str(error))
        return None


@cache
def _say_once(reason: str) -> None:
    print(f"workbench: fused CPU kernels not built ({reason}); using PyTorch", file=sys.stderr)


def pointer(tensor: torch.Tensor | None) -> int | None:
    """The address a compiled loop is given; None for what is not there."""
    return None if tensor is None else tensor.data_ptr()
