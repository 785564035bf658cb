import hashlib

import numpy as np
import pytest
import torch

from tests.families.case import batch_of_tokens, build, hooked
from tests.families.cases import every_case
from tests.probes.lenses.models import affine_model, random_model, rows
from tests.workbench import decoder_cases
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.lenses import LogitLens, Unembedding, residual_streams

# A norm with and without a mean, biases, a soft cap, scales of the logits, a rescaled stream, several mixers a block.
FAMILIES = ["mamba", "granite_hybrid", "rwkv, rescaled", "recurrent_gemma", "falcon_h1", "zamba2", "xlstm", "zoo lstm"]
DECODERS = ["gpt2", "llama", "gemma2", "opt"]


@pytest.mark.parametrize("case", FAMILIES)
def test_the_last_stream_decodes_to_the_models_own_logits_in_every_family(case: str) -> None:
    tokens, mask = batch_of_tokens()
    with hooked(build(every_case()[case])) as model, torch.no_grad():
        streams = residual_streams(model, tokens, mask)
        assert streams.shape == (model.cfg.n_layers + 1, *tokens.shape, model.cfg.d_model)
        want = model(tokens, attention_mask=mask)
        torch.testing.assert_close(LogitLens(model).logits(streams[-1], -1), want)
        # Nothing of the decoding is left behind.
        torch.testing.assert_close(model(tokens, attention_mask=mask), want, rtol=0, atol=0)


@pytest.mark.parametrize("case", DECODERS)
def test_the_last_stream_decodes_to_the_models_own_logits_in_softmax_decoders(case: str) -> None:
    model = HookedModel(decoder_cases.build(case))
    tokens = decoder_cases.batch()
    with torch.no_grad():
        streams, want = residual_streams(model, tokens), model(tokens)
    assert torch.equal(streams[1], model.run_with_cache(tokens)[1]["resid_post", 0])
    torch.testing.assert_close(Unembedding(model)(streams[-1]), want)


def test_gradients_reach_the_stream_and_equal_those_of_the_written_out_readout() -> None:
    model = random_model()
    stream = torch.randn(3, 5, 16, requires_grad=True)
    unembedding = Unembedding(model)
    weights = torch.randn(3, 5, 40)
    (found,) = torch.autograd.grad((unembedding(stream) * weights).sum(), stream)
    norm = model.wrapped.norm.weight
    scaled = stream / (stream.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm
    (want,) = torch.autograd.grad((scaled @ model.wrapped.embed.weight.T * weights).sum(), stream)
    torch.testing.assert_close(found, want)
    assert model.wrapped.norm.weight.grad is None


def test_the_hash_is_that_of_the_printed_matrix_whatever_numpys_settings_are() -> None:
    model = affine_model()
    printed = np.array_str(model.wrapped.unembed.weight.detach().float().numpy(), precision=1)
    want = hashlib.sha256(printed.encode()).hexdigest()
    with np.printoptions(precision=3, edgeitems=1, threshold=5):
        assert Unembedding(model).hash == want
    with torch.no_grad():
        model.wrapped.unembed.weight[0, 0] += 1
    assert Unembedding(model).hash != want


def test_a_stream_of_another_width_and_a_model_without_a_stream_are_refused() -> None:
    with pytest.raises(InputError, match="16 numbers a token after its last block; these are 3"):
        Unembedding(random_model())(torch.zeros(2, 3))
    with hooked(build(every_case()["nn.LSTM"])) as model, pytest.raises(InputError, match="no residual stream"):
        residual_streams(model, batch_of_tokens()[0])


def test_depths_outside_the_model_are_refused() -> None:
    model = random_model()
    lens = LogitLens(model)
    assert lens.depth_index(-1) == 2
    for depth in (3, -4):
        with pytest.raises(InputError, match=f"Depth {depth} is out of range"):
            lens.logits(torch.zeros(16), depth)
    assert rows(model).shape == (8, 12)
