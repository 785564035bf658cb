"""What is streamed in tiles is what the sequential oracle's whole matrix reduces to."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels import random_forms
from tests.kernels.random_forms import ALL, RECURRENT, operands
from tests.kernels.streamed import check, check_reductions, whole_matrix
from workbench import kernels
from workbench.kernels.backends import Backend
from workbench.kernels.native import stream as native
from workbench.kernels.streaming.result import REDUCTIONS, planned

COMPILED: list[Backend] = ["cpu"] if native.library() is not None else []
STREAMS: list[Backend] = ["chunked", *COMPILED]


@pytest.mark.parametrize("time", [0, 1, 17, 300])
@pytest.mark.parametrize("kind", ALL)
def test_reductions_are_those_of_the_matrix(kind: str, time: int) -> None:
    check(ALL[kind](time), 1e-9, "chunked")


# Below, at and above the 32 rows, 64 or 128 sources and 8 tasks of the compiled loops.
@pytest.mark.parametrize("time", [0, 1, 33, 129, 520])
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("backend", COMPILED)
def test_compiled_reductions_are_those_of_the_matrix(kind: str, time: int, backend: Backend) -> None:
    check(ALL[kind](time, torch.float32), 2e-5, backend)


@pytest.mark.parametrize("kind", ALL)
def test_the_reference_reduces_the_same_matrix(kind: str) -> None:
    check(ALL[kind](40), 1e-9, "reference")


@pytest.mark.parametrize("kind", ALL)
def test_reductions_hold_in_float32(kind: str) -> None:
    check(ALL[kind](200, torch.float32), 2e-5, "chunked")


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", RECURRENT)
def test_nothing_is_lost_over_many_blocks_of_slow_decay(kind: str, backend: Backend) -> None:
    check(RECURRENT[kind](700, torch.float32, mean=0.001), 5e-5, backend)


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", RECURRENT)
def test_strong_decay_leaves_no_noise(kind: str, backend: Backend) -> None:
    # PyTorch solves a chunk of the delta rule, and what cancels there leaves its rounding.
    solved = backend == "chunked" and kind.startswith("delta")
    check(RECURRENT[kind](200, torch.float32, mean=50.0), 2e-4 if solved else 2e-5, backend)


@pytest.mark.parametrize("backend", STREAMS)
def test_one_impulse_is_the_only_entry_of_every_row_it_reaches(backend: Backend) -> None:
    time, place = 150, 40
    q = torch.ones(1, time, 1, 3)
    k = torch.zeros(1, time, 1, 3)
    k[0, place, 0, 1] = -2.0
    v, log_decay = torch.zeros(1, time, 1, 1), torch.full((1, time, 1), -0.5)
    got = kernels.stream(kernels.ScalarDecay(q, k, v, log_decay), REDUCTIONS, top=3, backend=backend)
    age = torch.arange(time) - place
    size = torch.where(age >= 0, 2 * torch.exp(-0.5 * age), 0.0)
    assert torch.allclose(got.mass[0, :, 0], size, rtol=2e-6, atol=1e-30)
    assert got.entropy is not None and got.entropy.abs().max() < 1e-5
    assert got.mean_distance_by_mass is not None
    assert torch.allclose(got.mean_distance_by_mass[0, place:, 0], age[place:].float(), rtol=1e-5)
    assert got.top_values is not None and got.top_sources is not None
    assert torch.allclose(got.top_values[0, :, 0, 0], -size, rtol=2e-6, atol=1e-30)
    assert (got.top_sources[0, place:, 0, 0] == place).all() and (got.top_sources[0, :place] == -1).all()
    assert (got.top_sources[0, :, 0, 1:] == -1).all()
    assert got.column_mass is not None and got.column_mass[0].count_nonzero() == 1


@pytest.mark.parametrize("backend", [*STREAMS, "reference"])
@pytest.mark.parametrize("kind", ["scalar decay", "softmax", "cells", "delta"])
def test_of_equal_entries_the_later_source_comes_first(kind: str, backend: Backend) -> None:
    form = ALL[kind](150, torch.float32)
    same = {name: torch.ones_like(x) for name, x in operands(form).items() if name in ("q", "write")}
    form = replace(form, **same)
    if isinstance(form, kernels.Softmax):
        form = replace(form, k=torch.ones_like(form.k))
    else:
        assert not isinstance(form, kernels.Toeplitz)
        form = replace(form, k=torch.ones_like(form.k), log_decay=torch.zeros_like(form.log_decay))
    if isinstance(form, kernels.Delta):
        # Nothing is found where nothing is written, and so nothing is erased.
        form = replace(form, erase=torch.zeros_like(form.k))
    got = kernels.stream(form, ["top"], top=4, backend=backend)
    assert got.top_sources is not None
    latest = torch.arange(150)[:, None] - torch.arange(4)
    assert (got.top_sources == latest.clamp(min=-1)[:, None]).all()


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", ["scalar decay", "diagonal decay", "delta", "cells", "scalar decay, exclusive"])
def test_nothing_is_seen_across_a_reset(kind: str, backend: Backend) -> None:
    form = RECURRENT[kind](150, torch.float32)
    assert not isinstance(form, kernels.Toeplitz)
    decay = form.log_decay.clone()
    decay[:, 90] = -torch.inf
    form = replace(form, log_decay=decay)
    matrix = whole_matrix(form)
    first = 91 if form.diagonal is not None else 90
    assert matrix[:, :, first:, :90].count_nonzero() == 0
    got = kernels.stream(form, REDUCTIONS, top=5, backend=backend)
    check_reductions(got, matrix, 2e-5)
    assert got.column_mass is not None and got.column_mass.isfinite().all()


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("operand", ["q", "k"])
@pytest.mark.parametrize("kind", ["scalar decay", "diagonal decay", "mamba", "delta", "cells", "softmax"])
def test_a_nan_spoils_the_rows_that_read_it_and_no_other(kind: str, operand: str, backend: Backend) -> None:
    if kind == "delta" and backend == "chunked":
        pytest.skip("PyTorch's solve of a chunk of the delta rule spreads a NaN over the whole chunk")
    form = ALL[kind](200, torch.float32)
    broken = getattr(form, operand).clone()
    broken[0, 150] = torch.nan
    got = kernels.stream(replace(form, **{operand: broken}), REDUCTIONS, backend=backend)
    rows = torch.zeros(2, 200, dtype=torch.bool)
    rows[0, 150 : 151 if operand == "q" else None] = True
    for name in ("mass", "energy", "entropy", "mean_distance_by_mass"):
        assert (getattr(got, name).isnan() == rows[..., None]).all(), name
    assert got.top_values is not None and got.top_sources is not None
    assert (got.top_values.isnan() == rows[..., None, None]).all()
    assert (got.top_sources[rows] == -1).all() and (got.top_sources[~rows][:, :, 0] >= 0).all()


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", ["scalar decay", "diagonal decay", "mamba", "delta", "delta, erasing apart"])
def test_a_walk_that_stops_early_keeps_its_promise(kind: str, backend: Backend) -> None:
    form = RECURRENT[kind](900, mean=0.3)
    if backend == "cpu":
        form = replace(form, **{name: x.float() for name, x in operands(form).items()})
    exact = whole_matrix(form).abs().sum(-1).transpose(1, 2)
    got = kernels.stream(form, ["mass"], tolerance=0.01, backend=backend)
    assert got.missed.max() <= 0.01
    lost = 1 - got.mass.double() / exact
    assert (lost <= got.missed.double() + 1e-5).all() and (lost > -1e-4).all()
    if kind != "delta, erasing apart":  # whose transitions may grow: it may have to walk to the end
        assert (got.missed > 0).any() and (lost > 0).any()
    assert (kernels.stream(form, ["mass"], backend=backend).missed == 0).all()


@pytest.mark.parametrize("backend", STREAMS)
def test_transitions_that_grow_never_stop_a_walk(backend: Backend) -> None:
    form = random_forms.delta_rule(300, torch.float32, mean=0.0)
    assert form.write is not None
    form = replace(form, write=form.write + 1.2)  # beyond 2 a step turns a direction over and stretches it
    exact = whole_matrix(form).abs().sum(-1).transpose(1, 2)
    got = kernels.stream(form, ["mass"], tolerance=0.5, backend=backend)
    assert ((got.mass / exact - 1).abs() < 1e-3).all()


@pytest.mark.parametrize("kind", ALL)
def test_results_do_not_depend_on_the_number_of_threads(kind: str) -> None:
    form = ALL[kind](330, torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(kernels.stream(form, REDUCTIONS))
    finally:
        torch.set_num_threads(before)
    for name in vars(results[0]):
        one, *others = (getattr(result, name) for result in results)
        assert all(torch.equal(one, other) for other in others), name


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", ALL)
def test_views_and_gradients_change_nothing(kind: str, backend: Backend) -> None:
    form = ALL[kind](70, torch.float32)
    expected = kernels.stream(form, REDUCTIONS, backend=backend)
    views = {}
    for name, x in operands(form).items():
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan)
        wide[..., ::2] = x
        views[name] = wide[..., ::2].requires_grad_()
    got = kernels.stream(replace(form, **views), REDUCTIONS, backend=backend)
    for name, value in vars(expected).items():
        found = getattr(got, name)
        assert torch.equal(found, value) and not found.requires_grad, name


@pytest.mark.parametrize("backend", STREAMS)
def test_chosen_heads_come_in_the_order_asked_for(backend: Backend) -> None:
    form = ALL["delta"](70, torch.float32)
    everything = kernels.stream(form, ["mass", "histogram"], backend=backend)
    some = kernels.stream(form, ["mass", "histogram"], heads=[5, 0], backend=backend)
    assert torch.allclose(some.mass, everything.mass[..., [5, 0]])
    assert some.histogram is not None and everything.histogram is not None
    assert torch.allclose(some.histogram, everything.histogram[:, [5, 0]])


@pytest.mark.parametrize("backend", STREAMS)
def test_a_few_heads_at_a_time_change_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    form = ALL["diagonal decay, exclusive, wide values"](70, torch.float32)
    expected = kernels.stream(form, REDUCTIONS, backend=backend)
    monkeypatch.setattr(sys.modules["workbench.kernels.streaming.stream"], "ELEMENTS", 1)
    got = kernels.stream(form, REDUCTIONS, backend=backend)
    for name, value in vars(expected).items():
        assert torch.allclose(getattr(got, name), value, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", ["scalar decay", "cells, exclusive", "toeplitz, long", "softmax"])
def test_bins_are_those_asked_for(kind: str, backend: Backend) -> None:
    form = ALL[kind](90, torch.float32)
    bins = [0, 1, 5, 40, 70, 300]
    got = kernels.stream(form, REDUCTIONS, bins=bins, backend=backend)
    assert got.edges is not None and got.edges.tolist() == bins
    check_reductions(got, whole_matrix(form), 2e-5)


@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize("kind", ALL)
def test_subnormal_operands_give_finite_results(kind: str, backend: Backend) -> None:
    form = ALL[kind](70, torch.float32)
    tiny = {name: 1e-40 * x for name, x in operands(form).items() if name in ("q", "k", "kernel", "diagonal")}
    got = kernels.stream(replace(form, **tiny), REDUCTIONS, backend=backend)
    assert all(x.isfinite().all() for x in vars(got).values())
    assert kind.startswith("softmax") or got.mass.max() < 1e-36


def test_queries_are_the_last_of_the_sources() -> None:
    for backend in STREAMS:
        check(random_forms.softmax(5, torch.float32, source=90), 2e-5, backend)
        check(random_forms.softmax_with_everything(40, torch.float32, source=75), 2e-5, backend)


def test_what_was_not_asked_for_is_not_there() -> None:
    got = kernels.stream(ALL["scalar decay"](9), ["mean_distance_by_energy"])
    there = [name for name, value in vars(got).items() if value is not None]
    assert there == ["missed", "mass", "mean_distance_by_energy"]


@settings(max_examples=30, deadline=None)
@given(
    time=st.integers(1, 150),
    heads=st.integers(1, 3),
    groups=st.integers(1, 2),
    key=st.integers(1, 21),
    strength=st.floats(0, 50),
    beta=st.just(0.0) | st.floats(0.01, 2),  # squares of writes, keys and queries have to stay floats
    spread=st.sampled_from([0.0, 1e-3, 1.0]),
    scale=st.sampled_from([1e-6, 1.0, 1e8]),
    top=st.integers(1, 64),
    seed=st.integers(0, 2**31),
)
def test_any_shape_decay_and_direction(
    time: int,
    heads: int,
    groups: int,
    key: int,
    strength: float,
    beta: float,
    spread: float,
    scale: float,
    top: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    heads = heads * groups
    q = scale * torch.randn(1, time, groups, key)
    # Keys near one direction: what one step writes the next one finds.
    k = torch.nn.functional.normalize(torch.ones(key) + spread * torch.randn(1, time, groups, key), dim=-1)
    q[:, time // 2] = 0
    v = torch.zeros(1, time, heads, 1)
    weight = beta * torch.rand(1, time, heads).sqrt()
    log_decay = -strength * torch.rand(1, time, heads, key) ** 4
    rate = torch.rand(heads, key)
    for form in (
        kernels.ScalarDecay(q, k, v, log_decay[..., 0], weight),
        kernels.DiagonalDecay(q, k, v, log_decay, None, weight),
        kernels.DiagonalDecay(q, k, v, log_decay[..., :1], rate, weight),
        kernels.Delta(q, k, v, log_decay, write=weight),
        kernels.Delta(q, k, v, log_decay[..., :1], write=weight),
    ):
        matrix = whole_matrix(form)
        for backend in STREAMS:
            got = kernels.stream(form, REDUCTIONS, top=top, backend=backend)
            # A delta rule erases: its entries are what is left of |q| |F|, and rounded relative to that.
            floor = 1e-5 * scale if isinstance(form, kernels.Delta) else 0.0
            if matrix.abs().amax() > floor:
                assert torch.allclose(got.mass.transpose(1, 2).double(), matrix.abs().sum(-1), 1e-4, 1e-4 * scale)
            if not isinstance(form, kernels.Delta):
                check_reductions(got, matrix, 5e-5)


def test_reductions_that_do_not_exist_are_named() -> None:
    form = ALL["scalar decay"](4)
    with pytest.raises(ValueError, match=r"choose from mass, energy, .* got 'mas'"):
        planned(["mas"], top=8, bins=None, tolerance=0.0, source=4)
    with pytest.raises(ValueError, match=r"list of names: write \('mass',\)"):
        planned("mass", top=8, bins=None, tolerance=0.0, source=4)
    with pytest.raises(ValueError, match="between 1 and 64; got 65"):
        kernels.stream(form, top=65)
    with pytest.raises(ValueError, match=r"increasing order, in tokens; got \[4, 4\]"):
        kernels.stream(form, ["histogram"], bins=[4, 4])
    with pytest.raises(ValueError, match=r"in \[0, 1\); got 1"):
        kernels.stream(form, tolerance=1.0)
    with pytest.raises(ValueError, match="heads must be between 0 and 5"):
        kernels.stream(form, heads=[6])
    with pytest.raises(ValueError, match="not every operand is float32"):
        kernels.stream(form, backend="cpu")


def test_without_a_compiler_the_answer_is_the_same() -> None:
    code = (
        "import torch; from tests.kernels.random_forms import ALL; from workbench import kernels;"
        "from workbench.kernels.streaming import compiled; from workbench.kernels.streaming.result import planned;"
        "plan = planned(['mass'], 8, None, 0.0, 40); torch.manual_seed(0);"
        "forms = [make(40, torch.float32) for make in ALL.values()];"
        "assert not any(compiled.available(form, plan) for form in forms);"
        "assert kernels.stream(forms[0], backend='cpu').mass.shape == (2, 40, 6);"
        "print(sum(kernels.stream(form).mass.double().sum().item() for form in forms))"
    )
    environment = {**os.environ, "WORKBENCH_NO_CPP": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    forms = [make(40, torch.float32) for make in ALL.values()]
    here = sum(kernels.stream(form).mass.double().sum().item() for form in forms)
    assert abs(float(done.stdout) / here - 1) < 1e-5
