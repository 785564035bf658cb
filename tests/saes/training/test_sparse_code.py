"""The sparse step has the loss and the gradients of SAELens' dense one."""

import pytest
import sae_lens
import torch
from sae_lens.saes.sae import TrainStepInput

from workbench.saes.training.classes import training_sae
from workbench.saes.training.options import SaeTrainingOptions
from workbench.saes.training.sparse_code import decoded, largest, largest_of_batch, preactivations

D_IN, D_SAE, BATCH, K = 24, 150, 1100, 5  # more rows than one part of them


def randomised(sae, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in sae.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / 4)
    return sae


def step(sae, x, dead):
    given = TrainStepInput(x, {}, dead, 0, False)
    output = sae.training_forward_pass(given)
    output.loss.backward()
    return output, {name: tensor.grad for name, tensor in sae.named_parameters()}


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("dead", [0, 3, 100])
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("more", [{}, {"rescale_acts_by_decoder_norm": False, "apply_b_dec_to_input": False}])
def test_loss_and_gradients_are_those_of_the_dense_step(kind, dead, dtype, atol, more):
    widths = [40, D_SAE] if kind.startswith("mat") else None
    options = SaeTrainingOptions(kind, d_sae=D_SAE, k=K, widths=widths, dtype=dtype, more=more)
    ours = randomised(training_sae(options, D_IN))
    assert type(ours).__mro__[1].__name__ == "KeepsFew"
    cls, config = sae_lens.registry.get_sae_training_class(kind)
    more = {**more, "matryoshka_widths": widths} if widths else more
    theirs = randomised(cls(config(d_in=D_IN, d_sae=D_SAE, k=K, dtype=dtype, **more)))
    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    mask = torch.zeros(D_SAE, dtype=torch.bool)
    mask[torch.randperm(D_SAE, generator=torch.Generator().manual_seed(2))[:dead]] = True
    (mine, gradients), (output, expected) = step(ours, x, mask), step(theirs, x, mask)
    assert (output.loss > 0) and (dead == 0 or output.losses["auxiliary_reconstruction_loss"] > 0)
    scale = float(output.loss.detach())
    torch.testing.assert_close(mine.loss, output.loss, atol=atol * scale, rtol=0)
    assert mine.losses.keys() == output.losses.keys()
    torch.testing.assert_close(mine.feature_acts.to_dense(), output.feature_acts, atol=atol, rtol=atol)
    torch.testing.assert_close(mine.sae_out, output.sae_out, atol=10 * atol, rtol=0)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        size = float(gradient.abs().max())
        assert float((gradients[name] - gradient).abs().max()) < atol * size, name
    if kind != "topk":
        assert float(ours.topk_threshold) == pytest.approx(float(theirs.topk_threshold), rel=1e-5)


def test_gradients_of_the_input_are_right_too():
    generator = torch.Generator().manual_seed(0)
    x, W, b, centre = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in [(4, 3), (3, 9), (9,), (3,)]
    )
    kept, values = largest(x - centre, W, b, None, 2)

    def found(x, W, b, centre):
        held = ((x - centre) @ W + b)[kept.rows, kept.features].detach()
        return preactivations(x, W, b, centre, kept, held).relu()

    torch.autograd.gradcheck(found, [tensor.requires_grad_() for tensor in (x, W, b, centre)])
    torch.testing.assert_close(values, found(x, W, b, centre), atol=1e-14, rtol=0)


@pytest.mark.parametrize("count", [0, 1, 700, 10**9])
def test_the_largest_of_a_batch_are_found_whatever_the_spread(count):
    generator = torch.Generator().manual_seed(3)
    # The rows that the first bound comes from are large, and leave too few of the others.
    size = torch.where(torch.arange(300) % 4 == 0, 1.0, 1e-3)
    x = torch.randn(300, 8, generator=generator) * size[:, None]
    W, b = torch.randn(8, 60, generator=generator), torch.zeros(60)
    kept, values = largest_of_batch(x, W, b, None, count)
    dense = (x @ W).relu()
    want = dense.flatten().topk(min(count, dense.numel())).values
    assert torch.equal(values.sort(descending=True).values, want[want > 0])
    torch.testing.assert_close(dense[kept.rows, kept.features], values)
    W_dec = torch.randn(60, 4, generator=generator)
    sparse = torch.zeros_like(dense)
    sparse[kept.rows, kept.features] = values
    torch.testing.assert_close(decoded(kept, values, W_dec), sparse @ W_dec, atol=1e-4, rtol=1e-4)
