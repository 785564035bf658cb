"""Mamba-2 layers of the hybrids over several chunks, against the paper's recurrence written out.

Within one chunk the forward pass multiplies with the very matrix that is returned as implicit attention, so `check` in
core scope is exactly zero there and says nothing: only a longer sequence, and other code, can find a fault. And only
with slow decays: as they are initialised, these mixers forget everything within a chunk.
"""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from tests.families.case import VOCABULARY, build, hooked
from tests.families.cases import every_case
from workbench.forms import ScalarDecay

TIME = 150  # more than two chunks, and no multiple of one


def recurrence(form: ScalarDecay) -> Float[Tensor, "batch time heads value"]:
    """``S_t = a_t S_{t-1} + dt_t B_t x_t'``, ``z_t = S_t' C_t``, one step at a time (Dao and Gu 2024, section 5)."""
    assert form.write is not None
    heads = form.v.shape[2]
    c, b = (x.repeat_interleave(heads // x.shape[2], dim=2) for x in (form.q, form.k))
    state = form.v.new_zeros(form.v.shape[0], heads, b.shape[-1], form.v.shape[-1])
    outputs = []
    for t in range(form.v.shape[1]):
        written = form.write[:, t, :, None, None] * b[:, t, :, :, None] * form.v[:, t, :, None]
        state = form.log_decay[:, t, :, None, None].exp() * state + written
        outputs.append((state * c[:, t, :, :, None]).sum(2))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("name", ["bamba", "zamba2", "falcon_h1", "nemotron_h", "granite_hybrid"])
def test_layer_and_matrix_are_the_recurrence_over_several_chunks(name: str) -> None:
    case = every_case()[name]
    tokens = torch.randint(0, VOCABULARY, (2, TIME), generator=torch.Generator().manual_seed(3))
    stock = build(case, torch.float64)
    with torch.no_grad():
        for parameter_name, parameter in stock.named_parameters():
            if parameter_name.endswith("A_log"):
                parameter.sub_(6.0)
    with hooked(stock) as model, torch.no_grad():
        found = model.implicit_attention(tokens, case.layer)
        core = found.form.core
        assert isinstance(core, ScalarDecay)
        assert core.log_decay[:, : TIME // 2].sum(1).exp().max() > 0.1  # what crosses a chunk's end is there to be seen
        expected = recurrence(core)
        assert 0 < found.check(full=True) < 1e-10  # exactly zero would mean that one computation met itself
        torch.testing.assert_close(found.form.z, expected, atol=1e-10, rtol=1e-10)
        by_matrix = torch.einsum("bhts,bshv->bthv", found.dense(), core.v)
        torch.testing.assert_close(by_matrix, expected, atol=1e-10, rtol=1e-10)
