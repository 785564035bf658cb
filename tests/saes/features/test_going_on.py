"""A pass that is killed, starved of disk or asked for something else; texts that are hostile, tiny or empty."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.saes.features.planted import TEXTS, handmade
from workbench.errors import InputError
from workbench.saes import FeatureStore, collect_features
from workbench.saes.features import shards
from workbench.saes.features.ledger import Ledger, locked
from workbench.saes.features.pieces import Pieces

OPTIONS = {"shard_tokens": 150, "windows": 2, "length": 32, "neurons": "blocks.2.mlp.hook_post"}


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:gru")


@pytest.fixture(scope="module")
def sae(model):
    return handmade(model, k=4, d_sae=80)


@pytest.fixture(scope="module")
def whole(model, sae, tmp_path_factory):
    return collect_features(model, sae, TEXTS, tmp_path_factory.mktemp("whole"), **OPTIONS)


def files(store):
    return {file.relative_to(store.folder): file for file in sorted(store.folder.rglob("*.parquet"))}


def assert_equal(one, other):
    assert files(one).keys() == files(other).keys()
    for name, file in files(one).items():
        assert file.read_bytes() == files(other)[name].read_bytes(), name


def test_a_pass_that_stops_at_any_place_goes_on_to_the_same_bits(model, sae, whole, tmp_path, monkeypatch):
    writes = []
    write = shards.write_parquet

    def broken(at):
        def writing(file, columns, **more):
            writes.append(file)
            if len(writes) == at:
                raise KeyboardInterrupt
            return write(file, columns, **more)

        return writing

    from workbench.saes.features import tables

    for at in (1, 4, 3, 2, 5, 3):
        writes.clear()
        monkeypatch.setattr(shards, "write_parquet", broken(at))
        monkeypatch.setattr(tables, "write_parquet", broken(at))
        with pytest.raises(KeyboardInterrupt):
            collect_features(model, sae, TEXTS, tmp_path, **OPTIONS)
        store = FeatureStore(tmp_path)
        assert not store.info.finished
        with pytest.raises(InputError, match=f"{store.info.shards} shards of {store.info.tokens} tokens are done"):
            store.features()
    monkeypatch.undo()
    again = []
    monkeypatch.setattr(shards, "sparse_codes", lambda *given: again.append(given))
    store = collect_features(model, sae, TEXTS, tmp_path, **OPTIONS)
    assert not again and store.info.finished  # of the shards that were done nothing is computed again
    assert_equal(store, whole)


def test_a_killed_process_loses_at_most_a_shard(sae, whole, tmp_path, model):
    script = (
        "import time, workbench as wb\n"
        "from tests.saes.features.planted import TEXTS, handmade\n"
        "from workbench.saes.features import collecting, shards\n"
        "write = shards.Draft.write\n"
        "def slow(self, *given):\n"
        "    write(self, *given)\n"
        "    time.sleep(30 if self.number == 2 else 0)\n"
        "shards.Draft.write = slow\n"
        "model = wb.load('zoo:gru')\n"
        f"collecting.collect_features(model, handmade(model, k=4, d_sae=80), TEXTS, {str(tmp_path)!r}, **{OPTIONS!r})\n"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    file = shards.codes_file(tmp_path, 2)
    for _ in range(1200):
        if file.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    with pytest.raises(InputError, match="Another process is writing"), locked(tmp_path):
        pass
    assert FeatureStore(tmp_path).info.shards == 2  # read while the pass goes on
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert FeatureStore(tmp_path).info.shards == 2
    assert_equal(collect_features(model, sae, TEXTS, tmp_path, **OPTIONS), whole)


def test_a_full_disk_is_one_sentence_and_what_is_done_is_kept(model, sae, whole, tmp_path, monkeypatch):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = shards.Draft.write

    def late(self, *given):
        if self.number == 2:
            # Nothing in this process can now write past so many bytes, as on a disk that is full.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        write(self, *given)

    monkeypatch.setattr(shards.Draft, "write", late)
    try:
        with pytest.raises(InputError, match=r"could not be written .* what was done before is kept"):
            collect_features(model, sae, TEXTS, tmp_path, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    monkeypatch.undo()
    assert FeatureStore(tmp_path).info.shards == 2
    assert not list(tmp_path.rglob("*.part"))
    assert_equal(collect_features(model, sae, TEXTS, tmp_path, **OPTIONS), whole)


def test_a_disk_budget_is_kept_to_at_every_file_and_a_larger_one_goes_on(model, sae, tmp_path):
    options = {**OPTIONS, "neurons": None}
    whole = collect_features(model, sae, TEXTS, tmp_path / "whole", **options)
    size, some = taken(whole.folder), tmp_path / "some"
    kept = []
    for budget in (size // 2, 3 * size // 4, size - 2000):
        with pytest.raises(InputError, match=rf"disk budget of {budget} bytes for .* is used up: .* does not fit"):
            collect_features(model, sae, TEXTS, some, disk_budget=budget, **options)
        kept.append(taken(some))
        assert kept[-1] <= budget and not list(some.rglob("*.part"))
    assert kept == sorted(kept) and kept[-1] > kept[0] > 0
    assert_equal(collect_features(model, sae, TEXTS, some, disk_budget=2 * size, **options), whole)
    with pytest.raises(InputError, match="the autoencoder does not fit"):
        collect_features(model, sae, TEXTS, tmp_path / "small", disk_budget=1000, **options)
    with pytest.raises(InputError, match="what correlations are made of does not fit"):
        collect_features(model, sae, TEXTS, tmp_path / "sums", disk_budget=size, **OPTIONS)


def taken(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_pass_that_will_clearly_not_fit_ends_after_its_first_shard(model, sae, tmp_path):
    files = {"shard_tokens": 64, "windows": 2, "length": 32}
    first = collect_features(model, sae, TEXTS, tmp_path / "first", tokens=64, **files)
    small = taken(first.folder)
    with pytest.raises(InputError, match=r"The whole pass takes about .* enough for about tokens=\d+, in another"):
        collect_features(model, sae, TEXTS * 300, tmp_path / "all", disk_budget=2 * small, **files)
    assert FeatureStore(tmp_path / "all").info.shards == 1
    with pytest.raises(InputError, match="at least one is needed"):
        collect_features(model, sae, TEXTS, tmp_path / "none", disk_budget=0, **files)


def test_what_is_changed_is_refused_by_name(model, sae, whole, tmp_path):
    other = handmade(model, k=4, d_sae=80)
    other.W_enc[0, 0] += 1e-3
    folder = whole.folder

    def refused(match, model=model, sae=sae, texts=TEXTS, **more):
        with pytest.raises(InputError, match=match):
            collect_features(model, sae, texts, folder, **{**OPTIONS, **more})

    refused("weights of the autoencoder are others", sae=other)
    refused("top was 20 and is 5", top=5)
    refused("The text is another .*: shard 0 differs", texts=["Another text. " * 200])
    with torch.no_grad():
        weight = next(iter(model.wrapped.parameters()))
        before = weight.clone()
        weight.view(-1)[0] += 0.5
        try:
            refused("weights of the model are others")
        finally:
            weight.copy_(before)
    with pytest.raises(InputError, match="this autoencoder takes"):
        collect_features(
            model, handmade(model, k=4, d_sae=80, hook="blocks.1.mlp.hook_post"), TEXTS, folder, site=sae.site(model)
        )
    assert collect_features(model, sae, TEXTS, folder, **OPTIONS).info == whole.info
    rows = torch.arange(18 * 32).view(18, 32)
    folder = tmp_path
    collect_features(model, sae, rows, folder, **OPTIONS)
    refused("it ends after 2 of 3 shards", texts=rows[:12])


def test_texts_that_are_empty_or_tiny(model, sae, tmp_path):
    with pytest.raises(InputError, match="no text"):
        collect_features(model, sae, [""], tmp_path / "empty", length=32)
    with pytest.raises(InputError, match="No token of the text is read"):
        collect_features(model, sae, ["a"], tmp_path / "short", length=32, first=8)
    store = collect_features(model, sae, ["Hello"], tmp_path / "tiny", length=32)
    assert store.info.tokens == len(model.to_tokens("Hello")[0]) and store.info.dead > 60
    assert store.search("ello", "examples")["hits"].max() >= 1
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="is no feature store"):
        FeatureStore(tmp_path / "other")
    with pytest.raises(InputError, match="bands is 0"):
        collect_features(model, sae, TEXTS, tmp_path / "x", bands=0)
    ledger = Ledger(store.folder, write=True)
    ledger.note(format=99)
    ledger.close()
    with pytest.raises(InputError, match="format 99"):
        FeatureStore(store.folder)


HOSTILE = (
    "<script>alert('x')</script> $x^2$ **bold** :red[x] [red]no[/] \x00\x07\x1b[31m\r\n\t"
    "\u202eright\u202c to left: שלום \u0627\u0644\u0639\u0627\u0644\u0645 "
    "\u200bzero\u2060width 漢字 🙂👩‍👩‍👧 e\u0301 '; drop table features; -- %s {0} ñandú "
)


def test_hostile_text_comes_back_exactly_and_is_found_as_it_stands(model, sae, tmp_path):
    store = collect_features(model, sae, [HOSTILE * 2], tmp_path, length=512, context=(600, 600))
    ids, tokens = store.row(0)
    assert "".join(tokens) == HOSTILE * 2 == model.tokens.decode(ids)
    feature = int(store.features()["count"].idxmax())
    example = store.examples(feature, "top")[0]
    assert example.text == HOSTILE * 2
    assert store.query("select text from rows")["text"][0] == HOSTILE * 2
    for needle in ("</script>", "'; drop table", "שלום", "\u202eright", "👩‍👩‍👧", "%s {0}", "\x1b[31m"):
        assert store.search(needle, "examples", limit=500)["hits"].sum() > 0, needle
        assert store.search(needle.upper(), "examples", case=True).empty or needle.upper() == needle
    assert store.search("<SCRIPT>", "examples", limit=500)["hits"].sum() > 0
    assert store.search("%", "examples")["hits"].sum() > 0 and store.search("no such text").empty
    with pytest.raises(InputError, match="nothing to search for"):
        store.search("")
    with pytest.raises(InputError, match="The query fails"):
        store.query("select nothing from nowhere")


def test_search_says_who_fires_on_the_text(model, sae, whole):
    found = whole.search("water", "examples", limit=500)
    examples = {
        feature: [one for one in whole.examples(feature) if one.band != "silent" and "water" in one.text.lower()]
        for feature in range(80)
    }
    assert dict(zip(found["feature"], found["hits"], strict=True)) == {
        feature: len(held) for feature, held in examples.items() if held
    }
    for feature, at_peak in zip(found["feature"], found["at_peak"], strict=True):
        want = 0
        for one in examples[feature]:
            starts = [at for at in range(len(one.text)) if one.text.lower().startswith("water", at)]
            low = len("".join(one.tokens[: one.peak]))
            high = low + len(one.tokens[one.peak])
            want += any(start < high and start + 5 > low for start in starts)
        assert at_peak == want
    assert (found["at_peak"] > 0).any() and (found["at_peak"] == 0).any()


def test_pieces_of_one_character_stand_on_its_last_token(model):
    pieces = Pieces(model)
    for text in ("a漢b", "👩", "x שלום"):
        ids = model.tokens.encode(text, prepend_bos=False)[0][0].tolist()
        row = pieces.row(ids)
        assert "".join(row) == text and len(row) == len(ids)
    ids = model.tokens.encode("漢", prepend_bos=False)[0][0].tolist()
    assert len(ids) > 1 and pieces.row(ids)[:-1] == [""] * (len(ids) - 1)


def test_bytes_that_are_no_character_are_named_and_everything_else_is_not(model):
    pieces = Pieces(model)
    text = "漢 café — 👩"
    ids = model.tokens.encode(text, prepend_bos=False)[0][0].tolist()
    alone = [pieces.token(token) for token in ids]
    assert alone[:3] == ["<0xE6>", "<0xBC>", "<0xA2>"] and "".join(pieces.row(ids)) == text
    named = "".join(alone)
    raw = b"".join(
        bytes([int(part[3:5], 16)]) if part.startswith("<0x") else part.encode()
        for part in re.split(r"(<0x..>)", named)
    )
    assert raw.decode() == text
    assert all("\ufffd" not in pieces.token(token) for token in range(model.cfg.d_vocab))
