"""An oracle that shares no code with the entries: the answer to a unit impulse in v is a column of A."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.kernels.random_forms import ALL, relative_error
from workbench import kernels


@pytest.mark.parametrize("backend", ["reference", "chunked"])
@pytest.mark.parametrize("kind", ALL)
def test_the_response_to_an_impulse_is_a_column_of_the_matrix(kind: str, backend: kernels.Backend) -> None:
    time = 70
    form = ALL[kind](time)
    # One value channel a source, so that one run gives every column.
    impulses = torch.eye(time, dtype=torch.float64)[None, :, None].expand(2, -1, form.v.shape[2], -1)
    response = kernels.forward(replace(form, v=impulses), backend="reference")[0].transpose(1, 2)
    assert relative_error(kernels.dense(form, backend=backend), response) < 1e-10


@pytest.mark.parametrize("kind", ALL)
def test_the_matrix_times_the_values_is_the_output(kind: str) -> None:
    form = ALL[kind](70)
    outputs = kernels.apply_pattern(kernels.dense(form), form.v)
    assert relative_error(kernels.forward(form)[0], outputs) < 1e-10
