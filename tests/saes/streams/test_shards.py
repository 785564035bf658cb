"""Shards hold what the model gives, end up the same however often they were interrupted, and never fill a disk."""

import errno
import json
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file

import workbench as wb
from workbench.errors import InputError, LoadError, NotFiniteError
from workbench.saes import JointShardReader, ShardReader, Shards, VectorSite, read_rows, write_shards
from workbench.saes.streams import manifest, shards

# Every token comes once, so that a row says which token it is of; 0 is the mark of an end, and is not read.
TOKENS = (1 + torch.randperm(2047, generator=torch.Generator().manual_seed(1))[:330]).tolist()
LENGTHS = [30, 12, 41, 5, 1, 36, 24, 50, 13, 60, 27, 31]
DOCUMENTS = [TOKENS[sum(LENGTHS[:n]) : sum(LENGTHS[: n + 1])] for n in range(len(LENGTHS))]
SITE = "blocks.0.mixer.hook_in"
OPTIONS = {"length": 12, "windows": 3, "rows_per_shard": 50}


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """A folder that nothing ever happened to."""
    return write_shards(model, DOCUMENTS, SITE, tmp_path_factory.mktemp("whole"), **OPTIONS)


def contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def expected_rows(model, site=SITE):
    every = list(read_rows(model, DOCUMENTS, site, length=12, windows=3))
    return [torch.cat([rows.values[n] for rows in every]) for n in range(len(every[0].values))], every


def test_shards_hold_the_rows_of_the_text_in_its_order(model, whole):
    (values,), every = expected_rows(model)
    files = sorted(whole.folder.glob("*.safetensors"))
    assert [file.name for file in files] == [f"shard-{n:05d}.safetensors" for n in range(-(-len(values) // 50))]
    loaded = [load_file(file) for file in files]
    assert torch.equal(torch.cat([one[SITE] for one in loaded]), values)
    for name in ("document", "position"):
        assert torch.equal(torch.cat([one[name] for one in loaded]), torch.cat([getattr(rows, name) for rows in every]))
    assert len(whole) == len(values) and whole.manifest.finished
    assert torch.equal(whole.rows(1)[SITE], values[50:100])
    table = whole.table()
    assert table["rows"].tolist() == [50] * (len(values) // 50) + [len(values) % 50]
    assert table["bytes"].tolist() == [file.stat().st_size for file in files]
    about = json.loads((whole.folder / "manifest.json").read_text())["about"]
    assert about["model"] == model.cfg.model_name and about["sites"][0]["hook"] == SITE
    assert [str(site) for site in whole.sites] == [SITE]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_are_rounded_to_the_dtype_that_is_asked_for(model, tmp_path, dtype):
    (values,), _ = expected_rows(model)
    found = write_shards(model, DOCUMENTS, SITE, tmp_path, dtype=dtype, **OPTIONS)
    assert torch.equal(found.rows(0)[SITE], values[:50].to(dtype))
    batch = next(ShardReader(tmp_path, batch=16))
    assert batch.dtype == torch.float32
    assert all((values.to(dtype).float() == row).all(1).any() for row in batch)


def test_several_sites_are_written_and_read_side_by_side(model, tmp_path):
    basis = torch.linalg.qr(torch.randn(128, 4))[0].T
    sites = [SITE, VectorSite.of(model, "blocks.0.hook_resid_post", basis=basis)]
    found = write_shards(model, DOCUMENTS, sites, tmp_path, **OPTIONS)
    (x, y), _ = expected_rows(model, sites)
    assert found.widths == (128, 4)
    torch.testing.assert_close(found.sites[1].basis, basis)
    order = {tuple(row.tolist()): n for n, row in enumerate(x)}
    count = 0
    for one, other in JointShardReader(tmp_path, batch=32):
        assert torch.equal(other, y[[order[tuple(row.tolist())] for row in one]])
        count += len(one)
    assert count == len(x)
    (tmp_path / "bases.safetensors").write_bytes(shards.save({str(sites[1]): -basis.contiguous()}))
    with pytest.raises(LoadError, match="does not hold the basis that"):
        print(Shards(tmp_path).sites)
    with pytest.raises(InputError, match="holds 2 sites; JointShardReader reads them"):
        ShardReader(tmp_path)
    with pytest.raises(InputError, match="Each site is written once"):
        write_shards(model, DOCUMENTS, [SITE, SITE], tmp_path / "twice", **OPTIONS)


def test_a_reader_gives_all_rows_shuffled_every_epoch_and_goes_on_anywhere(model, whole, monkeypatch):
    monkeypatch.setattr("workbench.saes.streams.shard_reader.CHUNK_BYTES", 7 * 128 * 4)
    monkeypatch.setattr("workbench.saes.streams.shard_reader.TOGETHER", 3)
    (values,), _ = expected_rows(model)

    def reader(**options):
        return ShardReader(whole.folder, batch=20, **{"buffer_bytes": 60_000, "seed": 4, "epochs": 2, **options})

    first = reader()
    states, batches = [first.state()], []
    for batch in first:
        assert first.nbytes <= 60_000
        batches.append(batch)
        states.append(json.loads(json.dumps(first.state())))
    every = torch.cat(batches)
    number = {tuple(row.tolist()): n for n, row in enumerate(values)}
    order = [number[tuple(row.tolist())] for row in every]
    size = len(values)
    assert sorted(order) == sorted([*range(size), *range(size)])  # a block may hold the end of an epoch and the next
    assert order[:size] != order[size:]
    once = [number[tuple(row.tolist())] for row in torch.cat(list(reader(epochs=1)))]
    assert sorted(once) == list(range(size)) and once[:200] == order[:200]
    # A batch has rows of several shards, though the buffer holds fewer rows than there are.
    assert first._blocks.capacity < size
    assert all(len({n // 50 for n in order[at : at + 20]}) >= 2 for at in range(0, 2 * size - 20, 20))
    for at in (0, 3, len(batches) // 2, len(batches) - 1):
        again = reader()
        again.resume(states[at])
        assert all(torch.equal(one, other) for one, other in zip(again, batches[at:], strict=True))
    assert not torch.equal(next(reader(seed=5)), batches[0])
    with pytest.raises(InputError, match="seed was 4 and is 5"):
        reader(seed=5).resume(states[3])


def test_a_damaged_shard_is_named(whole, tmp_path):
    for damage, sentence in [("flip", "is not what was written: its SHA-256"), ("remove", "cannot be read")]:
        folder = tmp_path / damage
        shutil.copytree(whole.folder, folder)
        path = folder / "shard-00001.safetensors"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data) if damage == "flip" else path.unlink()
        with pytest.raises(LoadError, match=rf"shard-00001\.safetensors {sentence}"):
            list(ShardReader(folder, batch=16))
        with pytest.raises(LoadError, match="shard-00001"):
            Shards(folder).verify()
    whole.verify()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "holds no activations"),
        ("{", "no manifest of activations"),
        ('{"format": "x", "about": {}, "names": ["a"], "dtype": "float32", "rows_per_shard": 1}', "of the format"),
    ],
)
def test_a_folder_of_something_else_is_one_sentence(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LoadError, match=sentence) as refused:
        ShardReader(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_manifest_cannot_lead_out_of_its_folder(whole, tmp_path):
    text = (whole.folder / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace("shard-00000", "../shard-00000"))
    with pytest.raises(LoadError, match="names a shard outside its folder"):
        Shards(tmp_path)


CHILD = """
    import os, resource, signal, sys
    import workbench as wb
    from workbench.errors import InputError
    from workbench.saes import write_shards
    from workbench.saes.streams import shards
    from tests.saes.streams.test_shards import OPTIONS, SITE, DOCUMENTS

    model = wb.load("zoo:attention")
    small, killed = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        write_shards(model, DOCUMENTS, SITE, small, **OPTIONS)
    except InputError as error:
        print(error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    whole = shards.write_file

    def dying(path, data):
        if path.name == "shard-00002.safetensors":
            path.with_name(f".{path.name}.part").write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole(path, data)

    shards.write_file = dying
    write_shards(model, DOCUMENTS, SITE, killed, **OPTIONS)
"""


def test_a_killed_or_cut_off_run_ends_with_the_same_files(model, whole, tmp_path):
    small, killed = tmp_path / "small", tmp_path / "killed"
    child = [sys.executable, "-c", textwrap.dedent(CHILD), str(small), str(killed)]
    ended = subprocess.run(child, capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr
    # A file of more than 20,000 bytes could not be written: what a full disk looks like to the writer.
    assert ended.stdout.strip() == (
        f"The disk is full: 0 whole shards with 0 rows are in {small}; the same call goes on from there when there is "
        "room."
    )
    assert [file.name for file in small.iterdir()] == ["manifest.json"]
    assert (killed / ".shard-00002.safetensors.part").exists()
    assert len(Shards(killed)) == 100 and not Shards(killed).manifest.finished
    Shards(killed).verify()
    (killed / ".manifest.json.x.part").write_text("half of a man")
    for folder in (small, killed):
        write_shards(model, DOCUMENTS, SITE, folder, **OPTIONS)
        assert contents(folder) == contents(whole.folder)


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("after", [False, True])
def test_a_run_goes_on_wherever_it_stopped(model, whole, tmp_path, monkeypatch, at, after):
    """Killed before a shard is there, or after it is and before the manifest knows."""
    written = shards.write_file

    class Killed(BaseException):
        pass

    def dying(path, data):
        if after:
            written(path, data)
        if path.name == f"shard-{at:05d}.safetensors":
            raise Killed
        if not after:
            written(path, data)

    monkeypatch.setattr(shards, "write_file", dying)
    with pytest.raises(Killed):
        write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)
    monkeypatch.undo()
    again = write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)
    assert contents(tmp_path) == contents(whole.folder)
    assert again.manifest.finished


def test_a_disk_that_fills_keeps_what_was_written(model, whole, tmp_path, monkeypatch):
    real = manifest.os.fsync

    def full(handle):
        if len(list(tmp_path.glob("shard-*"))) == 2 and list(tmp_path.glob(".shard*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(manifest.os, "fsync", full)
    with pytest.raises(InputError, match=r"^The disk is full: 2 whole shards with 100 rows are in .*\.$"):
        write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)
    assert {file.name for file in tmp_path.iterdir()} == {
        "manifest.json",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    }
    Shards(tmp_path).verify()
    monkeypatch.undo()
    write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)
    assert contents(tmp_path) == contents(whole.folder)


def test_a_budget_is_refused_before_a_row_is_read(model, tmp_path, monkeypatch):
    total = len(expected_rows(model)[0][0])
    monkeypatch.setattr("workbench.saes.streams.reading.Reading.read", None)  # nothing may be read
    with pytest.raises(InputError, match=rf"^About {total} rows of 128 numbers in float32 take \d+ bytes, and 10000 "):
        write_shards(model, DOCUMENTS, SITE, tmp_path / "a", disk_budget=10_000, **OPTIONS)
    with pytest.raises(InputError, match="enough for rows=13"):
        write_shards(model, DOCUMENTS, SITE, tmp_path / "a", rows=30, disk_budget=10_000, **OPTIONS)
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 900))
    with pytest.raises(InputError, match="and the disk has room for 900 bytes more"):
        write_shards(model, DOCUMENTS, SITE, tmp_path / "a", **OPTIONS)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_budget_holds_where_nobody_knew_how_much_there_is(model, whole, tmp_path):
    budget = 2 * whole.manifest.shards[0].bytes + len(whole.manifest.text())
    with pytest.raises(InputError, match=r"The disk budget of \d+ bytes is used up: 2 whole shards with 100 rows are"):
        write_shards(model, lambda: iter(DOCUMENTS), SITE, tmp_path, seed=None, disk_budget=budget, **OPTIONS)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= budget
    more = write_shards(model, lambda: iter(DOCUMENTS), SITE, tmp_path, seed=None, disk_budget=10**7, **OPTIONS)
    assert len(more) == len(whole)


def test_a_number_that_is_none_names_its_shard_and_row_and_keeps_the_shards_before_it(model, tmp_path):
    _, every = expected_rows(model)
    documents = torch.cat([rows.document for rows in every])
    positions = torch.cat([rows.position for rows in every])
    document, position = int(documents[137]), int(positions[137])
    token = DOCUMENTS[document][position]
    weight = model.layout.embed.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[token] = torch.nan
        where = rf"is NaN at token {position} of document {document}, which would be row 37 of shard 2; 2 whole shards"
        with pytest.raises(NotFiniteError, match=where):
            write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)
    finally:
        with torch.no_grad():
            weight.copy_(before)
    assert len(Shards(tmp_path)) == 100
    Shards(tmp_path).verify()


def test_what_float16_cannot_hold_is_refused(model, tmp_path):
    weight = model.layout.embed.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight *= 1e6
        with pytest.raises(NotFiniteError, match=r"hook_embed of .* is too large for float16, which would be row 0 of"):
            write_shards(model, DOCUMENTS, "hook_embed", tmp_path, dtype=torch.float16, **OPTIONS)
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_a_reader_stops_at_a_row_that_is_not_finite(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "a")
    path = tmp_path / "a" / "shard-00001.safetensors"
    tensors = load_file(path)
    tensors[SITE][7, 3] = torch.nan
    path.write_bytes(shards.save(tensors))
    text = json.loads((tmp_path / "a" / "manifest.json").read_text())
    text["shards"][1]["sha256"] = manifest.sha256_of(path)
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(text))
    with pytest.raises(NotFiniteError, match=rf"Row 7 of shard-00001\.safetensors is NaN or infinite at {SITE}"):
        list(ShardReader(tmp_path / "a", batch=16))


def test_a_folder_takes_more_rows_of_the_same_and_nothing_else(model, whole, tmp_path, monkeypatch):
    few = write_shards(model, DOCUMENTS, SITE, tmp_path, rows=70, **OPTIONS)
    assert len(few) == 70 and few.manifest.finished
    write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)
    assert contents(tmp_path) == contents(whole.folder)
    for other, sentence in [
        ({"site": "blocks.0.mixer.hook_out"}, "sites differ"),
        ({"dtype": torch.float16}, "dtype was float32 and is float16"),
        ({"drop_first": 1}, "drop_first was 0 and is 1"),
        ({"rows": 60}, "more than the 60 that are asked for"),
    ]:
        with pytest.raises(InputError, match=sentence):
            write_shards(model, DOCUMENTS, other.pop("site", SITE), tmp_path, **OPTIONS, **other)
    assert contents(tmp_path) == contents(whole.folder)
    monkeypatch.setattr("workbench.saes.streams.reading.Reading.read", None)
    assert len(write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)) == len(whole)  # nothing is left to be read
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"holds shard-00000\.safetensors and no manifest"):
        write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)


def test_one_process_writes_at_a_time(model, tmp_path):
    with manifest.writing_alone(tmp_path), pytest.raises(InputError, match="Another process is writing to"):
        write_shards(model, DOCUMENTS, SITE, tmp_path, **OPTIONS)


def test_a_folder_that_cannot_be_written_to_is_one_sentence(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/deeper cannot be written to: Not a directory\.$"):
        write_shards(model, DOCUMENTS, SITE, tmp_path / "file" / "deeper", **OPTIONS)
    with pytest.raises(InputError, match="at least one row is written"):
        write_shards(model, DOCUMENTS, SITE, tmp_path / "a", rows=0, **OPTIONS)
    with pytest.raises(InputError, match="dtype is int8; activations are written in float32, float16, bfloat16"):
        write_shards(model, DOCUMENTS, SITE, tmp_path / "a", dtype=torch.int8, **OPTIONS)
