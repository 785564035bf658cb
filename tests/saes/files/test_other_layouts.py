"""sparsify's folders and checkpoints of any other kind: their own formulas are the oracle."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from workbench.errors import InputError, LoadError
from workbench.saes import KeyMap, load_sae

D_IN, D_SAE, K = 10, 24, 4


def tensors(seed=0, skip=False):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"encoder.weight": (D_SAE, D_IN), "encoder.bias": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    if skip:
        shapes["W_skip"] = (D_IN, D_IN)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def sparsify(folder, held, **cfg):
    folder.mkdir(parents=True)
    save_file(held, folder / "sae.safetensors")
    written = {"d_in": D_IN, "k": K, "expansion_factor": 32, "num_latents": D_SAE, "normalize_decoder": True, **cfg}
    (folder / "cfg.json").write_text(json.dumps(written))
    return folder


def their_output(held, x, transcode=False):
    """``sparsify.SparseCoder`` (version 1.3): ReLU, top k, rows of the decoder, bias, skip."""
    pre = F.linear(x if transcode else x - held["b_dec"], held["encoder.weight"], held["encoder.bias"]).relu()
    values, indices = pre.topk(K, dim=-1)
    out = torch.stack([(v[:, None] * held["W_dec"][i]).sum(0) for v, i in zip(values, indices, strict=True)])
    return out + held["b_dec"] + (x @ held["W_skip"].T if "W_skip" in held else 0)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "topk"),
        ({"transcode": True}, "topk_transcoder"),
        ({"transcode": True, "skip_connection": True}, "topk_skip_transcoder"),
    ],
)
def test_sparsify_computes_the_same(options, kind, tmp_path):
    held = tensors(skip="skip_connection" in options)
    (tmp_path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-160m", "dataset": "pile"}))
    sae = load_sae(sparsify(tmp_path / "layers.3.attention", held, **options))
    x = torch.randn(50, D_IN, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(sae.decode(sae.encode(x), x), their_output(held, x, bool(options)), atol=1e-5, rtol=1e-5)
    cfg = sae.cfg
    assert (cfg.architecture, cfg.k, cfg.model_name) == (kind, K, "EleutherAI/pythia-160m")
    hooks = ("blocks.3.mixer.hook_in", "blocks.3.mixer.hook_out") if options else ("blocks.3.mixer.hook_out", None)
    assert (cfg.hook, cfg.hook_out) == hooks


@pytest.mark.parametrize(
    ("folder", "hook"),
    [
        ("layers.11", "blocks.11.hook_resid_post"),
        ("model.layers.2.mlp", "blocks.2.hook_mlp_out"),
        ("h.7.attn", "blocks.7.mixer.hook_out"),
        ("embed_tokens", "hook_embed"),
        ("something", None),
    ],
)
def test_sparsify_folders_name_their_hook(folder, hook, tmp_path):
    assert load_sae(sparsify(tmp_path / folder, tensors()), "sparsify").cfg.hook == hook


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"activation": "groupmax"}, "has the activation groupmax"),
        ({"signed": True}, "signed topk"),
        ({"gram_lookup": True}, "trained with gram_lookup"),
        ({"skip_connection": True}, "only transcoders have one"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_what_is_not_read_of_sparsify_is_named(options, says, tmp_path):
    held = tensors(skip="skip_connection" in options)
    with pytest.raises((LoadError, InputError), match=says):
        load_sae(sparsify(tmp_path / "layers.1", held, **options))


NAMES = {"encoder.weight": "W_enc.T", "encoder.bias": "b_enc", "decoder.weight": "W_dec.T", "decoder.bias": "b_dec"}


def linear(seed=0):
    held = tensors(seed)
    return {
        "encoder.weight": held["encoder.weight"],
        "encoder.bias": held["encoder.bias"],
        "decoder.weight": held["W_dec"].T.contiguous(),
        "decoder.bias": held["b_dec"],
        "steps": torch.tensor(7.0),
    }


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
def test_any_checkpoint_through_its_names(suffix, tmp_path):
    file, held = tmp_path / f"ae{suffix}", linear()
    if suffix == ".npz":
        np.savez(file, **{name: tensor.numpy() for name, tensor in held.items()})
    elif suffix == ".pt":
        torch.save(held, file)
    else:
        save_file(held, file)
    sae = load_sae(file, KeyMap(NAMES, hook="blocks.2.hook_resid_post", apply_b_dec_to_input=True))
    x = torch.randn(6, D_IN)
    features = F.linear(x - held["decoder.bias"], held["encoder.weight"], held["encoder.bias"]).relu()
    torch.testing.assert_close(sae.encode(x), features)
    torch.testing.assert_close(sae(x), F.linear(features, held["decoder.weight"], held["decoder.bias"]))
    assert sae.cfg.hook == "blocks.2.hook_resid_post"


def test_weights_that_are_zero_and_a_threshold(tmp_path):
    held = {**tensors(), "threshold": torch.full((D_SAE,), 0.5)}
    names = {"encoder.weight": "W_enc.T", "W_dec": "W_dec", "b_dec": "b_dec", "threshold": "threshold"}
    save_file(held, tmp_path / "a.safetensors")
    sae = load_sae(tmp_path / "a.safetensors", KeyMap(names, "jumprelu", zeros=("b_enc",)), dtype=torch.float64)
    x = torch.randn(6, D_IN, dtype=torch.float64)
    pre = x @ held["encoder.weight"].double().T
    torch.testing.assert_close(sae.encode(x), pre * (pre > 0.5))


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_wrong_names_are_one_sentence(tmp_path, capsys):
    file = tmp_path / "a.safetensors"
    save_file(linear(), file)
    for wrong, says in (
        ({"nothing": "W_enc"}, "has no tensor nothing; it has decoder.bias"),
        ({**NAMES, "decoder.weight": "W_dec"}, "put .T behind the name"),
        ({**NAMES, "encoder.bias": "b_enc.T"}, "only a matrix can be transposed"),
        ({"encoder.weight": "W_enc.T"}, "do not say which matrix W_dec is"),
        ({**NAMES, "steps": "scale"}, "has no weight scale"),
    ):
        with pytest.raises(LoadError, match=says):
            load_sae(file, KeyMap(wrong))
    with pytest.raises(InputError, match="no setting 'kk'"):
        KeyMap(NAMES, kk=3)
    with pytest.raises(InputError, match="No architecture is called 'topp'"):
        KeyMap(NAMES, "topp")
    with pytest.raises(InputError, match="Two tensors of the checkpoint are called b_enc"):
        KeyMap({"a": "b_enc", "b": "b_enc"})
    torch.save({"encoder.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(LoadError, match="more than tensors, which is not run"):
        load_sae(tmp_path / "evil.pt", KeyMap(NAMES))
    assert "run" not in capsys.readouterr().out
    with pytest.raises(LoadError, match="pass a KeyMap"):
        load_sae(file)
