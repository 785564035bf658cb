"""A hub id is told to be on this machine from the hub's cache alone; fetching it counts bytes and can be ended."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.app.serving import Workspace
from workbench.app.serving.hub import fetch, is_fetched
from workbench.app.serving.jobs import Cancelled
from workbench.app.serving.sources import Sources
from workbench.errors import InputError

NAME = "someone/model"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub's cache keeps the files of `NAME`."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    folder = cache / "models--someone--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    return folder / "snapshots" / "abc"


def test_weights_must_be_there_not_settings_alone(snapshot: Path) -> None:
    assert not is_fetched(NAME)
    (snapshot / "config.json").write_text("{}")
    assert not is_fetched(NAME)
    (snapshot / "model.safetensors").touch()
    assert is_fetched(NAME) and not is_fetched("someone/other")


def test_every_part_of_the_weights_must_be_there(snapshot: Path) -> None:
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})
    )
    (snapshot / "1.safetensors").touch()
    assert not is_fetched(NAME)
    (snapshot / "2.safetensors").touch()
    assert is_fetched(NAME)


def downloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub is asked for; nothing really is. It writes 100 bytes of 300, then the rest."""
    asked: dict[str, Any] = {}

    def snapshot_download(source: str, **options: Any) -> None:
        asked.update(options, source=source, written=0)
        bar = options["tqdm_class"](total=300, name="huggingface_hub.snapshot_download", unit="B")
        others = options["tqdm_class"](total=3, desc="Fetching 3 files")
        for size in (100, 200):
            bar.update(size)
            others.update(1)
            asked["written"] += size

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


def test_a_download_tells_its_bytes_and_takes_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = downloads(monkeypatch), []
    fetch(NAME, lambda done, total: told.append((done, total)))
    assert asked["source"] == NAME and told == [(100, 300), (300, 300)]
    assert "*.safetensors" in asked["allow_patterns"] and not any(
        "bin" in one or "pt" in one for one in asked["allow_patterns"]
    )


def test_a_download_ends_where_its_listener_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = downloads(monkeypatch)

    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        fetch(NAME, stop)
    assert asked["written"] == 0


def test_no_connection_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="someone/model could not be downloaded: the hub cannot be reached"):
        fetch(NAME, lambda done, total: None)


def test_what_the_app_was_started_with_is_no_question(tmp_path: Path) -> None:
    sources = Sources(Workspace(tmp_path), ["gpt2"])
    (tmp_path / "mine").mkdir()
    assert [sources.at_hub(sources.checked(one)) for one in ("gpt2", "zoo:mamba", "mine", NAME)] == [False] * 3 + [True]
