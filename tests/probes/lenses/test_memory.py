import sys

import pytest

from tests.peak_memory import printed_numbers

SCRIPT = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from workbench.model import HookedModel
from workbench.probes.lenses import TunedLensOptions, train_tuned_lens

torch.manual_seed(0)
torch.set_num_threads(1)
# SmolLM2-135M's width and vocabulary. Depth costs translators alone, and the small test would take minutes with all 30.
LAYERS = 3
config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=LAYERS,
                     num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
model = HookedModel(LlamaForCausalLM(config))
# A short step first, so that what is loaded on the first call does not count as memory of the second.
train_tuned_lens(model, torch.randint(0, 49152, (1, 4)), TunedLensOptions(steps=1, rows=1))
before = peak()
train_tuned_lens(model, torch.randint(0, 49152, (1, 512)), TunedLensOptions(steps=1, rows=1, optimizer="adamw"))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module.")
def test_a_step_at_smollm2s_vocabulary_takes_far_less_than_its_logits() -> None:
    (extra,) = printed_numbers(SCRIPT)
    # 27 more layers hold a translator, its gradient and two moments each, and a stream.
    more = 27 * (4 * (576 * 576 + 576) + 512 * 576) * 4
    assert extra + more < 2e9
    # The logits of all depths with their gradients would be 30 times 512 times 49152 numbers, twice: 6 GB.
    assert extra > 1e8
