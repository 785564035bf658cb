"""Experts taken away and scaled, against stock models whose weights say the same."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.families.case import build, hooked
from tests.families.cases import every_case
from tests.workbench import decoder_cases
from tests.workbench.decoder_cases import GROUPED, SIZES
from tests.workbench.studies.arithmetic import Inline
from tests.workbench.studies.edits.plain_donors import PlainDonors, edit_of, logits
from tests.workbench.studies.passes.sweeps import check, prompts_of, units_of
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.studies.coordinator import run_study
from workbench.studies.edits.binding import bind_edit, check_edits
from workbench.studies.edits.method import METHODS
from workbench.studies.edits.site import SITES
from workbench.studies.engines.worker import Worker
from workbench.studies.inputs.reading import read_prompts
from workbench.studies.passes.sweeping import Passes
from workbench.studies.schema.study import Controls, Study
from workbench.studies.searches.controls import count_controls
from workbench.studies.store import read_results

EIGHT = {"num_local_experts": 8, "num_experts_per_tok": 2}


def _transformers(name: str, **options: Any) -> nn.Module:
    """A small random model of transformers, every parameter moved away from its initial value."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


mixtral = partial(_transformers, "Mixtral", **GROUPED, **EIGHT)
RANKS = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
FEW = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "mixtral": mixtral,
    "mixtral grouped": partial(mixtral, experts_implementation="grouped_mm"),
    "mixtral batched": partial(mixtral, experts_implementation="batched_mm"),
    "qwen3_moe": partial(_transformers, "Qwen3Moe", **GROUPED, **FEW, num_experts=4, head_dim=8),
    "olmoe": partial(_transformers, "Olmoe", **GROUPED, num_experts=4, num_experts_per_tok=2),
    "granite_moe": partial(_transformers, "GraniteMoe", **GROUPED, num_local_experts=4, num_experts_per_tok=2),
    "deepseek_v3": partial(
        _transformers,
        "DeepseekV3",
        **SIZES,
        **RANKS,
        **FEW,
        n_routed_experts=4,
        n_group=2,
        topk_group=2,
        first_k_dense_replace=1,
    ),
    "gpt_oss": partial(decoder_cases.build, "gpt_oss"),
    **{
        name: partial(build, every_case()[name])
        for name in (
            "jamba",
            "granite_hybrid",
            "kimi_linear",
            "lfm2_moe",
            "minimax",
            "nemotron_h",
            "qwen3_5_moe",
            "qwen3_next",
        )
    },
}


def stacks(module: nn.Module) -> dict[int, list[nn.Parameter]]:
    """The output matrices and their biases of the experts of every layer that has some, found by their names."""
    found: dict[int, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        match = re.search(r"layers\.(\d+)\..*experts\.down_proj(_bias)?$", name)
        if match:
            found.setdefault(int(match[1]), []).append(parameter)
    return found


def silenced(module: nn.Module, *places: tuple[int, int], factor: float = 0.0) -> nn.Module:
    """A copy in which the output matrices of experts ``(layer, expert)`` are multiplied."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for layer, expert in places:
            for weight in stacks(twin)[layer]:
                weight[expert] *= factor
    return twin


def says(module: nn.Module, tokens: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        return module(torch.tensor([tokens])).logits


def edited(model: HookedModel, labels: list[str], method: object = "zero", **more: object) -> Tensor:
    prompts = prompts_of(model, time=12)
    edit = edit_of(model, "experts", method, labels, **more)
    return logits(model, prompts[0], bind_edit(model, edit, prompts[0], PlainDonors(model, prompts)))


@pytest.fixture
def of_mixtral() -> Iterator[HookedModel]:
    with hooked(mixtral()) as model:
        yield model


@pytest.mark.parametrize("name", MODELS)
def test_an_expert_taken_away_is_one_that_writes_nothing(name: str) -> None:
    module = MODELS[name]()
    twins, counts = copy.deepcopy(module), {layer: len(there[0]) for layer, there in stacks(module).items()}
    changed = 0
    with hooked(module) as model:
        tokens = prompts_of(model, time=12)[0].tokens
        with torch.no_grad():
            before = model(torch.tensor([tokens]))
        targets = SITES.parse("experts").targets(model)
        assert [target.label for target in targets] == [f"L{i}.E{e}" for i, n in counts.items() for e in range(n)]
        plain = says(twins, tokens)
        for target in targets:
            wanted = says(silenced(twins, (target.layer, target.more["expert"])), tokens)
            found = edited(model, [target.label])
            assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max(), target.label
            changed += bool((found - plain).abs().max() > 1e-4 * plain.abs().max())
        with torch.no_grad():
            assert torch.equal(model(torch.tensor([tokens])), before)  # nothing is left behind
    assert changed >= len(counts)


def test_several_experts_at_once_and_doses(of_mixtral: HookedModel) -> None:
    tokens, twin = prompts_of(of_mixtral, time=12)[0].tokens, mixtral()
    found = edited(of_mixtral, ["L0.E1", "L0.E6", "L2.E3"])
    torch.testing.assert_close(found, says(silenced(twin, (0, 1), (0, 6), (2, 3)), tokens), atol=1e-5, rtol=1e-5)
    scale = METHODS.parse({"kind": "scale", "factor": [-2.0, 0.5]})
    for factor, dose in scale.doses():
        found = edited(of_mixtral, ["L1.E1", "L1.E2", "L1.E3"], dose.canonical())
        wanted = says(silenced(twin, (1, 1), (1, 2), (1, 3), factor=factor), tokens)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_at_chosen_positions_only_those_tokens_miss_the_expert(of_mixtral: HookedModel) -> None:
    """Against the layer written out token by token and expert by expert."""
    tokens, twin = prompts_of(of_mixtral, time=12)[0].tokens, mixtral()
    experts = twin.model.layers[1].mlp.experts  # type: ignore[union-attr]

    def by_hand(hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        out = torch.zeros_like(hidden)
        for token in range(len(hidden)):
            for expert, weight in zip(chosen[token].tolist(), weights[token], strict=True):
                if token in (3, 4, 11) and expert in (0, 1, 2, 3):
                    continue
                gate, up = (experts.gate_up_proj[expert] @ hidden[token]).chunk(2)
                out[token] += weight * (experts.down_proj[expert] @ (torch.nn.functional.silu(gate) * up))
        return out

    experts.forward = by_hand
    found = edited(of_mixtral, ["L1.E0", "L1.E1", "L1.E2", "L1.E3"], positions=(3, 4, -1))
    torch.testing.assert_close(found, says(twin, tokens), atol=1e-5, rtol=1e-5)
    everywhere = edited(of_mixtral, ["L1.E0", "L1.E1", "L1.E2", "L1.E3"])
    assert torch.equal(found[:, :3], edited(of_mixtral, ["L1.E0"], {"kind": "scale", "factor": 1.0})[:, :3])
    assert (found - everywhere)[:, 5:11].abs().max() > 1e-3


def test_an_expert_that_was_never_chosen_changes_nothing(of_mixtral: HookedModel) -> None:
    prompt = prompts_of(of_mixtral, time=8)[0]
    short = type(prompt)(prompt.tokens[:3], (2,), (5,), number=0)
    twin, seen = mixtral(), []
    twin.model.layers[2].mlp.experts.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda module, args: seen.extend(args[1].flatten().tolist())
    )
    plain = says(twin, short.tokens)
    for expert in range(8):
        edit = edit_of(of_mixtral, "experts", "zero", [f"L2.E{expert}"])
        bound = bind_edit(of_mixtral, edit, short, PlainDonors(of_mixtral, [short]))
        assert torch.equal(logits(of_mixtral, short, bound), plain) == (expert not in seen)
    assert 2 <= len(set(seen)) <= 6


def test_chosen_layers_and_experts_and_the_same_edit_however_it_was_asked_for(of_mixtral: HookedModel) -> None:
    some = SITES.parse({"kind": "experts", "layers": [-1, 0], "experts": [-1, 2]})
    assert [target.label for target in some.targets(of_mixtral)] == ["L0.E2", "L0.E7", "L2.E2", "L2.E7"]
    asked = [edit_of(of_mixtral, site, "zero", ["L2.E7"]) for site in (some.canonical(), "experts")]
    assert asked[0].edit_id == asked[1].edit_id
    assert asked[0].edit_id != edit_of(of_mixtral, "experts", "zero", ["L2.E6"]).edit_id
    assert asked[0].layer == 2 and asked[0].size == 1


def test_an_expert_is_controlled_by_the_others_of_its_layer(of_mixtral: HookedModel) -> None:
    pool = SITES.parse("experts").targets(of_mixtral)
    one = (next(target for target in pool if target.layer == 1),)
    assert count_controls(one, pool, Controls(draws=100)) == 7
    assert count_controls(one, pool, Controls(draws=100, match=["size"])) == 23


@pytest.mark.parametrize("name", ["Llama4", "JetMoe"])
def test_experts_that_are_called_otherwise_are_refused(name: str) -> None:
    """Llama 4's router weighs what experts read; JetMoe's experts are given sizes of groups."""
    sizes: dict[str, dict[str, Any]] = {
        "Llama4": {"intermediate_size_mlp": 48, "num_local_experts": 4, "interleave_moe_layer_step": 1, "head_dim": 8},
        "JetMoe": {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    }
    import transformers

    options = {**GROUPED, **sizes[name]}
    config = "Llama4TextConfig" if name == "Llama4" else f"{name}Config"
    module = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, config)(**options)).eval()
    with hooked(module) as model, pytest.raises(InputError) as refusal:
        SITES.parse("experts").targets(model)
    assert re.fullmatch(r".* has no experts that .*: looked for a module [^.]*\.", str(refusal.value))


class Weighing(nn.Module):
    """Experts of which the second set of arguments weighs what they read, not what they give."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.stack = nn.Parameter(torch.zeros(8, 1, 1))

    def forward(self, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        return self.inner.inner(hidden * weights.sum(-1, keepdim=True))


def test_weights_that_act_on_the_input_are_not_mistaken_for_experts() -> None:
    module = mixtral()
    for layer in module.model.layers:  # type: ignore[union-attr]
        inner = nn.Module()
        inner.inner = nn.Sequential(nn.Linear(32, 8), nn.SiLU(), nn.Linear(8, 32))
        layer.mlp.experts = Weighing(inner)
    with hooked(module) as model, pytest.raises(InputError, match="in proportion to the weights"):
        SITES.parse("experts").targets(model)


def test_experts_that_two_layers_share_belong_to_neither() -> None:
    module = mixtral()
    layers = module.model.layers  # type: ignore[union-attr]
    layers[2].mlp.experts = layers[1].mlp.experts
    with hooked(module) as model:
        assert {target.layer for target in SITES.parse("experts").targets(model)} == {0}


def test_models_and_layers_without_experts_and_other_methods_are_refused(of_mixtral: HookedModel) -> None:
    with hooked(decoder_cases.build("llama")) as model, pytest.raises(InputError, match="has no experts that could"):
        SITES.parse("experts").targets(model)
    with hooked(MODELS["deepseek_v3"]()) as model:
        with pytest.raises(InputError, match="has no experts in layers 0 that could"):
            SITES.parse({"kind": "experts", "layers": [0]}).targets(model)
        assert {target.layer for target in SITES.parse("experts").targets(model)} == {1, 2}
    with pytest.raises(InputError, match="experts of layer 0 has numbers 0 to 7, and number 8 is asked for"):
        SITES.parse({"kind": "experts", "experts": [8]}).targets(of_mixtral)
    kind, prompts = SITES.parse("experts"), prompts_of(of_mixtral, time=12)
    targets = kind.targets(of_mixtral)
    for method in ("mean", "resample", {"kind": "fix", "value": 1.0}, "cut"):
        with pytest.raises(InputError, match="choose method zero or scale for sites experts, not"):
            check_edits(of_mixtral, kind, METHODS.parse(method), targets, None, prompts)
    check_edits(of_mixtral, kind, METHODS.parse({"kind": "scale", "factor": 2}), targets, [-1], prompts)


def test_sweeps_begin_at_the_layer_of_the_expert_and_give_what_plain_passes_give(of_mixtral: HookedModel) -> None:
    passes, prompts = Passes(of_mixtral), prompts_of(of_mixtral)
    edits = [edit_of(of_mixtral, "experts", "zero", [f"L{layer}.E{e}"]) for layer in (0, 1, 2) for e in range(3)]
    edits += [edit_of(of_mixtral, "experts", "zero", ["L1.E4", "L2.E5"])]
    edits += [edit_of(of_mixtral, "experts", "zero", ["L2.E3"], positions=(12, 20))]
    edits += [edit_of(of_mixtral, "heads", "zero", ["L2H0"])]
    check(of_mixtral, passes, units_of(of_mixtral, edits, prompts))
    assert passes.trust.reasons == []
    assert passes.trust.tried(("start", 1, False)) and passes.trust.tried(("start", 2, False))


def test_a_study_of_a_model_on_disk(tmp_path: Path) -> None:
    module = mixtral()
    module.save_pretrained(tmp_path / "model")  # type: ignore[operator]
    study = Study.model_validate(
        {
            "name": "experts",
            "models": str(tmp_path / "model"),
            "inputs": {"task": "repeated_random_tokens", "settings": {"block": 6}, "count": 3},
            "edits": [
                {"name": "gone", "sites": {"kind": "experts", "layers": [0, 2]}, "method": "zero"},
                {
                    "name": "turned",
                    "sites": {"kind": "experts", "layers": [1], "experts": [1]},
                    "method": {"kind": "scale", "factor": [0.5, -1]},
                },
            ],
            "metrics": ["loss"],
        }
    )
    run_study(study, tmp_path / "run", base=tmp_path, progress=False, engine=Inline(worker=Worker))
    results = read_results(tmp_path / "run")
    assert results.coverage["planned"] == results.coverage["done"] == (16 + 2 + 1) * 3
    frame = results.frame
    assert len(frame) == (16 + 2) * 3

    def loss(prompt_id: str, twin: nn.Module) -> float:
        prompt = prompts[prompt_id]
        log = says(twin, prompt.tokens)[0, list(prompt.scored)].log_softmax(-1)
        return float(-log.gather(1, torch.tensor(prompt.answers)[:, None]).mean())

    with hooked(copy.deepcopy(module)) as model:
        prompts = {prompt.prompt_id: prompt for prompt in read_prompts(study, model, tmp_path)}
    for row in frame.itertuples():
        layer, expert = (int(number) for number in re.findall(r"\d+", row.label))
        factor = 0.0 if row.family == "gone" else row.dose
        twin = silenced(module, (layer, expert), factor=factor)
        assert row.value == pytest.approx(loss(row.prompt_id, twin), rel=1e-5)
        assert row.layer == layer
    assert frame["effect"].abs().max() > 1e-3
