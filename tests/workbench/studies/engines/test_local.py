"""The engine of this machine: real processes, whose models are sums."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from tqdm.std import TqdmDefaultWriteLock, tqdm

from tests.workbench.studies.arithmetic import Inline, SumWorker, study, surveyor
from workbench.errors import InputError, LoadError
from workbench.studies.coordinator import run_study
from workbench.studies.engines.local import LocalEngine, _Member
from workbench.studies.engines.protocol import Assignment, Outcome, Work
from workbench.studies.store import read_results

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spawned processes look for this module where their parent does."""
    monkeypatch.syspath_prepend(str(ROOT))


class Signed(SumWorker):
    """Says which process it is in, and takes its time."""

    def run(self, assignment: Assignment) -> Outcome:
        time.sleep(0.02)
        assert not isinstance(tqdm.get_lock(), TqdmDefaultWriteLock), "a semaphore would be left behind"
        whole = super().run(assignment)
        whole.worker.update(pid=os.getpid(), threads=int(os.environ["OMP_NUM_THREADS"]))
        return whole


class Deadly(Signed):
    """Dies over one head, and raises over another."""

    def run(self, assignment: Assignment) -> Outcome:
        labels = {target.label for edit in assignment.edits for target in edit.targets}
        if "L0H0" in labels and assignment.prompts[0].tokens[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if "L1H1" in labels:
            raise RuntimeError("shapes do not match\nand much more")
        return super().run(assignment)


class Unloadable(SumWorker):
    """Cannot load its model."""

    def __init__(self, work: Work) -> None:
        raise LoadError("zoo:attention is not on this machine.")


class Stillborn(SumWorker):
    """Dies while it loads its model."""

    def __init__(self, work: Work) -> None:
        os._exit(3)


def test_two_processes_of_which_one_is_killed_come_to_what_one_comes_to(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            found = read_pids(tmp_path / "local")
            if len(found) == 2:
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    options = study(inputs={"task": "repetition", "count": 40}, run={"batch_tokens": 32, "workers": 2, "threads": 1})
    maker = partial(LocalEngine, runner=Signed)
    summary = run_study(
        *(options, tmp_path / "local"),
        progress=False,
        surveyor=surveyor(),
        engine=lambda run: maker(run.workers, run.threads),
    )
    killer.join(10.0)
    assert summary.complete and summary.differing == 0 and len(killed) == 1
    run_study(options, tmp_path / "inline", progress=False, surveyor=surveyor(), engine=Inline())
    found, expected = (read_results(tmp_path / name) for name in ("local", "inline"))
    pd.testing.assert_frame_equal(found.frame.drop(columns="attempt_id"), expected.frame.drop(columns="attempt_id"))
    assert killed[0] in set(found.attempts["pid"]) and len(set(found.attempts["pid"])) >= 2
    assert set(found.attempts["threads"]) == {1}
    assert not multiprocessing.active_children()


def read_pids(folder: Path) -> list[int]:
    """Processes that have computed something."""
    try:
        return list(dict.fromkeys(read_results(folder).attempts["pid"]))
    except InputError:
        return []


def test_a_chunk_that_kills_is_given_up_with_the_reason_and_one_that_raises_at_once(tmp_path: Path) -> None:
    summary = run_study(
        *(study(run={"batch_tokens": 32, "retries": 1}), tmp_path),
        progress=False,
        surveyor=surveyor(),
        engine=lambda run: LocalEngine(1, 1, Deadly),
    )
    assert summary.ended == "done" and not summary.complete
    assert set(summary.coverage.reasons) == {
        "2 workers died over it: a worker was killed by SIGKILL, as when memory runs out",
        "RuntimeError: shapes do not match",
    }
    frame = read_results(tmp_path).frame
    assert "L1H1" not in set(frame["label"]) and len(frame[frame["label"] == "L2H0"]) == 6
    assert "group 0" not in set(frame.loc[frame["label"] == "L0H0", "group"])


def test_a_worker_that_cannot_load_its_model_ends_the_run_with_its_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not on this machine"):
        run_study(
            *(study(), tmp_path), progress=False, surveyor=surveyor(), engine=lambda run: LocalEngine(1, 1, Unloadable)
        )
    assert not multiprocessing.active_children()


def test_workers_that_die_while_they_start_are_not_replaced_for_ever(tmp_path: Path) -> None:
    engine = LocalEngine(1, 1, Stillborn)
    with pytest.raises(InputError, match="3 workers in a row died while they started: a worker ended with exit code 3"):
        engine.start(Work(study(), {}, {}, None, 1))
    engine.close()


def test_workers_end_with_their_coordinator_however_that_ends() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        engine = LocalEngine(1, 1, SumWorker)
        engine.start(Work(study(), {}, {}, None, 1))
        os.write(writing, f"{multiprocessing.active_children()[0].pid}\n".encode())
        time.sleep(60.0)
        os._exit(1)
    os.close(writing)
    worker = int(os.read(reading, 100))
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 30.0
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_is_given_chunks_of_prompts_that_it_knows() -> None:
    engine = LocalEngine(2, 1)
    prompts = surveyor()(study(), study().models[0], Path()).prompts[:4]
    for layer in range(6):
        for number, prompt in enumerate(prompts):
            engine.submit(Assignment(f"{layer} {number}", "attention", (), (prompt,), ("loss",)))
    given: list[list[int]] = [[], []]
    ends = []
    for number in range(2):
        ours, theirs = multiprocessing.Pipe()
        ends.append(theirs)
        engine._members.append(_Member(number, multiprocessing.get_context("spawn").Process(), ours, 0, ready=True))
    while engine._waiting or any(member.chunks for member in engine._members):
        engine._hand_out()
        for member, end, seen in zip(engine._members, ends, given, strict=True):
            while end.poll():
                seen.append(end.recv().prompts[0].tokens[0])
            if member.chunks:
                member.chunks.popleft()
    assert set(given[0]).isdisjoint(given[1]) and len(given[0]) == len(given[1]) == 12
    # One prompt after the other, each through all layers.
    assert all(given[0][place] == given[0][place - place % 6] for place in range(12))
