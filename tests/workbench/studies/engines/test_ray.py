"""The Ray engine on a cluster of three nodes of this machine: what dies, what goes on, what comes back."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError, LoadError
from workbench.studies.engines import ray_cluster
from workbench.studies.engines.protocol import Assignment, Measurement, Outcome, Work
from workbench.studies.engines.ray import RayEngine
from workbench.studies.inputs.prompt import Prompt
from workbench.studies.schema.study import Run, Study

STUDY = {
    "name": "made-up",
    "models": [{"id": "zoo:attention", "device": "cpu"}],
    "inputs": {"task": "repeated_random_tokens"},
    "edits": [{"name": "heads", "sites": "heads", "method": "zero"}],
    "metrics": ["loss"],
}
WORK = Work(Study.model_validate(STUDY), {}, {}, None, 1)
DEADLY, BROKEN = 666, 13


class Sums:
    """A worker that adds up tokens; one token kills its process, another makes it raise."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def run(self, assignment: Assignment) -> Outcome:
        import ray

        (prompt,) = assignment.prompts
        time.sleep(0.02)
        if DEADLY in prompt.tokens:
            os.kill(os.getpid(), signal.SIGKILL)
        if BROKEN in prompt.tokens:
            raise RuntimeError("thirteen tokens\nand a traceback")
        value = Measurement("edit", prompt.prompt_id, "sum", float(sum(prompt.tokens)), 1)
        return Outcome(assignment.chunk_id, (value,), worker={"pid": os.getpid(), "gpus": len(ray.get_gpu_ids())})


class Unloadable:
    """A worker on a machine that has not the model."""

    def __init__(self, work: Work) -> None:
        raise LoadError("There is no file or directory /models/llama.")

    def run(self, assignment: Assignment) -> Outcome:
        raise NotImplementedError


class Mortal:
    """A worker that never lives to its first chunk."""

    def __init__(self, work: Work) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def run(self, assignment: Assignment) -> Outcome:
        raise NotImplementedError


def chunks(numbers: Iterable[int]) -> list[Assignment]:
    return [Assignment(f"chunk {n}", "attention", (), (Prompt((n, 1), (0,), (1,)),), ("sum",)) for n in numbers]


def collect(engine: RayEngine, given: Sequence[Assignment], retries: int = 0, limit_s: float = 300) -> list[Outcome]:
    """Everything that comes back for chunks, those of lost ones that are handed in again included."""
    waiting, out, found = list(given), {}, []
    tries = {chunk.chunk_id: retries for chunk in given}
    deadline = time.monotonic() + limit_s
    while waiting or out:
        assert time.monotonic() < deadline, f"{len(waiting) + len(out)} chunks have not come back."
        while waiting and len(out) < engine.capacity:
            chunk = waiting.pop(0)
            out[chunk.chunk_id] = chunk
            engine.submit(chunk)
        for outcome in engine.outcomes(1.0):
            chunk = out.pop(outcome.chunk_id)
            found.append(outcome)
            if outcome.lost and tries[chunk.chunk_id]:
                tries[chunk.chunk_id] -= 1
                waiting.append(chunk)
    return found


def sums(outcomes: Iterable[Outcome]) -> dict[str, float]:
    return {one.chunk_id: one.measurements[0].value for one in outcomes if one.measurements}


class TestWithoutACluster:
    @given(
        nodes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=4),
        cpus=st.integers(1, 4),
        gpus=st.integers(0, 2),
    )
    def test_workers_are_counted_node_by_node(self, nodes: list[tuple[int, int]], cpus: int, gpus: int) -> None:
        resources = [{"CPU": float(c), "GPU": float(g)} if g else {"CPU": float(c)} for c, g in nodes]
        placed = 0
        for free, cards in nodes:  # worker by worker
            while free >= cpus and cards >= gpus:
                free, cards, placed = free - cpus, cards - gpus, placed + 1
        assert ray_cluster.places(resources, cpus, gpus) == placed

    def test_a_missing_package_is_one_sentence_with_the_name_of_the_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)  # what an import of a package that is not there amounts to
        with pytest.raises(InputError, match=r"ray, which is not installed: pip install 'workbench\[ray\]'\.$"):
            RayEngine(1).start(WORK)

    def test_an_engine_that_was_not_started_says_so_and_closes(self) -> None:
        engine = RayEngine(2)
        assert engine.capacity == 4
        assert list(engine.outcomes(0.0)) == []
        engine.close()


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """The package, one test process at a time: a cluster of three nodes takes a gigabyte."""
    package = pytest.importorskip("ray", reason="The package ray is not installed: pip install 'workbench[ray]'.")
    package.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with (Path(tempfile.gettempdir()) / "workbench-ray-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(told["MemAvailable"].split()[0]) / 2**20
        assert free > 3, f"Three nodes need 3 GiB of memory, and {free:.1f} are free."
        yield package


@pytest.fixture(scope="module")
def cluster(ray: Any) -> Iterator[Any]:
    """A head and two nodes, one CPU each; the head claims to have a GPU."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Cluster(initialize_head=True, head_node_args={**small, "num_gpus": 1})
    try:
        for _ in range(2):
            nodes.add_node(**small)
        yield nodes
    finally:
        nodes.shutdown()


@pytest.fixture(scope="class")
def engine(cluster: Any) -> Iterator[RayEngine]:
    started = RayEngine(2, address=cluster.address, runner=Sums)
    started.start(WORK)
    yield started
    started.close()


@pytest.mark.slow
class TestChunks:
    def test_every_chunk_comes_back_once_from_two_processes(self, engine: RayEngine) -> None:
        given = chunks(range(100, 140))
        outcomes = collect(engine, given)
        assert sorted(one.chunk_id for one in outcomes) == sorted(one.chunk_id for one in given)
        assert sums(outcomes) == {f"chunk {n}": n + 1 for n in range(100, 140)}
        assert len({one.worker["pid"] for one in outcomes}) == 2
        assert {one.worker["gpus"] for one in outcomes} == {0}  # the study's only model is for the CPU

    def test_a_chunk_that_raises_fails_and_its_worker_goes_on(self, engine: RayEngine) -> None:
        outcomes = collect(engine, chunks([BROKEN, *range(100, 110)]))
        (failed,) = (one for one in outcomes if one.error is not None)
        assert not failed.lost
        assert str(failed.error).endswith("): thirteen tokens.")
        assert len(sums(outcomes)) == 10
        assert len({one.worker["pid"] for one in outcomes if one.error is None}) == 2

    def test_a_chunk_that_kills_its_worker_takes_no_other_with_it(self, engine: RayEngine) -> None:
        outcomes = collect(engine, chunks([DEADLY, *range(100, 120)]), retries=2)
        lost = [one for one in outcomes if one.lost]
        assert [one.chunk_id for one in lost] == [f"chunk {DEADLY}"] * 3
        assert all("died:" in str(one.error) and one.measurements == () for one in lost)
        assert sums(outcomes) == {f"chunk {n}": n + 1 for n in range(100, 120)}
        assert len({one.error for one in lost}) == 3  # each names another process


@pytest.mark.slow
class TestWorkers:
    def test_closing_ends_the_actors_and_leaves_the_cluster(self, cluster: Any, ray: Any, capfd: Any) -> None:
        before = signal.getsignal(signal.SIGTERM)
        engine = RayEngine(2, address=cluster.address, runner=Sums)
        engine.start(WORK)
        assert signal.getsignal(signal.SIGTERM) is before
        pids = {one.worker["pid"] for one in collect(engine, chunks(range(100, 110)))}
        engine.close()
        assert not ray.is_initialized()
        deadline = time.monotonic() + 90
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
        assert all(node.all_processes for node in (cluster.head_node, *cluster.worker_nodes))
        assert capfd.readouterr().out == ""

    def test_closing_after_ray_was_shut_down_does_not_start_it_again(self, cluster: Any, ray: Any) -> None:
        engine = RayEngine(1, address=cluster.address, runner=Sums)
        engine.start(WORK)
        ray.shutdown()  # as Ray itself does when Python ends, before finalizers run
        engine.close()
        assert not ray.is_initialized()

    def test_closing_in_another_session_of_ray_asks_nothing_of_it(self, cluster: Any, ray: Any) -> None:
        engine = RayEngine(1, address=cluster.address, runner=Sums)
        engine.start(WORK)
        ray.shutdown()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        try:
            engine.close()
        finally:
            ray.shutdown()

    def test_too_few_cpus_and_gpus_are_one_sentence(self, cluster: Any) -> None:
        with pytest.raises(
            InputError, match="room for 3 of 4 workers: each needs 1 CPU of one node, and of 3 nodes there are 3 CPUs"
        ):
            RayEngine(4, address=cluster.address).start(WORK)
        with pytest.raises(InputError, match="room for 0 of 1 workers: each needs 2 CPUs of one node"):
            RayEngine(1, threads=2, address=cluster.address).start(WORK)
        with pytest.raises(InputError, match=r"room for 1 of 2 workers: each needs 1 CPU and 1 GPU .*gpus_per_worker"):
            RayEngine(2, address=cluster.address, gpus_per_worker=1).start(WORK)

    def test_a_worker_gets_a_gpu_where_there_are_any(self, cluster: Any) -> None:
        anywhere = Study.model_validate({**STUDY, "models": "zoo:attention"})
        engine = RayEngine(1, address=cluster.address, runner=Sums)
        engine.start(Work(anywhere, {}, {}, None, 1))
        try:
            assert {one.worker["gpus"] for one in collect(engine, chunks([100]))} == {1}
        finally:
            engine.close()

    def test_a_node_without_the_model_is_named(self, cluster: Any) -> None:
        with pytest.raises(LoadError, match=r"^The worker on .* \(process \d+\): There is no file .*llama\.$"):
            RayEngine(1, address=cluster.address, runner=Unloadable).start(WORK)

    def test_workers_that_die_while_they_load_are_not_replaced_forever(
        self, cluster: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workbench.studies.engines.ray.TRIES", 1)
        with pytest.raises(InputError, match=r"^No worker of the Ray cluster lives to its first chunk\."):
            RayEngine(1, address=cluster.address, runner=Mortal).start(WORK)


class KillsANode:
    """The Ray engine, of whose cluster a node is lost with all its processes once some chunks have come back."""

    def __init__(self, engine: RayEngine, cluster: Any) -> None:
        self.engine, self.cluster, self.came = engine, cluster, 0
        self.capacity = engine.capacity

    def start(self, work: Work) -> None:
        self.engine.start(work)

    def submit(self, assignment: Assignment) -> None:
        self.engine.submit(assignment)

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        for outcome in self.engine.outcomes(timeout_s):
            self.came += 1
            if self.came == 3:
                for node in list(self.cluster.worker_nodes):
                    self.cluster.remove_node(node, allow_graceful=False)
            yield outcome

    def close(self) -> None:
        self.engine.close()


@pytest.mark.slow
def test_a_study_that_loses_its_nodes_midway_has_the_numbers_of_the_local_engine(cluster: Any, tmp_path: Path) -> None:
    from workbench.studies.coordinator import run_study
    from workbench.studies.store import read_results

    study = Study.model_validate(
        {
            **STUDY,
            "inputs": {"task": "repeated_random_tokens", "settings": {"block": 8}, "count": 6},
            "metrics": ["loss", "kl"],
            "run": {"batch_tokens": 64, "workers": 2},
        }
    )
    engines: list[KillsANode] = []

    def on_ray(run: Run) -> KillsANode:
        engines.append(KillsANode(RayEngine(run.workers, run.threads, cluster.address), cluster))
        return engines[-1]

    done = run_study(study, tmp_path / "ray", progress=False, engine=on_ray)
    assert done.complete
    # Whether a chunk is lost with them depends on the moment; that lost ones come back is tested above.
    assert engines[0].came > 3 and not cluster.worker_nodes
    assert run_study(study, tmp_path / "local", progress=False).complete
    # Who computed a number is not part of it.
    frames = [read_results(tmp_path / name).frame.drop(columns="attempt_id") for name in ("ray", "local")]
    assert len(frames[0]) == 16 * 6 * 2
    pd.testing.assert_frame_equal(frames[0], frames[1], check_exact=True)
