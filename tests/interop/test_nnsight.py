"""Traces of nnsight over a hooked model read, change and differentiate our points; the oracle is our own hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.interop.test_transformer_lens import VOCABULARY, llama, relative, tokens
from workbench.errors import HookNameError, InputError
from workbench.model import HookedModel
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

POINTS = ("hook_embed", "blocks.0.hook_resid_pre", "blocks.0.mixer.hook_v", "blocks.0.mixer.hook_z", "hook_logits")


def mamba2() -> Any:
    sizes = {"head_dim": 4, "state_size": 5}
    return ZooModel(ZooConfig("mamba2", vocab_size=VOCABULARY, d_model=12, n_layers=2, d_mlp=16, mixer_options=sizes))


@pytest.fixture(params=[mamba2, llama], ids=["mamba2", "llama"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    torch.manual_seed(0)
    module = request.param()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return HookedModel(module)


@torch.no_grad()
def test_a_trace_reads_every_kind_of_point_and_the_stock_modules(model: HookedModel) -> None:
    logits, cache = model.run_with_cache(tokens(), [*POINTS, "*.hook_pattern"])
    m = model.nnsight()
    with m.trace(tokens()):
        embedded = m.points.hook_embed.output.save()
        before = m.points["blocks.0.hook_resid_pre"].output.save()
        v = m.points.blocks[0].mixer.hook_v.output.save()
        pattern = m.points["blocks.0.attn.hook_pattern"].output.save()
        z = m.points["blocks.0.mixer.hook_z"].output.save()
        written = m.get("points.blocks.1.hook_resid_post.output").save()
        shown = m.points.hook_logits.output.save()
        result = m.output.save()
    assert relative(result, logits) < 1e-5
    seen = dict(zip(POINTS, (embedded, before, v, z, shown), strict=True))
    for name, value in seen.items():
        assert relative(value, cache[name]) < 1e-5, name
    assert relative(pattern, cache["blocks.0.mixer.hook_pattern"]) < 1e-5
    assert relative(written, model.run_with_cache(tokens(), "blocks.1.hook_resid_post")[1]["resid_post", 1]) < 1e-5
    assert not any(point.active for point in model.points.values())


@torch.no_grad()
def test_an_edit_in_a_trace_is_what_runs(model: HookedModel) -> None:
    def silence(z: Tensor, hook: Any) -> Tensor:
        z = z.clone()
        z[:, :, 0] = 0
        return z

    def shift(v: Tensor, hook: Any) -> Tensor:
        return v + 1

    plain = model(tokens())
    silenced = model.run_with_hooks(tokens(), fwd_hooks=[("blocks.0.mixer.hook_z", silence)])
    shifted = model.run_with_hooks(tokens(), fwd_hooks=[("blocks.1.mixer.hook_v", shift)])
    m = model.nnsight()
    with m.trace(tokens()):
        m.points["blocks.0.mixer.hook_z"].output[:, :, 0] = 0
        in_place = m.output.save()
    with m.trace(tokens()):
        v = m.points["blocks.1.mixer.hook_v"]
        v.output = v.output + 1
        assigned = m.output.save()
    assert relative(in_place, silenced) < 1e-6
    assert relative(assigned, shifted) < 1e-6
    assert relative(plain, silenced) > 1e-3
    assert relative(model(tokens()), plain) < 1e-6


def test_gradients_flow_to_a_point_in_a_trace(model: HookedModel) -> None:
    m = model.nnsight()
    with m.trace(tokens()):
        z = m.points["blocks.0.mixer.hook_z"].output
        loss = m.output.square().sum()
        with loss.backward():
            gradient = z.grad.save()
    kept: list[Tensor] = []
    with model.hooks(bwd_hooks=[("blocks.0.mixer.hook_z", lambda grad, hook: kept.append(grad))]):
        model(tokens()).square().sum().backward()
    assert relative(gradient, kept[0]) < 1e-5


@torch.no_grad()
def test_a_state_is_read_step_by_step() -> None:
    torch.manual_seed(0)
    model = HookedModel(mamba2())
    m = model.nnsight()
    with m.trace(tokens()) as tracer:
        states = [].save()
        for _ in tracer.iter[: tokens().shape[1]]:
            states.append(m.points["blocks.1.mixer.hook_state"].output.clone())
    assert relative(torch.stack(states, 1), model.recurrent_states(tokens(), 1)) < 1e-6


def test_a_name_that_is_none_is_refused_with_the_nearest(model: HookedModel) -> None:
    m = model.nnsight()
    with pytest.raises(HookNameError, match=r"blocks\.0\.mixer\.hook_z"):
        m.points["blocks.0.mixer.hook_zz"]


def test_remote_is_passed_on_to_nnsight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnsight.modeling.mixins.remotable import Remotable
    from nnsight.modeling.transformers import TransformersModel
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    llama().save_pretrained(tmp_path)
    words = models.WordLevel({f"<{number}>": number for number in range(VOCABULARY)}, unk_token="<0>")
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=Tokenizer(words), eos_token="<0>", pad_token="<0>")
    asked: list[Any] = []

    class Asked(Exception):
        pass

    def backend(self: Any, remote: Any, blocking: bool, job_id: Any, verbose: bool) -> Any:
        asked.append((remote, blocking))
        raise Asked

    monkeypatch.setattr(Remotable, "_remote_backend", backend)
    stock: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    m = HookedModel(stock).nnsight(remote=True, tokenizer=tokenizer)
    assert isinstance(m, TransformersModel)
    assert all(parameter.is_meta for parameter in m._module.parameters()), "no weights are loaded here"
    assert m._remoteable_class() is TransformersModel
    for run in (lambda: m.trace("<1> <2>", blocking=False), lambda: m.session(), lambda: m.trace("<1>", remote="host")):
        with pytest.raises(Asked):
            run()
    assert asked == [(True, False), (True, True), ("host", True)]


def test_a_model_without_a_hub_id_cannot_go_to_a_cluster(model: HookedModel) -> None:
    with pytest.raises(InputError, match="hub id"):
        model.nnsight(remote=True)
