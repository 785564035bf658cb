import functools
from collections import Counter

import pandas as pd
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.errors import InputError
from workbench.interventions import Ablate
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads
from workbench.probes.causal import heads_of_other_kinds, random_sets
from workbench.sites import Site
from workbench.tasks import repeated_random_tokens


def sites(*spellings: str) -> list[Site]:
    return [Site.parse(spelling) for spelling in spellings]


@functools.cache
def llama() -> HookedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return HookedModel(LlamaForCausalLM(config))


def test_random_sets_match_the_top_set_layer_by_layer() -> None:
    top = sites("L0H0", "L0H1", "L2H0")
    others = sites(*(f"L{layer}H{head}" for layer in range(4) for head in range(2, 8)))
    drawn = random_sets(top, others, draws=40, seed=0)
    assert len({tuple(chosen) for chosen in drawn}) == 40
    for chosen in drawn:
        assert Counter(site.layer for site in chosen) == {0: 2, 2: 1}
        assert len(set(chosen)) == 3 and set(chosen) <= set(others)
    assert {site for chosen in drawn for site in chosen} == {site for site in others if site.layer in (0, 2)}
    assert drawn == random_sets(top, others, draws=40, seed=0)
    assert drawn != random_sets(top, others, draws=40, seed=1)


def test_random_sets_differ_and_are_fewer_where_no_more_exist() -> None:
    top = sites("L0H0", "L0H1")
    others = sites("L0H2", "L0H3", "L0H4")
    with pytest.warns(UserWarning, match="Only 3 random sets of 2 can be drawn beside the top ones, not 20"):
        drawn = random_sets(top, others, draws=20, seed=0)
    assert sorted(map(sorted, drawn)) == [sites("L0H2", "L0H3"), sites("L0H2", "L0H4"), sites("L0H3", "L0H4")]


def test_a_layer_with_too_few_others_borrows_from_the_nearest_and_says_so() -> None:
    top = sites("L1H0", "L1H1", "L1H2", "L2H0")
    others = sites("L1H3", "L2H1", "L2H2", "L4H0", "L4H1")
    with pytest.warns(UserWarning, match="1 for layer 1 from layer 2, 1 for layer 1 from layer 4"):
        drawn = random_sets(top, others, draws=2, seed=0)
    for chosen in drawn:
        assert Counter(site.layer for site in chosen) == {1: 1, 2: 2, 4: 1}
    with pytest.raises(InputError, match="Only 2 other heads"):
        random_sets(top, others[:2], draws=1, seed=0)


@torch.no_grad()
def test_rows_hold_what_running_the_model_under_the_ablation_gives() -> None:
    model = llama()
    table = find_heads(model, "induction", block=8, batch=2, seeds=(0,))
    result = ablate_top_k(model, table, 1, method="mean", block=8, batch=3, draws=2, seed=5).set_index("condition")
    tokens = repeated_random_tokens(model, 8, batch=3, seed=5).tokens
    top = list(table.site[:1])
    assert result.loc["top", "heads"] == " ".join(top)
    for condition, hooks in (("baseline", []), ("top", Ablate(top, "mean").hooks(model, tokens))):
        # The second copy's first token is left out, so losses 8..14 of 15 remain; the first copy has losses 0..6.
        loss = model.run_with_hooks(tokens, fwd_hooks=hooks, return_type="loss", loss_per_token=True)
        assert result.loc[condition, "loss_first"] == pytest.approx(float(loss[:, :7].mean()), abs=1e-5)
        assert result.loc[condition, "loss_second"] == pytest.approx(float(loss[:, 8:].mean()), abs=1e-5)
    for measure in ("loss_first", "loss_second", "accuracy_first", "accuracy_second"):
        assert (result[f"{measure}_low"] <= result[measure]).all()
        assert (result[measure] <= result[f"{measure}_high"]).all()


def test_where_nothing_is_left_to_compare_with_the_top_heads_are_ablated_alone() -> None:
    model = llama()
    table = find_heads(model, "induction", block=8, batch=2, seeds=(0,), layers=0)
    every, asked = len(table), {"block": 8, "batch": 2}
    with pytest.raises(InputError, match=r"Only 0 other heads .* draws=0 ablates the top"):
        ablate_top_k(model, table, every, **asked)
    alone = ablate_top_k(model, table, every, draws=0, **asked)
    assert list(alone.condition) == ["baseline", "top"]
    one = ablate_top_k(model, table, 1, draws=0, **asked)
    pd.testing.assert_frame_equal(one, ablate_top_k(model, table, 1, draws=1, **asked)[: len(one)][list(one)])
    assert alone.loss_second[1] != one.loss_second[1]


def test_heads_of_other_kinds_can_be_kept_out_of_the_random_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    table = find_heads(model, "induction", block=8, batch=2, seeds=(0,))
    ablated: list[str] = []
    plain = Ablate.hooks
    monkeypatch.setattr(Ablate, "hooks", lambda self, *a: ablated.extend(map(str, self.sites)) or plain(self, *a))
    layer = int(table.layer[0])
    kept = [f"L{layer}H{head}" for head in range(4) if f"L{layer}H{head}" != table.site[0]]
    with pytest.warns(UserWarning, match=r"Only 1 random set of 1 .* no p-value falls below 0\.5\."):
        ablate_top_k(model, table, 1, block=8, batch=2, draws=12, exclude=kept[1:])
    assert set(ablated) == {table.site[0], kept[0]}


def test_heads_that_are_clearly_of_another_kind_are_collected() -> None:
    def table(kind: str, *scores: float) -> pd.DataFrame:
        rows = {"site": [f"L0H{head}" for head in range(len(scores))], "score": scores, "low": scores}
        return pd.DataFrame({**rows, "null": 0.2, "kind": kind})

    # Above the null, a tenth and half of the best: heads 0 and 2 of the one kind, head 1 of the other.
    tables = [table("previous_token", 0.9, 0.4, 0.5, 0.1), table("induction", 0.0, 0.3, 0.19, 0.0)]
    assert heads_of_other_kinds(tables, "duplicate_token") == ["L0H0", "L0H2", "L0H1"]
    assert heads_of_other_kinds(tables, "previous_token") == ["L0H1"]
    assert heads_of_other_kinds([pd.concat(tables)], "induction") == ["L0H0", "L0H2"]


def test_a_group_that_holds_an_excluded_head_is_excluded() -> None:
    model = llama()
    table = find_heads(model, "induction", block=8, batch=2, seeds=(0,), layers=0, group=2)
    other = next(site for site in ("L0H0:2", "L0H2:4") if site != table.site[0])
    with pytest.raises(InputError, match="Only 0 other heads"):
        ablate_top_k(model, table, 1, block=8, batch=2, draws=1, exclude=[other.split(":")[0]])


def test_a_check_is_of_one_kind_and_takes_the_options_of_its_task() -> None:
    model = llama()
    table = find_heads(model, "induction", block=8, batch=1, seeds=(0,))
    other = find_heads(model, "previous_token", block=8, batch=1, seeds=(0,))
    with pytest.raises(InputError, match="the table has induction, previous_token"):
        ablate_top_k(model, pd.concat([table, other]), 1, block=8)
    with pytest.raises(InputError, match="no option 'length'; there is: block"):
        ablate_top_k(model, table, 1, length=8)
    plain = ablate_top_k(model, table[["site", "score"]], 1, block=8, batch=2, draws=1)
    pd.testing.assert_frame_equal(plain, ablate_top_k(model, table, 1, block=8, batch=2, draws=1))


@pytest.mark.parametrize(
    ("k", "options", "sentence"),
    [
        (0, {}, "k is 0"),
        (9, {}, "the table has 8 heads"),
        (5, {}, "Only 3 other heads"),
        (1, {"draws": -1}, "draws is -1"),
        (1, {"method": "median"}, "there is: zero, mean, resample"),
        (1, {"method": "resample", "batch": 1}, "One sequence cannot be resampled"),
    ],
)
def test_what_cannot_be_checked_gets_a_sentence(k: int, options: dict[str, object], sentence: str) -> None:
    table = find_heads(llama(), "induction", block=8, batch=1, seeds=(0,))
    with pytest.raises(InputError, match=sentence):
        ablate_top_k(llama(), table, k, block=8, **{"batch": 2, "draws": 1, **options})
