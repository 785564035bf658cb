"""What a row depends on: machine, versions, and the code that is measured."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks import ROOT
from benchmarks.records import Machine, Setting

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "workbench")
MEASURED = ("workbench", "kernels", "probes", "benchmarks")


def current(threads: int, root: Path = ROOT) -> Setting:
    """The setting of this machine, this environment and this tree."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = metadata.version(package)
    return Setting(machine=_machine(threads), versions=versions, code=code_hash(root))


def code_hash(root: Path) -> str:
    """Hash of every Python file in the rooms that are measured, names included."""
    digest = hashlib.sha256()
    for room in MEASURED:
        for path in sorted((root / room).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def commit(root: Path = ROOT) -> str:
    """Short name of the commit, with a plus sign where the tree differs from it; empty outside a repository."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return finished.stdout.strip()


def _machine(threads: int) -> Machine:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=len(usable),
        threads=threads,
        memory_gb=round(pages / 1e9, 1),
        system=f"{platform.system()} {platform.machine()}",
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        if fields.get("model name"):
            family, model = fields.get("cpu family", "?"), fields.get("model", "?")
            return f"{fields['model name']} (family {family}, model {model})"
    return platform.processor() or platform.machine()
