"""What SAELens saves is loaded with equal numbers, and what is saved here SAELens loads with equal numbers."""

import json
import warnings

import pytest
import sae_lens
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from tests.saes.test_autoencoder import D_IN, D_SAE, PEERS, made
from workbench.errors import HookNameError, InputError, LoadError
from workbench.saes import SaeConfig, SparseAutoencoder, load_sae, save_sae
from workbench.saes.files import names


def vectors(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def agree(ours, theirs, x, atol=5e-6):
    with torch.no_grad():
        features = theirs.encode(x)
        assert (features > 0).any()
        torch.testing.assert_close(ours.encode(x.flatten(x.dim() - 1)), features, atol=atol, rtol=1e-5)
        torch.testing.assert_close(ours(x), theirs(x), atol=atol, rtol=1e-5)


@pytest.mark.parametrize("architecture", PEERS)
def test_what_is_saved_here_saelens_loads(architecture, tmp_path):
    sae = made(architecture, hook="blocks.1.hook_resid_post", model_name="gpt2", every=4, details={"note": [1, "a"]})
    save_sae(sae, tmp_path / "sae")
    peer = sae_lens.SAE.load_from_disk(tmp_path / "sae")
    assert type(peer) is PEERS[architecture][0]
    assert (peer.cfg.metadata.hook_name, peer.cfg.metadata.model_name) == ("blocks.1.hook_resid_post", "gpt2")
    agree(sae, peer, vectors(5, D_IN))
    again = load_sae(tmp_path / "sae")
    assert again.cfg.details.pop("sae_lens_version") and again.cfg.details.pop("sae_lens_training_version") is None
    assert again.cfg == sae.cfg
    for name, tensor in sae.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize("architecture", PEERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_saelens_saves_is_loaded(architecture, dtype, tmp_path):
    like = made(architecture)
    cls, config = PEERS[architecture]
    more = {"d_out": like.cfg.width_out} if like.cfg.transcodes else {}
    if architecture == "topk":
        more = {"k": 5, "rescale_acts_by_decoder_norm": True}
    peer = cls(config(d_in=D_IN, d_sae=D_SAE, apply_b_dec_to_input=not like.cfg.transcodes, dtype=dtype, **more))
    peer.load_state_dict({name: tensor.to(peer.dtype) for name, tensor in like.state_dict().items()})
    peer.cfg.metadata.hook_name = "blocks.3.attn.hook_q"
    peer.cfg.metadata.hook_head_index = 2
    peer.save_model(tmp_path)
    sae = load_sae(tmp_path)
    assert (sae.cfg.hook, sae.cfg.head) == ("blocks.3.mixer.hook_q", 2)
    assert sae.dtype == peer.dtype
    if dtype == "float32":
        agree(sae, sae_lens.SAE.load_from_disk(tmp_path), vectors(5, D_IN))
    else:
        for name, tensor in peer.state_dict().items():
            assert torch.equal(sae.state_dict()[name], tensor), name


def test_heads_side_by_side_are_saelens_hook_z(tmp_path):
    sae = made("standard", hook="blocks.2.mixer.hook_z")
    save_sae(sae, tmp_path)
    peer = sae_lens.SAE.load_from_disk(tmp_path)
    assert peer.cfg.metadata.hook_name == "blocks.2.attn.hook_z"
    x = vectors(5, 7, 3, D_IN // 3)
    with torch.no_grad():
        torch.testing.assert_close(sae.encode(x.flatten(2)), peer.encode(x), atol=2e-6, rtol=1e-5)
    assert load_sae(tmp_path).cfg.hook == "blocks.2.mixer.hook_z"


def test_a_subspace_and_a_recurrent_hook_come_back(tmp_path):
    basis = torch.linalg.qr(vectors(40, D_IN))[0].T.contiguous()
    like = made("topk", hook="blocks.1.mixer.hook_state", every=8, head=1, details={"recurrent": True})
    sae = SparseAutoencoder(like.cfg, like.state_dict(), basis)
    again = load_sae(save_sae(sae, tmp_path))
    assert torch.equal(again.basis, basis)
    assert (again.cfg.hook, again.cfg.every, again.cfg.head) == ("blocks.1.mixer.hook_state", 8, 1)
    save_sae(like, tmp_path)  # over it, without a basis
    assert load_sae(tmp_path).basis is None


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka_batchtopk", "topk", "jumprelu", "gated", "standard"])
def test_a_checkpoint_of_saelens_training_is_what_it_would_save_in_the_end(kind, tmp_path):
    cls, config = sae_lens.registry.get_sae_training_class(kind)
    more = {"matryoshka_widths": [9, D_SAE]} if kind.startswith("mat") else {}
    training = cls(config(d_in=D_IN, d_sae=D_SAE, **({"k": 3} if "topk" in kind else {}), **more))
    like = made("gated" if kind == "gated" else "standard")
    with torch.no_grad():
        for name, tensor in training.named_parameters():
            tensor.copy_(like.state_dict()[name] if name != "threshold" else vectors(D_SAE).abs())
        if hasattr(training, "topk_threshold"):
            training.topk_threshold.fill_(0.8)
    training.cfg.normalize_activations = "expected_average_only_in"
    training.save_model(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 1.7}))
    training.fold_activation_norm_scaling_factor(1.7)
    training.save_inference_model(tmp_path / "final")
    sae = load_sae(tmp_path / "checkpoint")
    agree(sae, sae_lens.SAE.load_from_disk(tmp_path / "final"), vectors(20, D_IN), atol=2e-5)
    agree(load_sae(tmp_path / "final"), sae_lens.SAE.load_from_disk(tmp_path / "final"), vectors(20, D_IN))


def test_files_from_before_version_6(tmp_path):
    sae = made("topk", apply_b_dec_to_input=True)
    save_sae(sae, tmp_path)
    old = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "torch.float32",
        "device": "cpu",
        "model_name": "gpt2-small",
        "hook_point": "blocks.8.hook_attn_out",
        "hook_point_head_index": None,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 5},
        "normalize_activations": False,
        "prepend_bos": True,
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    peer = sae_lens.SAE.load_from_disk(tmp_path)
    read = load_sae(tmp_path)
    agree(read, peer, vectors(9, D_IN))
    assert read.cfg.hook == "blocks.8.mixer.hook_out" and read.cfg.model_name == "gpt2-small"
    assert read.cfg.details["prepend_bos"] is True


def test_hook_names_there_and_back():
    model = wb.load("zoo:attention")
    for name in model.points:
        theirs = names.transformer_lens(name)
        assert names.canonical(theirs) == name
        assert model.points.select(theirs) == [name]
    assert names.transformer_lens("blocks.5.mixer.hook_z") == "blocks.5.attn.hook_z"
    assert names.transformer_lens("blocks.5.mixer.hook_out") == "blocks.5.hook_attn_out"
    assert names.canonical("blocks.5.attn.hook_rot_k") == "blocks.5.mixer.hook_k"


def broken(tmp_path, **change):
    save_sae(made("standard", hook="blocks.1.hook_resid_post"), tmp_path)
    file = tmp_path / "cfg.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "temporal"}, "is a temporal autoencoder, which is not read here: its features depend"),
        ({"architecture": "matching_pursuit"}, "is a matching_pursuit autoencoder"),
        ({"architecture": "abstopk"}, "its features may be negative"),
        ({"architecture": "dense"}, "unknown architecture 'dense'; read are standard, topk"),
        ({"d_in": 13}, r"W_enc has shape \[12, 30\]; \[13, 30\] is needed"),
        ({"d_sae": None}, "does not say how wide"),
        ({"architecture": "topk", "k": 5, "dtype": "int8"}, "dtype 'int8'"),
        ({"normalize_activations": "covariance_whitening"}, "whitened"),
    ],
)
def test_what_is_not_read_is_named(change, says, tmp_path):
    with pytest.raises(LoadError, match=says):
        load_sae(broken(tmp_path, **change))


def test_damaged_files_are_named(tmp_path):
    folder = broken(tmp_path)
    file = folder / "sae_weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadError, match=r"sae_weights.safetensors is corrupt or truncated"):
        load_sae(folder)
    file.unlink()
    with pytest.raises(LoadError, match="There is no file"):
        load_sae(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(LoadError, match="no valid JSON"):
        load_sae(folder)
    with pytest.raises(LoadError, match="is no folder"):
        load_sae(tmp_path / "nothing")
    with pytest.raises(InputError, match="No layout is called 'onnx'"):
        load_sae(folder, "onnx")


def test_a_model_that_it_does_not_fit_is_refused(tmp_path):
    model = wb.load("zoo:mamba")
    with pytest.raises(InputError, match=r"trained on 12 numbers at blocks.1.hook_resid_post of None; .* has 128"):
        load_sae(broken(tmp_path), model=model)
    save_sae(made("standard", hook="blocks.9.hook_resid_post"), tmp_path)
    with pytest.raises(HookNameError, match="No hook point matches"):
        load_sae(tmp_path, model=model)
    cfg = SaeConfig("standard", 128, 3, hook="blocks.1.hook_resid_post", model_name="EleutherAI/pythia-70m")
    shapes = {"W_enc": (128, 3), "W_dec": (3, 128), "b_enc": (3,), "b_dec": (128,)}
    save_sae(SparseAutoencoder(cfg, {name: torch.ones(shape) for name, shape in shapes.items()}), tmp_path)
    with pytest.warns(UserWarning, match="trained on EleutherAI/pythia-70m, and is used on"):
        load_sae(tmp_path, model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_sae(tmp_path)


def test_a_disk_that_refuses_keeps_the_old_file(tmp_path, monkeypatch):
    folder = save_sae(made("standard", seed=0), tmp_path)
    before = load_file(folder / "sae_weights.safetensors")

    def full(tensors, path, metadata):
        save_file(tensors, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match="could not be written: No space left on device"):
        save_sae(made("standard", seed=1), folder)
    assert torch.equal(load_file(folder / "sae_weights.safetensors")["W_enc"], before["W_enc"])
    assert sorted(file.name for file in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
