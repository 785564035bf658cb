"""Streamed reductions against the reference's matrix; `test_interpreter` runs this in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.kernels import random_forms
from tests.kernels.random_forms import normal, operands, relative_error
from workbench import kernels
from workbench.kernels.forms import Reader
from workbench.kernels.streaming.result import REDUCTIONS, Streamed

SINGLE = torch.float32
ASKED = [name for name in REDUCTIONS if name != "histogram"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(random_forms, "BATCH", 1)
    monkeypatch.setattr(random_forms, "HEADS", 2)


def exclusive(time: int) -> Reader:
    form = random_forms.diagonal_decay(time, SINGLE, groups=2, mean=0.1)
    return replace(form, diagonal=normal(1, time, 2, dtype=SINGLE))


FORMS: dict[str, Callable[[int], Reader]] = {
    "scalar": lambda time: random_forms.scalar_decay(time, SINGLE, groups=1, mean=0.1),
    "diagonal, exclusive": exclusive,
    "gated delta": lambda time: random_forms.delta_rule(time, SINGLE, groups=1, mean=0.1, scalar=True),
}


def expected(form: Reader, top: int) -> Streamed:
    exact = replace(form, **{name: x.double() for name, x in operands(form).items()})
    return kernels.stream(exact, ASKED, top=top, backend="reference")


@pytest.mark.parametrize("kind", FORMS)
def test_reductions_are_those_of_the_matrix(kind: str) -> None:
    form = FORMS[kind](70)
    got, right = kernels.stream(form, ASKED, top=5, backend="triton"), expected(form, 5)
    for name, value in vars(right).items():
        if value is not None and name != "top_sources":
            assert relative_error(getattr(got, name), value) < 3e-6, name
    assert got.top_sources is not None and right.top_sources is not None
    assert torch.equal(got.top_sources, right.top_sources)


def test_a_walk_stops_early_by_no_more_than_it_says() -> None:
    form = random_forms.scalar_decay(130, SINGLE, groups=1, mean=1.0)
    got, right = kernels.stream(form, ["mass"], tolerance=0.05, backend="triton"), expected(form, 1)
    assert bool((got.missed > 0).any()) and bool((got.missed <= 0.05).all())
    assert bool((right.mass <= got.mass * (1 + got.missed) * (1 + 1e-5)).all())
    assert bool((got.mass <= right.mass * (1 + 1e-5)).all())


def test_a_walk_does_not_stop_before_a_source_that_outweighs_all_others() -> None:
    form = random_forms.scalar_decay(130, SINGLE, groups=1, mean=0.3)
    k = form.k.clone()
    k[:, 60] *= 1e6  # not among the nearest sources of the last rows, and not in the first chunk's beginning
    form = replace(form, k=k)
    got, right = kernels.stream(form, ["mass"], tolerance=0.05, backend="triton"), expected(form, 1)
    assert bool((right.mass <= got.mass * (1 + got.missed) * (1 + 1e-5)).all())


def test_equal_entries_are_listed_latest_first_and_zeros_not_at_all() -> None:
    ones, gate = torch.ones(1, 40, 1, 3), torch.zeros(1, 40, 1)
    k = ones.clone()
    k[:, 35:] = 0
    got = kernels.stream(kernels.ScalarDecay(ones, k, ones, gate), ["top"], top=3, backend="triton")
    assert got.top_sources is not None
    assert got.top_sources[0, 39, 0].tolist() == [34, 33, 32] and got.top_sources[0, 1, 0].tolist() == [1, 0, -1]


def test_a_larger_entry_found_later_takes_the_place_of_the_earliest_of_equal_ones() -> None:
    ones, gate = torch.ones(1, 100, 1, 3), torch.zeros(1, 100, 1)
    k = ones.clone()
    k[:, 5] = 2  # in another chunk than the last query's nearest sources, and so found after them
    got = kernels.stream(kernels.ScalarDecay(ones, k, ones, gate), ["top"], top=3, backend="triton")
    assert got.top_sources is not None and got.top_sources[0, 99, 0].tolist() == [5, 99, 98]


def test_what_the_walk_cannot_do_is_refused_in_a_sentence() -> None:
    form = FORMS["scalar"](5)
    with pytest.raises(ValueError, match="triton backend cannot stream this form, a histogram is asked for"):
        kernels.stream(form, ["histogram"], backend="triton")
    with pytest.raises(ValueError, match="there is no kernel for it"):
        kernels.stream(random_forms.softmax(5, SINGLE), backend="triton")
