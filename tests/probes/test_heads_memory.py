import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
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
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = find_heads(model, "induction", block=1024, batch=1, seeds=(0,), null_draws=1)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(len(table), int(table.score.notna().sum()), (after - before) * unit)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module.")
def test_scores_of_1536_channels_over_2048_tokens_take_less_than_a_gigabyte() -> None:
    # The matrices themselves would take 26 GB.
    finished = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    rows, scored, extra = map(int, finished.stdout.split()[-3:])
    assert (rows, scored) == (1536, 1536)
    assert extra < 1e9
