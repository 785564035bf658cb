"""What a row depends on: machine, versions, and the code that is measured."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks import ROOT, peers
from benchmarks.race import Race
from benchmarks.records import Machine, Setting

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "workbench")
MEASURED = ("workbench", "kernels", "probes", "benchmarks")
SOURCES = (".py", ".cpp", ".h")


def current(race: Race, threads: int | None = None, root: Path = ROOT) -> Setting:
    """The setting of a race on this machine and this tree, in the environment it runs in."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = metadata.version(package)
    if race.environment is not None:
        versions |= peers.versions(race.environment)
    device = ""
    if race.device == "cuda":
        import torch

        device = torch.cuda.get_device_name()
    machine = _machine(race.threads if threads is None else threads, device)
    return Setting(machine=machine, versions=versions, code=code_hash(root))


def code_hash(root: Path) -> str:
    """Hash of every source file in the rooms that are measured, names included."""
    digest = hashlib.sha256()
    for room in MEASURED:
        for path in sorted(path for path in (root / room).rglob("*") if path.suffix in SOURCES):
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


def _machine(threads: int, device: str) -> Machine:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=len(usable),
        threads=threads,
        memory_gb=round(pages / 1e9, 1),
        system=f"{platform.system()} {platform.machine()}",
        device=device,
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
