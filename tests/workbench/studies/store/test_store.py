"""The folder of a study: its lock, its journal's format, full disks, read-only places, exports."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tests.workbench.studies.arithmetic import Inline, study, surveyor
from workbench.errors import InputError
from workbench.studies.coordinator import run_study
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.site import Target
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.store import export_results, read_results, study_status
from workbench.studies.store.locking import refuse_network, running_alone
from workbench.studies.store.records import edit_of, edit_text, prompt_of, prompt_text
from workbench.studies.store.schema import FORMAT


def run(folder: Path, count: int = 6) -> None:
    inputs = {"task": "repetition", "count": count}
    run_study(study(inputs=inputs), folder, progress=False, surveyor=surveyor(), engine=Inline())


def test_prompts_and_edits_come_back_as_they_were() -> None:
    prompt = Prompt((1, 2, 3), (1,), (5,), foils=((6, 7),), corrupt=(1, 9, 3), group="a/b", split="confirm", number=2)
    assert prompt_of(prompt_text(prompt)) == prompt
    targets = (Target("L1H2", "blocks.1.mixer.hook_z", 1, heads=(2,), size=64, more={"to": [1, 2]}),)
    site, method = {"kind": "heads", "layers": [0, 1]}, {"kind": "steer", "scale": 0.1}
    for positions in (None, "scored", "last", (3, -1)):
        edit = Edit("m", "f", targets, site, method, 0.1, positions, control_of="L1H3", round=2, seed=7)
        assert edit_of(edit_text(edit)) == edit and edit_of(edit_text(edit)).edit_id == edit.edit_id


@pytest.mark.parametrize(
    ("version", "reason"), [(FORMAT + 1, "by a newer workbench .*: upgrade"), (0, "from before studies were released")]
)
def test_a_journal_of_another_version_is_refused_with_the_reason(tmp_path: Path, version: int, reason: str) -> None:
    run(tmp_path)
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.execute(f"pragma user_version = {version}")
    database.close()
    for use in (read_results, study_status, run):
        with pytest.raises(InputError, match=reason):
            use(tmp_path)


def test_files_that_are_no_journal_are_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no study"):
        read_results(tmp_path)
    file = tmp_path / "journal.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("create table recipes (soup text)")
    database.close()
    before = file.read_bytes()
    for use in (read_results, run):
        with pytest.raises(InputError, match="SQLite file of something else"):
            use(tmp_path)
    assert file.read_bytes() == before
    file.write_bytes(b"not a database, but long enough to be taken for one" * 50)
    with pytest.raises(InputError, match="is damaged"):
        run(tmp_path)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_network_file_systems_are_refused_by_the_deepest_mount(tmp_path: Path, kind: str) -> None:
    inner = tmp_path / "my data" / "study"
    inner.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    outside = (
        f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path}/my\\040data {kind} rw 0 0\nserver:/y {tmp_path}/my nfs rw 0 0\n"
    )
    mounts.write_text(outside)
    with pytest.raises(InputError, match=f"network file system \\({kind}\\)"):
        refuse_network(inner, mounts)
    mounts.write_text(outside + "/dev/b " + str(inner).replace(" ", "\\040") + " ext4 rw 0 0\n")
    refuse_network(inner, mounts)
    refuse_network(inner, tmp_path / "no such list")


def test_the_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    with (
        running_alone(tmp_path),
        pytest.raises(InputError, match=f"process {os.getpid()} on "),
        running_alone(tmp_path),
    ):
        pass
    with running_alone(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        run(tmp_path / "file" / "study")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may pass 900 kB: to SQLite, a disk that fails while it grows."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run(tmp_path / "undisturbed", 40)
    request.getfixturevalue("small_files")
    with pytest.raises(InputError, match=os.strerror(errno.EFBIG)):
        run(tmp_path / "full", 40)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    before = study_status(tmp_path / "full").coverage.done
    run(tmp_path / "full", 40)
    assert 0 < before < read_results(tmp_path / "full").coverage.done
    pd.testing.assert_frame_equal(table(tmp_path / "full"), table(tmp_path / "undisturbed"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"A small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8_000_000))
    with pytest.raises(InputError, match=r"is full\. What was stored before is whole"):
        run(small_disk / "study", 40)
    before = study_status(small_disk / "study").coverage.done
    ballast.unlink()
    run(small_disk / "study", 40)
    assert read_results(small_disk / "study").coverage.done == 13 * 40 >= before
    run(tmp_path / "undisturbed", 40)
    pd.testing.assert_frame_equal(table(small_disk / "study"), table(tmp_path / "undisturbed"))


def table(folder: Path) -> pd.DataFrame:
    return read_results(folder).frame.drop(columns="attempt_id")


def test_a_read_only_folder_is_read(tmp_path: Path) -> None:
    run(tmp_path / "study")
    expected = table(tmp_path / "study")
    mounted = subprocess.run(
        ["mount", "--bind", "-o", "ro", tmp_path / "study", tmp_path / "study"], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"A read-only place cannot be mounted here: {mounted.stderr.strip()}")
    try:
        pd.testing.assert_frame_equal(table(tmp_path / "study"), expected)
        assert study_status(tmp_path / "study").finished
    finally:
        subprocess.run(["umount", tmp_path / "study"], check=True)


def test_exports_are_read_by_duckdb_and_as_csv(tmp_path: Path) -> None:
    run(tmp_path / "study")
    written = export_results(tmp_path / "study", tmp_path / "out")
    assert [path.name for path in written] == ["results.parquet", "results.csv", "attempts.csv"]
    frame = read_results(tmp_path / "study").frame
    rows = duckdb.sql(f"select label, avg(effect) as effect from '{written[0]}' group by label").df().set_index("label")
    assert rows["effect"].to_dict() == pytest.approx(frame.groupby("label")["effect"].mean().to_dict())
    assert pd.read_csv(written[1])["value"].tolist() == pytest.approx(frame["value"].tolist())
    assert export_results(tmp_path / "study", tmp_path / "one.parquet") == [tmp_path / "one.parquet"]
    assert not list(tmp_path.rglob("*.part"))
