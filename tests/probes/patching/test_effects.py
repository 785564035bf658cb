"""Direct effects add up to the metric, equal the ones computed from GPT-2's weights, and total ones are ablations."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from tests.probes.patching.cases import linear_after_attention, pick, repeats, small_gpt2, zoo
from workbench.errors import InputError
from workbench.interventions import Ablate
from workbench.model import HookedModel
from workbench.probes.patching import answer_metric, direct_and_total_effects, direct_effects, effects_scatter


@pytest.mark.parametrize("name", ["attention", "mamba", "gru", "rwkv4", "rg_lru"])
def test_direct_effects_add_up_to_the_metric(name: str) -> None:
    task, _ = repeats(zoo(name))
    found = direct_effects(zoo(name), task, answer_metric(task, label="second"))
    torch.testing.assert_close(found.values.sum(1), found.total, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        value = answer_metric(task, label="second")(zoo(name)(task.tokens))
    torch.testing.assert_close(found.total, value.double(), rtol=1e-5, atol=1e-5)


def test_norms_after_the_parts_are_held_too() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Gemma2Config(
        vocab_size=30, num_hidden_layers=2, head_dim=4, final_logit_softcapping=None, query_pre_attn_scalar=4, **sizes
    )
    lm = HookedModel(Gemma2ForCausalLM(config).double().eval())
    tokens = torch.randint(30, (3, 7))
    found = direct_effects(lm, tokens, pick(-1, 3, 4))
    torch.testing.assert_close(found.values.sum(1), found.total, rtol=1e-7, atol=1e-7)
    assert "L1H3" in found.components
    # A norm has no bias: what heads write is all there is.
    assert found.table().set_index("site").loc[["L0.mixer rest", "constant"], "direct"].abs().max() < 1e-7


@torch.no_grad()
def test_a_heads_direct_effect_is_its_output_through_the_frozen_norm_and_unembedding() -> None:
    stock = small_gpt2()
    heads: list[torch.Tensor] = []
    last: list[torch.Tensor] = []
    attention, norm = stock.transformer.h[0].attn, stock.transformer.ln_f
    handles = [
        attention.c_proj.register_forward_pre_hook(lambda module, args: heads.append(args[0])),
        norm.register_forward_pre_hook(lambda module, args: last.append(args[0])),
    ]
    tokens = torch.arange(6).reshape(2, 3)
    stock(tokens)
    for handle in handles:
        handle.remove()
    written = heads[0][..., 8:12] @ attention.c_proj.weight[8:12]
    scale = last[0].var(-1, unbiased=False, keepdim=True).add(norm.eps).sqrt()
    normed = (written - written.mean(-1, keepdim=True)) / scale * norm.weight
    expected = (normed[:, -1] * (stock.lm_head.weight[3] - stock.lm_head.weight[4])).sum(-1)
    with torch.enable_grad():
        found = direct_effects(HookedModel(stock), tokens, pick(-1, 3, 4))
    torch.testing.assert_close(found.values[:, found.components.index("L0H2")], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "method"), [("attention", "mean"), ("mamba2", "zero"), ("gla", "resample")])
def test_total_effects_are_ablations(name: str, method: str) -> None:
    lm = zoo(name)
    task, _ = repeats(lm)
    metric = answer_metric(task)
    sites = ["L1H1", "L2.mlp", "L1.mixer"]  # one after the other: a head and its mixer are no contradiction
    table = direct_and_total_effects(lm, task, sites=sites, method=method, seed=3)
    assert table["site"].tolist() == sites
    with torch.no_grad():
        plain = metric(lm(task.tokens))
        for site, total in zip(table["site"], table["total"], strict=True):
            with Ablate(site, method, seed=3).applied(lm, task.tokens):
                effect = (metric(lm(task.tokens)) - plain).mean()
            assert total == pytest.approx(float(effect), abs=1e-5)
    assert (table["compensation"] - (table["total"] - table["direct"])).abs().max() < 1e-9
    assert (table["compensation_low"] <= table["compensation"]).all()


def test_where_nothing_comes_after_total_and_direct_effects_are_equal() -> None:
    lm = linear_after_attention()
    table = direct_and_total_effects(lm, torch.arange(9).reshape(3, 3), pick(-1, 3, 4), sites=["L0H1", "L0H3"])
    assert table["total"].abs().min() > 1e-3
    assert table["compensation"].abs().max() < 1e-12


def test_all_components_are_there_by_default_and_in_the_picture() -> None:
    lm = zoo("mamba")
    task, _ = repeats(lm)
    table = direct_and_total_effects(lm, task)
    assert table["site"].tolist() == [f"L{layer}.{part}" for layer in range(4) for part in ("mixer", "mlp")]
    figure = effects_scatter(table)
    assert sorted(text for trace in figure.data[1:] for text in trace.text) == sorted(table["site"])
    assert [*figure.data[1].x] == table[table["part"] == "mixer"]["direct"].tolist()
    with pytest.raises(InputError, match="no column 'total'"):
        effects_scatter(table.drop(columns="total"))


def test_what_cannot_be_ablated_is_refused_with_a_sentence() -> None:
    task, _ = repeats(zoo("attention"))
    with pytest.raises(InputError, match="layer 7"):
        direct_and_total_effects(zoo("attention"), task, sites="L7H0")
    with pytest.raises(InputError, match="No ablation is called"):
        direct_and_total_effects(zoo("attention"), task, method="noise")
