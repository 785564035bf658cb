"""A loaded autoencoder computes what SAELens' classes compute from the same weights, and refuses what does not fit."""

import pytest
import torch
from sae_lens import saes as peers

import workbench as wb
from workbench.errors import InputError, LoadError
from workbench.saes import SaeConfig, SparseAutoencoder
from workbench.saes.autoencoder import weight_shapes

D_IN, D_SAE, D_OUT = 12, 30, 7
PEERS = {
    "standard": (peers.StandardSAE, peers.StandardSAEConfig),
    "topk": (peers.TopKSAE, peers.TopKSAEConfig),
    "jumprelu": (peers.JumpReLUSAE, peers.JumpReLUSAEConfig),
    "gated": (peers.GatedSAE, peers.GatedSAEConfig),
    "transcoder": (peers.Transcoder, peers.TranscoderConfig),
    "skip_transcoder": (peers.SkipTranscoder, peers.SkipTranscoderConfig),
    "jumprelu_transcoder": (peers.JumpReLUTranscoder, peers.JumpReLUTranscoderConfig),
    "jumprelu_skip_transcoder": (peers.JumpReLUSkipTranscoder, peers.JumpReLUSkipTranscoderConfig),
}


def made(architecture, seed=0, **options):
    if "transcoder" in architecture:
        options = {"d_out": D_OUT, **options}
    if architecture == "topk":
        options = {"k": 5, **options}
    cfg = SaeConfig(architecture, D_IN, D_SAE, **options)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=generator) / 3 for name, shape in weight_shapes(cfg).items()}
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].abs()
    return SparseAutoencoder(cfg, weights)


# SAELens' transcoders subtract no bias, and never put back a norm that they took out.
SETTINGS = [
    (architecture, subtract, normalize)
    for architecture in PEERS
    for subtract in (False, True)
    for normalize in ("none", "layer_norm", "constant_norm_rescale")
    if "transcoder" not in architecture or (not subtract and normalize == "none")
]


@pytest.mark.parametrize(("architecture", "subtract", "normalize"), SETTINGS)
def test_numbers_are_saelens(architecture, subtract, normalize):
    transcodes = "transcoder" in architecture
    sae = made(architecture, apply_b_dec_to_input=subtract, normalize_activations=normalize)
    cls, config = PEERS[architecture]
    more = {"d_out": D_OUT} if transcodes else {}
    if architecture == "topk":
        more = {"k": 5, "rescale_acts_by_decoder_norm": False}
    peer = cls(config(d_in=D_IN, d_sae=D_SAE, apply_b_dec_to_input=subtract, normalize_activations=normalize, **more))
    peer.load_state_dict(dict(sae.state_dict()))
    x = torch.randn(4, 9, D_IN, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = peer.encode(x)
        assert 0 < (features > 0).float().mean() < 0.9
        torch.testing.assert_close(sae.encode(x), features, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(sae(x), peer(x), atol=5e-6, rtol=1e-5)


def test_topk_rescaled_by_decoder_norm_is_saelens():
    sae = made("topk", rescale_acts_by_decoder_norm=True)
    peer = peers.TopKSAE(
        peers.TopKSAEConfig(d_in=D_IN, d_sae=D_SAE, k=5, apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=True)
    )
    peer.load_state_dict(dict(sae.state_dict()))
    x = torch.randn(40, D_IN)
    with torch.no_grad():
        torch.testing.assert_close(sae.encode(x), peer.encode(x), atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(sae(x), peer(x), atol=5e-6, rtol=1e-5)
        one = torch.zeros(1, D_SAE)
        one[0, 3] = 1
        torch.testing.assert_close(sae.directions()[3], sae.decode(one)[0] - sae.b_dec)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda weights: weights.pop("b_enc"), "lack b_enc"),
        (lambda weights: weights.update(extra=torch.ones(3)), "has no weight extra"),
        (lambda weights: weights.update(W_dec=torch.ones(3, 3)), r"W_dec has shape \[3, 3\]"),
        (lambda weights: weights["W_enc"].fill_(float("nan")), "W_enc holds NaN"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, says):
    sae = made("standard")
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    change(weights)
    with pytest.raises(LoadError, match=says):
        SparseAutoencoder(sae.cfg, weights)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"architecture": "topp"}, "No architecture is called 'topp'"),
        ({"architecture": "topk"}, "k is None"),
        ({"architecture": "topk", "k": 31}, "k is 31"),
        ({"d_sae": 0}, "nothing to learn"),
        ({"normalize_activations": "batch"}, "normalize_activations is 'batch'"),
        ({"architecture": "transcoder", "apply_b_dec_to_input": True}, "another space"),
    ],
)
def test_what_is_no_autoencoder_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        SaeConfig(**{"architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, **options})


def test_another_width_or_another_model_is_refused():
    sae = made("standard", hook="blocks.1.hook_resid_post", model_name="somebody's")
    with pytest.raises(InputError, match="have 13 numbers; this autoencoder takes 12"):
        sae.encode(torch.zeros(2, 13))
    with pytest.raises(InputError, match=r"12 numbers at blocks.1.hook_resid_post of somebody's; .* has 128 there"):
        sae.site(wb.load("zoo:mamba"))
