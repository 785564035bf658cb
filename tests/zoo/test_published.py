"""Checkpoints with the published keys load onto native models and compute what the keys say."""

import json
from pathlib import Path

import pytest
import torch

import workbench
from tests.zoo.published_files import COMMON, VOCABULARY, WIDTH, configuration, logits, tensors, write
from workbench.errors import LoadError, UnsupportedFamilyError
from workbench.zoo import published
from workbench.zoo.published import KeyMap, Stored
from workbench.zoo.published.registry import register

FAMILIES = ["delta_net", "gla", "hgrn2", "retnet"]
TOKENS = torch.tensor([3, 17, 5, 3, 17, 39, 0, 8, 8, 3])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_published_checkpoint_computes_what_its_keys_say(family: str, tmp_path: Path) -> None:
    weights = tensors(family)
    model = workbench.load(write(tmp_path, configuration(family), weights))
    assert model.cfg.dtype == torch.float64
    expected = logits(family, weights, TOKENS)
    torch.testing.assert_close(model(TOKENS[None])[0], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_tied_checkpoint_has_one_matrix(family: str, tmp_path: Path) -> None:
    weights = tensors(family)
    del weights["lm_head.weight"]
    model = published.load(write(tmp_path, configuration(family, tie_word_embeddings=True), weights))
    assert model.unembed.weight is model.embed.weight
    weights["lm_head.weight"] = weights["model.embeddings.weight"]
    torch.testing.assert_close(model(TOKENS[None]).logits[0], logits(family, weights, TOKENS), atol=1e-9, rtol=1e-9)
    published.load(write(tmp_path, configuration(family, tie_word_embeddings=True), weights))  # stored twice, the same
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1
    with pytest.raises(LoadError, match=r"ties lm_head\.weight to another tensor"):
        published.load(write(tmp_path, configuration(family, tie_word_embeddings=True), weights))


@torch.no_grad()
def test_early_checkpoints_keep_both_mlp_inputs_in_one_matrix(tmp_path: Path) -> None:
    weights = tensors("gla")
    expected = logits("gla", weights, TOKENS)
    for layer in range(COMMON["num_hidden_layers"]):
        gate, value = (f"model.layers.{layer}.mlp.{name}_proj.weight" for name in ("gate", "up"))
        weights[gate] = torch.cat([weights[gate], weights.pop(value)])
    model = published.load(write(tmp_path, configuration("gla"), weights))
    torch.testing.assert_close(model(TOKENS[None]).logits[0], expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_the_norm_has_another_name_where_it_is_not_fused_with_the_gate(tmp_path: Path) -> None:
    weights = tensors("retnet")
    expected = logits("retnet", weights, TOKENS)
    renamed = {name.replace("g_norm_swish_gate", "g_norm"): tensor for name, tensor in weights.items()}
    model = published.load(write(tmp_path, configuration("retnet", fuse_norm=False), renamed))
    torch.testing.assert_close(model(TOKENS[None]).logits[0], expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_published_retnets_have_no_convolutions_whatever_their_configuration_says(tmp_path: Path) -> None:
    weights = tensors("retnet")
    model = published.load(write(tmp_path, configuration("retnet", use_short_conv=True), weights))
    torch.testing.assert_close(model(TOKENS[None]).logits[0], logits("retnet", weights, TOKENS), atol=1e-9, rtol=1e-9)


def test_weights_in_several_files_are_read_together(tmp_path: Path) -> None:
    weights = tensors("gla")
    names = sorted(weights)
    write(tmp_path, configuration("gla"), {name: weights[name] for name in names[::2]})
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    write(tmp_path, configuration("gla"), {name: weights[name] for name in names[1::2]})
    model = published.load(tmp_path)
    assert torch.equal(model.embed.weight, weights["model.embeddings.weight"])
    write(tmp_path, configuration("gla"), weights)
    with pytest.raises(LoadError, match="in more than one file"):
        published.load(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_key_is_named(family: str, tmp_path: Path) -> None:
    weights = tensors(family)
    del weights["model.layers.1.attn.o_proj.weight"]
    with pytest.raises(LoadError, match=r"lacks 1 of .* for example model\.layers\.1\.attn\.o_proj\.weight\.$"):
        workbench.load(write(tmp_path, configuration(family), weights))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_key_too_many_is_named(family: str, tmp_path: Path) -> None:
    weights = tensors(family)
    weights["model.layers.3.attn.o_proj.weight"] = torch.ones(1)
    with pytest.raises(LoadError, match=r"holds 1 weights that .* for example model\.layers\.3\.attn\.o_proj\.weight"):
        workbench.load(write(tmp_path, configuration(family), weights))


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("gla", "model.embeddings.weight"),
        ("gla", "model.layers.0.mlp.gate_proj.weight"),
        ("hgrn2", "model.lower_bounds"),
    ],
)
def test_a_misfit_shape_is_named(family: str, key: str, tmp_path: Path) -> None:
    weights = tensors(family)
    weights[key] = torch.ones(7, 5)
    with pytest.raises(LoadError, match=rf"{key} gives \[7, 5\] where the model needs \["):
        workbench.load(write(tmp_path, configuration(family), weights))


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("gla", "attn", {"layers": [1]}),
        ("gla", "hidden_act", "gelu"),
        ("gla", "clamp_min", -1.0),
        ("gla", "feature_map", "relu"),
        ("retnet", "num_kv_heads", 1),
        ("retnet", "attnres_block_size", 2),
        ("delta_net", "qk_activation", "elu"),
        ("delta_net", "qk_norm", "sum"),
        ("delta_net", "use_beta", False),
    ],
)
def test_a_variant_that_no_native_model_has_names_its_key(family: str, key: str, value: object, tmp_path: Path) -> None:
    directory = write(tmp_path, configuration(family, **{key: value}), tensors(family))
    with pytest.raises(UnsupportedFamilyError, match=rf"The configuration's {key} is .* native {family} does not have"):
        workbench.load(directory)


@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [
        ("hidden_size", "24", "a positive whole number"),
        ("num_hidden_layers", 0, "a positive whole number"),
        ("expand_k", None, "a positive number"),
        ("use_output_gate", 1, "true or false"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(key: str, value: object, needed: str, tmp_path: Path) -> None:
    directory = write(tmp_path, configuration("gla", **{key: value}), tensors("gla"))
    with pytest.raises(LoadError, match=rf"The configuration's {key} is {value!r}; {needed} is needed\."):
        workbench.load(directory)


@torch.no_grad()
def test_keys_that_a_configuration_leaves_out_have_the_published_defaults(tmp_path: Path) -> None:
    weights = tensors("gla")
    config = configuration("gla", num_heads=4)
    whole = published.load(write(tmp_path, config, _with_heads(weights, 4)))
    for key in ("num_heads", "expand_k", "expand_v", "hidden_ratio", "norm_eps", "hidden_act", "tie_word_embeddings"):
        del config[key]
    bare = published.load(write(tmp_path, config, _with_heads(weights, 4)))
    assert torch.equal(bare(TOKENS[None]).logits, whole(TOKENS[None]).logits)


def _with_heads(weights: dict[str, torch.Tensor], heads: int) -> dict[str, torch.Tensor]:
    return {
        name: tensor[: WIDTH // heads] if name.endswith("g_norm_swish_gate.weight") else tensor
        for name, tensor in weights.items()
    }


def test_a_model_type_without_a_key_map_is_left_to_transformers(tmp_path: Path) -> None:
    directory = write(tmp_path, configuration("gla") | {"model_type": "nothing"}, tensors("gla"))
    assert not published.is_published(directory)
    with pytest.raises(UnsupportedFamilyError, match=r"'nothing'; there are key maps for .*delta_net, gla, hgrn2"):
        published.load(directory)


def test_a_model_type_is_taken_once() -> None:
    def build(values: object) -> tuple[torch.nn.Module, KeyMap]:
        return torch.nn.Linear(1, 1), {"weight": Stored(("weight",))}

    with pytest.raises(ValueError, match="'gla' is built by"):
        register("gla")(build)


def test_a_hooked_published_model_is_exact(tmp_path: Path) -> None:
    model = workbench.load(write(tmp_path, configuration("delta_net"), tensors("delta_net")))
    tokens = torch.randint(VOCABULARY, (2, 12))
    for scope in ("core", "mixer"):
        assert model.implicit_attention(tokens, 1, scope=scope).check() < 1e-10


@torch.no_grad()
def test_a_hub_id_is_read_from_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    commit = "0" * 40
    stored = tmp_path / "models--somebody--small" / "snapshots" / commit
    stored.mkdir(parents=True)
    (tmp_path / "models--somebody--small" / "refs").mkdir()
    (tmp_path / "models--somebody--small" / "refs" / "main").write_text(commit)
    weights = tensors("gla")
    write(stored, configuration("gla"), weights)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = workbench.load("somebody/small")
    torch.testing.assert_close(model(TOKENS[None])[0], logits("gla", weights, TOKENS), atol=1e-9, rtol=1e-9)
    write(stored, configuration("gla") | {"model_type": "llama"}, weights)
    assert published.download("somebody/small", "main") is None
    assert published.download("somebody/nothing", "main") is None


def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    directory = write(tmp_path, configuration("gla"), tensors("gla"))
    (directory / "config.json").write_text(json.dumps(["gla"]))
    with pytest.raises(LoadError, match="holds list, not an object"):
        workbench.load(directory)
