"""Small files with the documented keys of RWKV-7 and RWKV-6 checkpoints give the logits of the papers' equations.

The expected logits are computed from the stored tensors, under the names they are stored by, token by token.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import workbench
from workbench.errors import LoadError, UnsupportedFamilyError
from workbench.zoo import published

VOCABULARY, WIDTH, LAYERS, SIZE, HIDDEN = 30, 16, 2, 8, 32
HEADS, EPS = WIDTH // SIZE, 1e-3
Tensors = dict[str, Tensor]


def write(directory: Path, config: dict[str, object], tensors: Tensors) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / "model.safetensors")
    return directory


def drawn(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    generator = torch.Generator().manual_seed(2)
    return {name: 0.5 * torch.randn(shape, generator=generator).double() for name, shape in shapes.items()}


def norm(tensors: Tensors, name: str, x: Tensor, eps: float = EPS) -> Tensor:
    return F.layer_norm(x, (WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.group_norm(x, HEADS, weight, bias, eps)


def before(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


# RWKV-7, as flash-linear-attention stores it.

RANKS = {"w": 3, "a": 4, "g": 5, "v": 6}
CONFIG_7 = {
    "model_type": "rwkv7", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
    "head_dim": SIZE, "intermediate_size": HIDDEN, "norm_eps": EPS, "decay_low_rank_dim": RANKS["w"],
    "a_low_rank_dim": RANKS["a"], "gate_low_rank_dim": RANKS["g"], "v_low_rank_dim": RANKS["v"],
    "value_dim": [WIDTH] * LAYERS, "hidden_act": "sqrelu", "tie_word_embeddings": False,
}  # fmt: skip


def shapes_7() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embeddings.weight": (VOCABULARY, WIDTH)}
    shapes |= {"model.norm.weight": (WIDTH,), "model.norm.bias": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        norms = ["attn_norm", "ffn_norm", "attn.g_norm", *(["pre_norm"] if layer == 0 else [])]
        shapes |= {f"{block}.{one}.{part}": (WIDTH,) for one in norms for part in ("weight", "bias")}
        shapes |= {f"{block}.attn.x_{name}": (1, 1, WIDTH) for name in "rwkvag"}
        shapes |= {f"{block}.attn.k_k": (WIDTH,), f"{block}.attn.k_a": (WIDTH,), f"{block}.attn.r_k": (HEADS, SIZE)}
        shapes |= {f"{block}.attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "rkvo"}
        for name in "wag" if layer == 0 else "wagv":
            shapes[f"{block}.attn.{name}_lora.lora.0.weight"] = (RANKS[name], WIDTH)
            shapes[f"{block}.attn.{name}_lora.lora.2.weight"] = (WIDTH, RANKS[name])
            if name != "g":
                shapes[f"{block}.attn.{name}_lora.lora.2.bias"] = (WIDTH,)
        shapes |= {f"{block}.ffn.x_k": (WIDTH,), f"{block}.ffn.key.weight": (HIDDEN, WIDTH)}
        shapes[f"{block}.ffn.value.weight"] = (WIDTH, HIDDEN)
    return shapes


def logits_7(tensors: Tensors, tokens: Tensor) -> Tensor:
    x = norm(tensors, "model.layers.0.pre_norm", tensors["model.embeddings.weight"][tokens])
    first = None
    for layer in range(LAYERS):
        own = {k.removeprefix(f"model.layers.{layer}."): t for k, t in tensors.items() if f"layers.{layer}." in k}

        def lora(name: str, x: Tensor, inner=lambda x: x, own: Tensors = own) -> Tensor:  # type: ignore[no-untyped-def]
            low = inner(x @ own[f"attn.{name}_lora.lora.0.weight"].T)
            return low @ own[f"attn.{name}_lora.lora.2.weight"].T + own.get(f"attn.{name}_lora.lora.2.bias", 0)

        h = norm(own, "attn_norm", x)
        mixed = {name: h + (before(h) - h) * own[f"attn.x_{name}"].flatten() for name in "rwkvag"}
        r, k, v = (mixed[name] @ own[f"attn.{name}_proj.weight"].T for name in "rkv")
        w = torch.exp(-math.exp(-0.5) * lora("w", mixed["w"], torch.tanh).sigmoid())
        a, g = lora("a", mixed["a"]).sigmoid(), lora("g", mixed["g"], torch.sigmoid)
        if first is None:
            first = v
        else:
            v = v + (first - v) * lora("v", mixed["v"]).sigmoid()
        kk = F.normalize((k * own["attn.k_k"]).unflatten(-1, (HEADS, SIZE)), dim=-1)
        k = k * (1 + (a - 1) * own["attn.k_a"])
        r, w, k, v, a = (part.unflatten(-1, (HEADS, SIZE)) for part in (r, w, k, v, a))
        state, out = torch.zeros(HEADS, SIZE, SIZE).double(), []
        for t in range(len(tokens)):
            removed = torch.einsum("hvk,hk->hv", state, kk[t])
            state = (
                state * w[t, :, None] - removed[..., None] * (kk[t] * a[t])[:, None] + v[t, ..., None] * k[t, :, None]
            )
            out.append(torch.einsum("hvk,hk->hv", state, r[t]).flatten())
        read = group_norm(torch.stack(out), own["attn.g_norm.weight"], own["attn.g_norm.bias"], SIZE * EPS)
        read = read + ((r * k * own["attn.r_k"]).sum(-1, keepdim=True) * v).flatten(1)
        x = x + (read * g) @ own["attn.o_proj.weight"].T
        h = norm(own, "ffn_norm", x)
        key = (h + (before(h) - h) * own["ffn.x_k"]) @ own["ffn.key.weight"].T
        x = x + key.relu().square() @ own["ffn.value.weight"].T
    return norm(tensors, "model.norm", x) @ tensors["lm_head.weight"].T


# RWKV-6 World, as its models for transformers store it.

CONFIG_6 = {
    "model_type": "rwkv6", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
    "attention_hidden_size": WIDTH, "head_size": SIZE, "head_size_divisor": 4, "layer_norm_epsilon": EPS,
    "intermediate_size": HIDDEN, "rescale_every": 6, "tie_word_embeddings": False,
}  # fmt: skip


def shapes_6() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"rwkv.embeddings.weight": (VOCABULARY, WIDTH)}
    shapes |= {"rwkv.ln_out.weight": (WIDTH,), "rwkv.ln_out.bias": (WIDTH,), "head.weight": (VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        block = f"rwkv.blocks.{layer}"
        norms = ["ln1", "ln2", "attention.ln_x", *(["pre_ln"] if layer == 0 else [])]
        shapes |= {f"{block}.{one}.{part}": (WIDTH,) for one in norms for part in ("weight", "bias")}
        shapes |= {f"{block}.attention.time_maa_{name}": (1, 1, WIDTH) for name in "xwkvrg"}
        shapes |= {f"{block}.attention.time_maa_w1": (WIDTH, 160), f"{block}.attention.time_maa_w2": (5, 32, WIDTH)}
        shapes |= {f"{block}.attention.time_decay": (1, 1, WIDTH), f"{block}.attention.time_faaaa": (HEADS, SIZE)}
        shapes |= {f"{block}.attention.time_decay_w1": (WIDTH, 64), f"{block}.attention.time_decay_w2": (64, WIDTH)}
        names = ("receptance", "key", "value", "gate", "output")
        shapes |= {f"{block}.attention.{name}.weight": (WIDTH, WIDTH) for name in names}
        shapes |= {f"{block}.feed_forward.time_maa_{name}": (1, 1, WIDTH) for name in "kr"}
        shapes |= {f"{block}.feed_forward.key.weight": (HIDDEN, WIDTH)}
        shapes |= {f"{block}.feed_forward.value.weight": (WIDTH, HIDDEN)}
        shapes |= {f"{block}.feed_forward.receptance.weight": (WIDTH, WIDTH)}
    return shapes


def tensors_6() -> Tensors:
    return {name: t / 8 if "time_" in name and t.dim() > 1 else t for name, t in drawn(shapes_6()).items()}


def logits_6(tensors: Tensors, tokens: Tensor, divisor: int = 4) -> Tensor:
    x = norm(tensors, "rwkv.blocks.0.pre_ln", tensors["rwkv.embeddings.weight"][tokens])
    for layer in range(LAYERS):
        own = {k.removeprefix(f"rwkv.blocks.{layer}."): t for k, t in tensors.items() if f"blocks.{layer}." in k}
        att = {k.removeprefix("attention."): t for k, t in own.items()}
        ffn = {k.removeprefix("feed_forward."): t for k, t in own.items()}
        h = norm(own, "ln1", x)
        step = before(h) - h
        low = torch.tanh((h + step * att["time_maa_x"][0]) @ att["time_maa_w1"]).unflatten(-1, (5, 32))
        mixed = {
            name: h + step * (att[f"time_maa_{name}"][0] + low[:, i] @ att["time_maa_w2"][i])
            for i, name in enumerate("wkvrg")
        }
        r, k, v, g = (
            mixed[short] @ att[f"{name}.weight"].T
            for short, name in (("r", "receptance"), ("k", "key"), ("v", "value"), ("g", "gate"))
        )
        decay = att["time_decay"][0] + torch.tanh(mixed["w"] @ att["time_decay_w1"]) @ att["time_decay_w2"]
        w = torch.exp(-torch.exp(decay))
        r, k, v, w = (part.unflatten(-1, (HEADS, SIZE)) for part in (r, k, v, w))
        state, out = torch.zeros(HEADS, SIZE, SIZE).double(), []
        for t in range(len(tokens)):
            written = k[t, ..., None] * v[t, :, None]
            out.append(((state + att["time_faaaa"][..., None] * written) * r[t, ..., None]).sum(1).flatten())
            state = w[t, ..., None] * state + written
        read = group_norm(torch.stack(out), att["ln_x.weight"], att["ln_x.bias"], EPS * divisor**2)
        x = x + (read * F.silu(g)) @ att["output.weight"].T
        h = norm(own, "ln2", x)
        step = before(h) - h
        key = (h + step * ffn["time_maa_k"][0]) @ ffn["key.weight"].T
        gate = ((h + step * ffn["time_maa_r"][0]) @ ffn["receptance.weight"].T).sigmoid()
        x = x + gate * (key.relu().square() @ ffn["value.weight"].T)
    return norm(tensors, "rwkv.ln_out", x) @ tensors["head.weight"].T


def as_fla_6(tensors: Tensors) -> Tensors:
    """The same model in flash-linear-attention's layout, whose five shares come in the order r, w, k, v, g."""
    order = ["wkvrg".index(name) for name in "rwkvg"]
    found = {"model.embeddings.weight": tensors["rwkv.embeddings.weight"], "lm_head.weight": tensors["head.weight"]}
    found |= {f"model.norm.{part}": tensors[f"rwkv.ln_out.{part}"] for part in ("weight", "bias")}
    for layer in range(LAYERS):
        old, new = f"rwkv.blocks.{layer}", f"model.layers.{layer}"
        norms = {"ln1": "attn_norm", "ln2": "ffn_norm", "attention.ln_x": "attn.g_norm"}
        norms |= {"pre_ln": "pre_norm"} if layer == 0 else {}
        for ours, theirs in norms.items():
            found |= {f"{new}.{theirs}.{part}": tensors[f"{old}.{ours}.{part}"] for part in ("weight", "bias")}
        att = {k.removeprefix(f"{old}.attention."): t for k, t in tensors.items()}
        found[f"{new}.attn.x_proj.0.mu"] = att["time_maa_x"].flatten()
        found[f"{new}.attn.x_proj.0.linear.weight"] = torch.cat([att["time_maa_w1"].chunk(5, 1)[i] for i in order], 1).T
        found[f"{new}.attn.x_proj.2.weight"] = torch.cat([att["time_maa_w2"][i] for i in order]).T
        found[f"{new}.attn.x_bias"] = torch.stack([att[f"time_maa_{name}"].flatten() for name in "rwkvg"])
        for short, name in (("r", "receptance"), ("k", "key"), ("v", "value"), ("g", "gate")):
            found[f"{new}.attn.{short}_proj.linear.weight"] = att[f"{name}.weight"]
        found[f"{new}.attn.o_proj.weight"] = att["output.weight"]
        found[f"{new}.attn.w_proj.linear.lora.0.weight"] = att["time_decay_w1"].T
        found[f"{new}.attn.w_proj.linear.lora.2.weight"] = att["time_decay_w2"].T
        found[f"{new}.attn.w_proj.linear.lora.2.bias"] = att["time_decay"].flatten()
        found[f"{new}.attn.bonus"] = att["time_faaaa"]
        ffn = {k.removeprefix(f"{old}.feed_forward."): t for k, t in tensors.items()}
        for name, short in (("key", "k"), ("receptance", "r")):
            found[f"{new}.ffn.{name}.linear.weight"] = ffn[f"{name}.weight"]
            found[f"{new}.ffn.{name}.mu"] = ffn[f"time_maa_{short}"].flatten()
        found[f"{new}.ffn.value.weight"] = ffn["value.weight"]
    return {name: tensor.clone() for name, tensor in found.items()}


CONFIG_FLA_6 = {
    "model_type": "rwkv6", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
    "num_heads": HEADS, "expand_k": 1, "expand_v": 1, "proj_low_rank_dim": 32, "gate_low_rank_dim": 64,
    "intermediate_size": HIDDEN, "norm_eps": EPS,
}  # fmt: skip


def tokens() -> Tensor:
    return torch.randint(0, VOCABULARY, (2, 13), generator=torch.Generator().manual_seed(1))


def run(directory: Path) -> Tensor:
    with torch.no_grad():
        logits: Tensor = published.load(directory)(tokens()).logits
    return logits


# The native norms of queries and keys, gates and decays are float64; nothing is cast down on the way.
CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def test_rwkv7_gives_the_logits_of_its_equations(tmp_path: Path) -> None:
    tensors = drawn(shapes_7())
    expected = torch.stack([logits_7(tensors, row) for row in tokens()])
    torch.testing.assert_close(run(write(tmp_path, CONFIG_7, tensors)), expected, **CLOSE)


def test_rwkv7_of_the_first_layout_keeps_six_shares_in_one_tensor(tmp_path: Path) -> None:
    tensors = drawn(shapes_7())
    expected = torch.stack([logits_7(tensors, row) for row in tokens()])
    for layer in range(LAYERS):
        rows = [tensors.pop(f"model.layers.{layer}.attn.x_{name}").flatten() for name in "rwkvag"]
        tensors[f"model.layers.{layer}.attn.x_x"] = torch.stack(rows)
    torch.testing.assert_close(run(write(tmp_path, CONFIG_7, tensors)), expected, **CLOSE)


def test_rwkv6_world_gives_the_logits_of_its_equations(tmp_path: Path) -> None:
    tensors = tensors_6()
    expected = torch.stack([logits_6(tensors, row) for row in tokens()])
    torch.testing.assert_close(run(write(tmp_path, CONFIG_6, tensors)), expected, **CLOSE)


def test_rwkv6_in_flash_linear_attentions_layout_is_the_same_model(tmp_path: Path) -> None:
    tensors = tensors_6()
    expected = torch.stack([logits_6(tensors, row, divisor=1) for row in tokens()])
    torch.testing.assert_close(run(write(tmp_path, CONFIG_FLA_6, as_fla_6(tensors))), expected, **CLOSE)


@pytest.mark.parametrize("generation", [6, 7])
def test_a_loaded_checkpoint_is_hooked_padded_decoded_and_additive(tmp_path: Path, generation: int) -> None:
    config, tensors = (CONFIG_7, drawn(shapes_7())) if generation == 7 else (CONFIG_6, tensors_6())
    write(tmp_path, config, {name: tensor.float() for name, tensor in tensors.items()})
    model = workbench.load(tmp_path)
    assert all(block.additive for block in model.layout.blocks)
    inputs, mask = tokens(), torch.ones(2, 13, dtype=torch.long)
    mask[1, :5] = 0
    with torch.no_grad():
        alone = model(inputs[1:, 5:])
        padded = model(inputs, attention_mask=mask)
        torch.testing.assert_close(padded[1:, 5:], alone, atol=1e-4, rtol=1e-4)
        cached = model.wrapped(inputs[:, :6], use_cache=True)
        rest = model.wrapped(inputs[:, 6:], cache=cached.past_key_values).logits
        torch.testing.assert_close(rest, model(inputs)[:, 6:], atol=1e-4, rtol=1e-4)
    for layer in range(LAYERS):
        assert model.implicit_attention(inputs, layer, scope="mixer").check(full=True) < 1e-5
    assert model.attribute(inputs, 7).check() < 1e-5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"value_dim": 2 * WIDTH}, "value_dim"),
        ({"norm_first": False}, "norm_first"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attn": {"layers": [0]}}, "attn"),
    ],
)
def test_a_variant_that_the_native_model_lacks_is_named(tmp_path: Path, change: dict[str, object], named: str) -> None:
    write(tmp_path, CONFIG_7 | change, drawn(shapes_7()))
    with pytest.raises(UnsupportedFamilyError, match=named):
        published.load(tmp_path)


def test_a_world_model_whose_time_mixing_is_wider_is_refused(tmp_path: Path) -> None:
    write(tmp_path, CONFIG_6 | {"attention_hidden_size": 2 * WIDTH}, tensors_6())
    with pytest.raises(UnsupportedFamilyError, match="attention_hidden_size"):
        published.load(tmp_path)


def test_a_missing_and_a_surplus_tensor_are_named(tmp_path: Path) -> None:
    tensors = drawn(shapes_7())
    kept = tensors.pop("model.layers.1.attn.v_lora.lora.2.bias")
    with pytest.raises(LoadError, match=r"layers\.1\.attn\.v_lora\.lora\.2\.bias"):
        published.load(write(tmp_path, CONFIG_7, tensors))
    surplus = {f"model.layers.{layer}.attn.v_lora.lora.2.bias": kept.clone() for layer in range(LAYERS)}
    with pytest.raises(LoadError, match=r"layers\.0\.attn\.v_lora"):
        published.load(write(tmp_path, CONFIG_7, tensors | surplus))
