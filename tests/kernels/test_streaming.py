"""What is streamed in tiles is what the sequential oracle's whole matrix reduces to."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.random_forms import ALL
from tests.kernels.streamed import check
from workbench import kernels
from workbench.kernels.streaming.result import planned


@pytest.mark.parametrize("time", [0, 1, 2, 17, 128, 130, 300])
@pytest.mark.parametrize("kind", ALL)
def test_reductions_are_those_of_the_matrix(kind: str, time: int) -> None:
    check(ALL[kind](time), 1e-9, "chunked")


@pytest.mark.parametrize("kind", ALL)
def test_the_reference_reduces_the_same_matrix(kind: str) -> None:
    check(ALL[kind](40), 1e-9, "reference")


@pytest.mark.parametrize("kind", ALL)
def test_reductions_hold_in_float32(kind: str) -> None:
    torch.manual_seed(0)
    check(ALL[kind](200, torch.float32), 2e-5, "chunked")


def test_reductions_that_do_not_exist_are_named() -> None:
    form = ALL["scalar decay"](4)
    with pytest.raises(ValueError, match=r"choose from mass, energy, .* got 'mas'"):
        planned(["mas"], top=8, bins=None, tolerance=0.0, source=4)
    with pytest.raises(ValueError, match="between 1 and 64; got 65"):
        kernels.stream(form, top=65)
    with pytest.raises(ValueError, match=r"increasing order, in tokens; got \[4, 4\]"):
        kernels.stream(form, ["histogram"], bins=[4, 4])
    with pytest.raises(ValueError, match=r"in \[0, 1\); got 1"):
        kernels.stream(form, tolerance=1)
    with pytest.raises(ValueError, match="heads must be between 0 and 5"):
        kernels.stream(form, heads=[6])
