"""Each native mixer is the published architecture: with the same weights it agrees with the class in transformers."""

import pytest
import torch
from transformers import LlamaConfig, Mamba2Config, MambaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from workbench.zoo import ZooConfig, registry

WIDTH, BATCH, TIME = 48, 2, 70  # longer than a chunk of either scan, and a multiple of none


def left_padded() -> torch.Tensor:
    mask = torch.ones(BATCH, TIME, dtype=torch.bool)
    mask[1, :9] = False
    return mask


def native(name: str, **options: object) -> torch.nn.Module:
    return registry.mixer(name)(ZooConfig(name, d_model=WIDTH, mixer_options=options), 0)


def randomise(module: torch.nn.Module) -> None:
    """Away from the initialisation, so that every parameter matters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn_like(parameter)


def agree(ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor | None) -> None:
    difference = (ours - theirs).abs()
    difference = difference if mask is None else difference[mask]
    assert difference.max() < 1e-5 * theirs.abs().max().clamp(min=1)


@pytest.mark.parametrize("initialisation", ["reference", "mimetic"])
@pytest.mark.parametrize("padded", [False, True])
def test_mamba_is_transformers_mamba(initialisation: str, padded: bool) -> None:
    torch.manual_seed(0)
    ours = native("mamba", state_size=12, initialisation=initialisation)
    randomise(ours)
    config = MambaConfig(hidden_size=WIDTH, state_size=12, expand=2, conv_kernel=4, num_hidden_layers=1)
    theirs = MambaMixer(config, layer_idx=0).eval()
    theirs.load_state_dict(ours.state_dict())
    mask = left_padded() if padded else None
    x = torch.randn(BATCH, TIME, WIDTH)
    with torch.no_grad():
        agree(ours(x, attention_mask=mask), theirs(x, attention_mask=mask), mask)


@pytest.mark.parametrize("initialisation", ["reference", "mimetic"])
@pytest.mark.parametrize("padded", [False, True])
def test_mamba2_is_transformers_mamba2(initialisation: str, padded: bool) -> None:
    torch.manual_seed(0)
    ours = native("mamba2", state_size=20, head_dim=24, initialisation=initialisation)
    randomise(ours)
    config = Mamba2Config(
        hidden_size=WIDTH, state_size=20, head_dim=24, num_heads=4, n_groups=1, expand=2, conv_kernel=4,
        num_hidden_layers=1, use_conv_bias=True, layer_norm_epsilon=1e-5, chunk_size=32,
    )  # fmt: skip
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    theirs.load_state_dict(ours.state_dict())
    mask = left_padded() if padded else None
    x = torch.randn(BATCH, TIME, WIDTH)
    with torch.no_grad():
        agree(ours(x, attention_mask=mask), theirs(x, attention_mask=mask), mask)


def test_attention_is_transformers_llama_attention() -> None:
    torch.manual_seed(0)
    ours = native("attention", n_heads=4)
    randomise(ours)
    config = LlamaConfig(
        hidden_size=WIDTH, num_attention_heads=4, num_key_value_heads=4, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    theirs = LlamaAttention(config, layer_idx=0).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(BATCH, TIME, WIDTH)
    positions = torch.arange(5, 5 + TIME).expand(BATCH, TIME)
    causal = torch.full((TIME, TIME), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        rotary = LlamaRotaryEmbedding(config)(x, positions)
        expected, _ = theirs(x, position_embeddings=rotary, attention_mask=causal)
        agree(ours(x, position_ids=positions), expected, None)
