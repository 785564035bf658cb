import sys

import pytest

from tests.peak_memory import printed_numbers

SCRIPT = """
import torch
from transformers import MambaConfig, MambaForCausalLM
from workbench.model import HookedModel
from workbench.probes import find_heads

torch.manual_seed(0)
torch.set_num_threads(1)
# One layer of mamba-130m; a small vocabulary, because the embedding is not what is measured.
config = MambaConfig(vocab_size=2000, hidden_size=768, state_size=16, num_hidden_layers=1, time_step_rank=48)
model = HookedModel(MambaForCausalLM(config))
# A short run first, so that what is loaded on the first call does not count as memory of the second.
find_heads(model, "induction", block=4, batch=1, seeds=(0,), null_draws=1)
before = peak()
table = find_heads(model, "induction", block=1024, batch=1, seeds=(0,), null_draws=1)
print(len(table), int(table.score.notna().sum()), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module.")
def test_scores_of_1536_channels_over_2048_tokens_take_less_than_a_gigabyte() -> None:
    # The matrices themselves would take 26 GB.
    rows, scored, extra = printed_numbers(SCRIPT)
    assert (rows, scored) == (1536, 1536)
    assert extra < 1e9
    # The operands alone take 37 MB: a measurement below that would have measured nothing.
    assert extra > 37e6
