"""An induction score of a whole Mamba-1 layer stays under a gigabyte: nothing of size T x T or T x H x K is kept."""

from __future__ import annotations

from tests.peak_memory import printed_numbers

# In a process of its own, so that its peak is its own. The layer has mamba-130m's shapes at T = 2048; one matrix
# would take 26 GB, one tensor of [T, heads, state] 201 MB.
MEASURED = """
import torch
from workbench import kernels

torch.manual_seed(0)
time, heads, state = 2048, 1536, 16
dt = torch.rand(1, time, heads) * 0.1
form = kernels.DiagonalDecay(
    q=torch.randn(1, time, 1, state), k=torch.randn(1, time, 1, state), v=torch.randn(1, time, heads, 1),
    log_decay=-dt[..., None], rate=torch.arange(1.0, state + 1).expand(heads, state), write=dt,
)
tiny = kernels.DiagonalDecay(form.q[:, :2], form.k[:, :2], form.v[:, :2], form.log_decay[:, :2], form.rate)

@torch.no_grad()
def score(form, query, key):
    kernels.forward(form, backend="chunked")
    kernels.row_sum(form)
    return kernels.pairs(form, query, key), kernels.row_energy(form)

score(tiny, torch.tensor([1]), torch.tensor([0]))  # what importing and starting threads costs is not counted
before = peak()
query = torch.arange(1048, 2048)
entries, energy = score(form, query, query - 1000)
assert entries.shape == (1, heads, 1000) and energy.shape == (1, time, heads)
print(peak() - before)
"""


def test_scoring_every_channel_of_a_mamba_layer_takes_less_than_a_gigabyte() -> None:
    (extra,) = printed_numbers(MEASURED)
    assert extra < 1e9, f"{extra / 1e6:.0f} MB"
    # The results alone take 19 MB: a measurement below that would have measured nothing.
    assert extra > 19e6
