"""Environments that differ from this one in a few packages: everything else is read from the environment this runs in.

They lie under .matrix/, which git ignores. Nothing but the standard library is imported here, so that a program may
load this file by its path.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".matrix"


def overlay(name: str, wanted: Sequence[str], options: Sequence[str] = ()) -> Path:
    """The interpreter of the environment `name`, made unless it is there with the same packages.

    Args:
        wanted: requirements with their versions; nothing is resolved for them, so what they need in another version
            than here has to be named too.
        options: further options of ``pip install``.

    Raises:
        subprocess.CalledProcessError: pip cannot install them here; ``stderr`` says why.
    """
    folder = FOLDER / name
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if ready.exists() and ready.read_text().split() == [*wanted]:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", folder], check=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # Through site.addsitedir, which also reads the .pth file of the editable installation there.
    (own / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    try:
        subprocess.run([*install, *options, *wanted], check=True, stderr=subprocess.PIPE, text=True)
    except subprocess.CalledProcessError as failed:
        failed.add_note(failed.stderr)
        raise
    ready.write_text("\n".join(wanted))
    return python
