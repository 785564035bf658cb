"""An autoencoder put into the forward pass: nothing changes where nothing should, and the change is what it says."""

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.saes import SaeConfig, SparseAutoencoder, Splice, VectorSite
from workbench.saes.autoencoder import weight_shapes

TEXT = "The meeting began at noon, and nobody was late."


def sae_at(model, hook, **options):
    width = VectorSite.of(model, hook, **{key: options[key] for key in ("head", "every") if key in options}).width(
        model
    )
    cfg = SaeConfig("standard", width, 20, hook=hook, **options)
    generator = torch.Generator().manual_seed(0)
    return SparseAutoencoder(
        cfg, {name: torch.randn(shape, generator=generator) / 5 for name, shape in weight_shapes(cfg).items()}
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "hook", "options"),
    [("zoo:attention", "blocks.1.hook_resid_post", {}), ("zoo:mamba2", "blocks.1.mixer.hook_state", {"every": 4})],
)
def test_with_the_error_kept_nothing_changes_and_a_feature_moves_its_direction(name, hook, options):
    model = wb.load(name)
    tokens = model.to_tokens(TEXT)
    sae = sae_at(model, hook, **options)
    plain = model(tokens)
    with Splice(sae, keep_error=True).applied(model, tokens):
        torch.testing.assert_close(model(tokens), plain)
    with Splice(sae).applied(model, tokens):
        assert (model(tokens) - plain).abs().max() > 0.1

    def up(features):
        return features + 500 * torch.nn.functional.one_hot(torch.tensor(4), 20)

    with Splice(sae, up, keep_error=True).applied(model, tokens):
        spliced = model(tokens)
    site = sae.site(model)
    with model.hooks(fwd_hooks=[site.editor(model, lambda vectors: vectors + 500 * sae.W_dec[4])]):
        by_hand = model(tokens)
    assert (spliced - plain).abs().max() > 0.02
    torch.testing.assert_close(spliced, by_hand, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_transcoder_rewrites_what_it_predicts():
    model = wb.load("zoo:attention")
    tokens = model.to_tokens(TEXT)
    cfg = SaeConfig("transcoder", 128, 20, d_out=128, hook="blocks.1.mixer.hook_in", hook_out="blocks.1.mixer.hook_out")
    weights = {name: torch.randn(shape) / 5 for name, shape in weight_shapes(cfg).items()}
    sae = SparseAutoencoder(cfg, weights)
    with Splice(sae).applied(model, tokens):
        _, cache = model.run_with_cache(tokens)
    want = (cache["blocks.1.mixer.hook_in"] @ sae.W_enc + sae.b_enc).relu() @ sae.W_dec + sae.b_dec
    torch.testing.assert_close(cache["blocks.1.mixer.hook_out"], want, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="reads one place and writes another"):
        Splice(sae, site=VectorSite.of(model, "blocks.1.mixer.hook_in"))


@torch.no_grad()
def test_a_state_is_rewritten_in_what_is_generated_as_well():
    """The tokens of the prompt are known when the hooks are made, those to come are not."""
    model = wb.load("zoo:mamba2")
    tokens = model.to_tokens(TEXT)[:, :6]
    seen = []

    class Noting(Splice):
        def changed(self, features, at):
            seen.append(at.start)
            return features

    with Noting(sae_at(model, "blocks.1.mixer.hook_state", every=4)).applied(model, tokens):
        model.generate(tokens, max_new_tokens=8, temperature=0.0)
    assert seen == [3, 7, 11]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "hook", "options", "same"),
    [
        ("zoo:attention", "blocks.1.hook_resid_post", {}, 5),
        ("zoo:mamba2", "blocks.1.mixer.hook_state", {"every": 4}, 7),
    ],
)
def test_the_first_tokens_stay_as_they_are(name, hook, options, same):
    """Of a state that is written every fourth step, 3 is left as it is, and 7 is the first that is another."""
    model = wb.load(name)
    tokens = model.to_tokens(TEXT)
    plain = model(tokens)
    with Splice(sae_at(model, hook, **options), first=5).applied(model, tokens):
        spliced = model(tokens)
    torch.testing.assert_close(spliced[:, :same], plain[:, :same], atol=1e-5, rtol=1e-5)
    assert (spliced[:, same] - plain[:, same]).abs().max() > 1e-3
