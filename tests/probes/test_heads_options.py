import functools

import pandas as pd
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from tests.families.case import build, hooked
from tests.families.cases import every_case
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import find_heads, kinds, sites_of, top_heads
from workbench.probes.heads import DefiningPairs, get_kind, register_reading
from workbench.probes.heads.table import COLUMNS
from workbench.tasks import repeated_random_tokens


@functools.cache
def mamba() -> HookedModel:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=50, hidden_size=16, state_size=4, num_hidden_layers=3, expand=2)
    return HookedModel(MambaForCausalLM(config))


def test_one_row_a_head_of_the_layers_asked_for_best_first() -> None:
    table = find_heads(mamba(), "induction", block=8, batch=2, seeds=(0,), layers=[2, 0])
    assert list(table.columns) == list(COLUMNS)
    assert sorted(zip(table.layer, table["head"], strict=True)) == [
        (layer, head) for layer in (0, 2) for head in range(32)
    ]
    assert table.score.is_monotonic_decreasing
    assert set(table.normalise) == {"energy"}


def test_one_seed_and_one_layer_may_be_plain_numbers() -> None:
    plain = find_heads(mamba(), "induction", block=8, batch=2, seeds=3, layers=1)
    listed = find_heads(mamba(), "induction", block=8, batch=2, seeds=[3], layers=[1])
    pd.testing.assert_frame_equal(plain, listed)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "inducton"}, "'inducton'; nearest: induction"),
        ({"seeds": ()}, "seeds is empty"),
        ({"block": 1}, "at least 2 are needed"),
        ({"layers": [0, 3]}, "no layer 3; the model has layers 0..2"),
        ({"layers": []}, "layers is empty"),
        ({"normalise": "softmax"}, "there is: mass, energy"),
        ({"scope": "head"}, "there is: core, mixer"),
        ({"group": 5}, "Groups of 5 do not divide the 32 heads of layer 0"),
        ({"group": 0}, "Groups of 0"),
        ({"null_level": 95}, "null_level is 95"),
        ({"blocks": 8}, "The finder of induction heads has no option 'blocks'; nearest: block"),
        ({"block": 60}, "60 distinct tokens cannot be drawn"),
    ],
)
def test_options_that_make_no_sense_get_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_heads(mamba(), **{"kind": "induction", "block": 8, "batch": 1, "seeds": (0,), **options})


def test_scores_do_not_depend_on_how_many_pairs_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"block": 8, "batch": 2, "seeds": (0,), "layers": [1]}
    whole = find_heads(mamba(), "induction", **options)
    monkeypatch.setattr("workbench.probes.heads.reading._ELEMENTS_AT_ONCE", 1)
    pd.testing.assert_frame_equal(find_heads(mamba(), "induction", **options), whole)


def test_a_pooled_score_weighs_channels_by_their_energy() -> None:
    model, block = mamba(), 8
    task = repeated_random_tokens(model, block, batch=2, seed=0)
    matrix = model.implicit_attention(task.tokens, layer=1, scope="mixer").dense().square()
    pooled = matrix.unflatten(1, (4, 8)).sum(2)
    share = pooled / pooled.sum(-1, keepdim=True)
    expected = torch.stack([share[:, :, t, t - block + 1] for t in range(block, 2 * block)]).mean((0, 1))
    table = find_heads(model, "induction", block=block, batch=2, seeds=(0,), layers=[1], group=8).sort_values("head")
    torch.testing.assert_close(torch.tensor(table.score.to_numpy()), expected.double(), rtol=1e-4, atol=1e-7)


def test_kinds_are_registered_once() -> None:
    assert {"duplicate_token", "induction", "previous_token", "first_token", "current_token"} <= set(kinds())
    assert kinds() == sorted(kinds())
    with pytest.raises(ValueError, match="belongs to"):
        register_reading("induction", reads="nothing", source="nowhere")(
            lambda task: DefiningPairs(torch.tensor([0]), torch.tensor([0]))
        )
    assert get_kind("induction").source.startswith("Olsson")


def test_the_top_of_a_table_names_sites_to_ablate() -> None:
    table = find_heads(mamba(), "induction", block=8, batch=1, seeds=(0,), group=16)
    best = top_heads(table, 2)
    assert list(best.score) == sorted(table.score, reverse=True)[:2]
    assert [site.hook_names(mamba())[0] for site in sites_of(best)] == [
        f"blocks.{layer}.mixer.hook_head_out" for layer in best.layer
    ]
    assert [(site.start, site.stop) for site in sites_of(best)] == [(h, h + 16) for h in best["head"]]
    by_excess = top_heads(table, 1, by="excess")
    assert float(by_excess.excess[0]) == table.excess.max()
    for k, by, sentence in ((0, "score", "choose 1..6"), (7, "score", "has 6 heads"), (1, "rank", "no column 'rank'")):
        with pytest.raises(InputError, match=sentence):
            top_heads(table, k, by=by)
    with pytest.raises(InputError, match="no column 'site'"):
        sites_of(table.drop(columns="site"))


@pytest.mark.parametrize(("name", "layers"), [("nemotron_h", {1, 2, 4}), ("lfm2", {0, 1, 2}), ("zoo rwkv7", {0, 1})])
def test_every_layer_that_mixes_tokens_is_looked_at_whatever_its_family(name: str, layers: set[int]) -> None:
    with hooked(build(every_case()[name])) as model:
        table = find_heads(model, "previous_token", block=6, batch=2, seeds=(0,))
    assert set(table.layer) == layers
    assert table.score.notna().all()
