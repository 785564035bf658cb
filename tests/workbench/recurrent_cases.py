"""Small random models of every recurrent family, and ways to run them: what the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.families.case import all_in_float64
from workbench.families import adapt
from workbench.families.recurrent import RecurrentAdapter
from workbench.forms import MixerForm
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

VOCABULARY, BATCH, TIME, PADS = 40, 2, 19, 6


def _mamba() -> nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=12, state_size=5, num_hidden_layers=2, time_step_rank=3)
    )


def _falcon_mamba() -> nn.Module:
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    return FalconMambaForCausalLM(
        FalconMambaConfig(vocab_size=VOCABULARY, hidden_size=12, state_size=5, num_hidden_layers=2, time_step_rank=3)
    )


def _mamba2(**options: Any) -> nn.Module:
    from transformers import Mamba2Config, Mamba2ForCausalLM

    sizes = {"hidden_size": 12, "expand": 2, "num_heads": 6, "head_dim": 4, "state_size": 5, "n_groups": 2}
    return Mamba2ForCausalLM(
        Mamba2Config(vocab_size=VOCABULARY, num_hidden_layers=2, chunk_size=8, **(sizes | options))
    )


def _zoo(mixer: str, **options: Any) -> nn.Module:
    return ZooModel(ZooConfig(mixer, vocab_size=VOCABULARY, d_model=12, n_layers=2, d_mlp=16, mixer_options=options))


CASES: dict[str, Callable[[], nn.Module]] = {
    "mamba": _mamba,
    "falcon_mamba": _falcon_mamba,
    "mamba2": _mamba2,
    "zoo mamba": lambda: _zoo("mamba", state_size=5),
    "zoo mamba2": lambda: _zoo("mamba2", head_dim=4, state_size=5),
}
STOCK = ["mamba", "falcon_mamba", "mamba2"]


def limited_mamba2() -> nn.Module:
    """Mamba-2 whose time step is clamped to limits that bite."""
    return _mamba2(time_step_limit=(0.02, 0.05))


def build(case: str | Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model with every parameter moved away from its initial value, biases and norm weights included."""
    torch.manual_seed(0)
    model = CASES[case]() if isinstance(case, str) else case()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def blocks(model: nn.Module) -> list[Any]:
    return list(model.blocks if isinstance(model, ZooModel) else model.backbone.layers)  # type: ignore[arg-type]


def adapters(model: nn.Module) -> list[RecurrentAdapter]:
    found = [adapt(block.mixer, layer) for layer, block in enumerate(blocks(model))]
    assert all(isinstance(adapter, RecurrentAdapter) for adapter in found)
    return found  # type: ignore[return-value]


@contextmanager
def hooked(model: nn.Module) -> Iterator[list[RecurrentAdapter]]:
    """The model with every mixer's forward ours."""
    installed = adapters(model)
    undo = [adapter.install() for adapter in installed]
    try:
        yield installed
    finally:
        for take_back in undo:
            take_back()


def batch_of_tokens() -> tuple[Tensor, Tensor]:
    """Two sequences, the second left-padded; tokens and mask."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCABULARY, (BATCH, TIME), generator=generator)
    mask = torch.ones(BATCH, TIME, dtype=torch.long)
    mask[1, :PADS] = 0
    return tokens, mask


def run(model: nn.Module, tokens: Tensor, mask: Tensor | None = None, cache: Any = None, keep: bool = False) -> Any:
    """Logits in the model's own dtype, and the cache when `keep` asks for one."""
    with torch.no_grad():
        if isinstance(model, ZooModel):
            out = model(tokens, attention_mask=mask, cache=cache, use_cache=keep)
            return (out.logits, out.past_key_values) if keep else out.logits
        inside = model.backbone(tokens, attention_mask=mask, cache_params=cache, use_cache=keep)  # type: ignore
        # The head of transformers' models casts logits to float32.
        logits = model.lm_head(inside.last_hidden_state.to(model.lm_head.weight.dtype))  # type: ignore
        return (logits, inside.cache_params) if keep else logits


def record(model: nn.Module, layer: int = 1, padded: bool = True) -> MixerForm:
    """What the given layer's mixer did to `batch_of_tokens`."""
    forms: list[MixerForm] = []
    tokens, mask = batch_of_tokens()
    with hooked(model) as installed, installed[layer].recorded_by(forms.append):
        run(model, tokens, mask if padded else None)
    (form,) = forms
    return form


def stock_in_float64() -> AbstractContextManager[None]:
    """Stop stock code from casting to float32 inside: a float64 model is then computed in float64 throughout."""
    return all_in_float64(torch.float64)
