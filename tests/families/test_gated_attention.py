"""Softmax attention with an output gate: the whole mixer includes it, and heads are taken away behind it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.families.case import all_in_float64, batch_of_tokens, build, hooked, stock
from tests.families.cases import every_case
from workbench.hooks import HookPoint

GATED = [pytest.param(every_case()[name], id=name) for name in ("qwen3_next", "qwen3_5", "qwen3_5_moe")]


def _layer(model: wb.HookedModel) -> int:
    return model.cfg.families.index("softmax")


@pytest.mark.parametrize("case", GATED)
def test_the_whole_mixer_carries_the_gate_and_the_core_does_not(case: object) -> None:
    model = build(case, torch.float64)  # type: ignore[arg-type]
    tokens, mask = batch_of_tokens()
    with hooked(model) as wrapped, torch.no_grad(), all_in_float64(torch.float64):
        layer = _layer(wrapped)
        attention = wrapped.mixer(layer).module
        read: list[Tensor] = []
        seen = attention.get_submodule("o_proj").register_forward_pre_hook(lambda m, args: read.append(args[0]))
        stock(model, tokens, mask)
        seen.remove()
        core, mixer = (
            wrapped.implicit_attention(tokens, layer, scope=scope, attention_mask=mask) for scope in ("core", "mixer")
        )
        assert core.check(full=True) < 1e-10 and mixer.check(full=True) < 1e-10
        torch.testing.assert_close(mixer.form.outputs.flatten(2), read[0])
        assert (mixer.form.outputs - core.form.z).abs().max() > 1e-2
        rows = core.dense()[0].sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))


@pytest.mark.parametrize("case", GATED[:1])
def test_heads_are_shown_and_taken_away_behind_the_gate(case: object) -> None:
    model = build(case, torch.float64)  # type: ignore[arg-type]
    tokens, _ = batch_of_tokens()
    with hooked(model) as wrapped, torch.no_grad():
        layer = _layer(wrapped)
        names = [f"blocks.{layer}.mixer.{tail}" for tail in ("hook_z", "hook_head_out", "hook_out")]
        _, cache = wrapped.run_with_cache(tokens, names)
        z, heads, out = (cache[name] for name in names)
        assert heads.shape == z.shape and (heads.abs() < z.abs()).all()  # a sigmoid multiplies
        weight = wrapped.mixer(layer).module.get_submodule("o_proj").get_parameter("weight")
        torch.testing.assert_close(heads.flatten(2) @ weight.T, out)

        def silence(tensor: Tensor, hook: HookPoint) -> Tensor:
            return tensor.index_fill(2, torch.tensor([1]), 0.0)

        with wrapped.hooks([(names[1], silence)]):
            _, edited = wrapped.run_with_cache(tokens, names[2])
        lost = heads[:, :, 1] @ weight.unflatten(1, (wrapped.mixer(layer).n_heads, -1))[:, 1].T
        torch.testing.assert_close(out - edited[names[2]], lost)
