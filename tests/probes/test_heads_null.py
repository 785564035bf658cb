import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import find_heads
from workbench.probes.heads import DefiningPairs, get_kind
from workbench.probes.heads.null import null_quantile, p_value, rival_shifts
from workbench.tasks import repeated_random_tokens


def random_llama() -> HookedModel:
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=8,
        initializer_range=0.1,
    )
    torch.manual_seed(1)
    return HookedModel(LlamaForCausalLM(config))


def random_mamba() -> HookedModel:
    torch.manual_seed(1)
    return HookedModel(MambaForCausalLM(MambaConfig(vocab_size=400, hidden_size=64, state_size=8, num_hidden_layers=2)))


@pytest.mark.parametrize("make", [random_llama, random_mamba])
def test_few_heads_of_a_random_model_exceed_their_null(make) -> None:  # type: ignore[no-untyped-def]
    table = find_heads(make(), "induction", block=40, batch=4, seeds=(0, 1))
    # 5 % of 128 or 256 heads are expected above the 95 % quantile of their rivals, all of them by little.
    assert (table.score > table.null).mean() < 0.15
    assert 0.35 < table.p.mean() < 0.65
    assert table.excess.max() < 0.05


def test_a_fading_memory_is_no_previous_token_head() -> None:
    # Every channel of a random Mamba reads the recent past; none of them singles out the token before.
    table = find_heads(random_mamba(), "previous_token", block=20, batch=2, seeds=(0,), scope="core")
    assert table.score.mean() > 0.02
    assert (table.p <= 2 / 21).mean() > 0.5  # only the current token is above it
    assert (table.score > table.null).mean() < 0.25


def test_rivals_are_the_nearest_positions_on_both_sides_that_most_queries_have() -> None:
    task = repeated_random_tokens(100, 10, batch=1)
    induction = get_kind("induction").find.pairs(task)
    assert rival_shifts(induction, 6) == [-1, 1, -2, 2, -3, 3]
    shifts = rival_shifts(induction, 1000)
    assert min(shifts) == -6  # 5 of the 10 queries, 15 to 19, can look 15 tokens back instead of 9
    assert max(shifts) == 9  # a token may look at itself and no further
    assert rival_shifts(get_kind("previous_token").find.pairs(task), 4) == [-1, 1, -2, -3]


def test_rivals_that_do_not_exist_get_a_sentence() -> None:
    lonely = DefiningPairs(torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(InputError, match="too short"):
        rival_shifts(lonely, 3)
    with pytest.raises(InputError, match="null_draws is 0"):
        rival_shifts(lonely, 0)


def test_p_is_the_rank_among_the_rivals_and_never_zero() -> None:
    rivals = torch.arange(1.0, 20.0, dtype=torch.float64)[:, None].expand(-1, 3)
    score = torch.tensor([100.0, 18.5, 0.0], dtype=torch.float64)
    assert p_value(score, rivals).tolist() == [1 / 20, 2 / 20, 1.0]


@pytest.mark.parametrize(("draws", "level"), [(20, 0.95), (40, 0.95), (60, 0.9), (100, 0.99), (19, 0.5)])
def test_a_score_is_above_its_null_exactly_when_its_p_is_small(draws: int, level: float) -> None:
    rivals = torch.arange(float(draws), dtype=torch.float64)[:, None]
    for score in torch.arange(-0.5, draws, 0.5, dtype=torch.float64):
        above = bool(score > null_quantile(rivals, level))
        assert above == (float(p_value(score[None], rivals)) <= 1 - level + 1e-9)


def test_with_too_few_rivals_the_null_is_the_highest() -> None:
    assert null_quantile(torch.tensor([[1.0], [3.0], [2.0]], dtype=torch.float64), 0.95).tolist() == [3]
