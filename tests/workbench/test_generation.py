"""Generation: token for token what transformers generates, with hooks firing at every step."""

import copy
from typing import Any

import pytest
import torch

import workbench as wb
from tests.workbench import recurrent_cases
from tests.workbench.decoder_cases import CASES, TRANSFORMERS, batch, build, left_padded
from workbench.errors import InputError

NEW = 9
RECURRENT = recurrent_cases.STOCK
EVERY = [*TRANSFORMERS, *RECURRENT]


def stock(case: str) -> Any:
    return build(case) if case in CASES else recurrent_cases.build(case)


def theirs(module: Any, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    module.generation_config.eos_token_id = None
    module.generation_config.pad_token_id = 0
    return torch.as_tensor(
        module.generate(tokens, attention_mask=mask, max_new_tokens=NEW, do_sample=False, use_cache=True)
    )


@pytest.mark.parametrize("case", EVERY)
def test_greedy_generation_is_that_of_transformers_left_padded_batches_included(case: str) -> None:
    module = stock(case)
    tokens, mask, _ = left_padded()
    tokens = tokens % 40
    expected = theirs(copy.deepcopy(module), tokens, mask)
    ours = wb.load(module).generate(tokens, NEW, attention_mask=mask)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("case", ["llama", "gemma3", "mamba", "mamba2", "zoo attention", "zoo mamba", "zoo mamba2"])
def test_generation_with_and_without_a_cache_agrees(case: str) -> None:
    model = wb.load(stock(case))
    tokens, mask, _ = left_padded()
    kept = model.generate(tokens % 40, NEW, attention_mask=mask)
    assert torch.equal(kept, model.generate(tokens % 40, NEW, attention_mask=mask, use_cache=False))


@pytest.mark.parametrize("case", ["llama", "mamba"])
def test_hooks_fire_at_every_step_and_their_edits_count(case: str) -> None:
    model = wb.load(stock(case))
    seen = []

    def favour(logits: torch.Tensor, hook: wb.HookPoint) -> torch.Tensor:
        seen.append(logits.shape[1])
        return torch.nn.functional.one_hot(torch.tensor(7), logits.shape[-1]).to(logits.dtype).expand_as(logits)

    with model.hooks([("hook_logits", favour)]):
        out = model.generate(batch() % 40, 4)
    assert seen == [11, 1, 1, 1] and (out[:, 11:] == 7).all()


def test_an_edit_of_past_keys_counts_at_every_step() -> None:
    model = wb.load(build("llama"))

    def forget(value: torch.Tensor, hook: wb.HookPoint) -> torch.Tensor:
        return torch.cat([torch.zeros_like(value[:, :5]), value[:, 5:]], dim=1)

    with model.hooks([("mixer.hook_v", forget)]):
        kept = model.generate(batch(), NEW)
        assert torch.equal(kept, model.generate(batch(), NEW, use_cache=False))
    assert not torch.equal(kept, model.generate(batch(), NEW))


def test_sampling_is_reproducible_and_restricted_as_asked() -> None:
    model = wb.load(build("gpt2"))
    hot = {"temperature": 5.0, "max_new_tokens": 20}
    assert torch.equal(model.generate(batch(), seed=3, **hot), model.generate(batch(), seed=3, **hot))
    assert not torch.equal(model.generate(batch(), seed=3, **hot), model.generate(batch(), seed=4, **hot))
    greedy = model.generate(batch(), 20)
    assert torch.equal(model.generate(batch(), seed=3, top_k=1, **hot), greedy)
    assert torch.equal(model.generate(batch(), seed=3, top_p=1e-6, **hot), greedy)
    two_best = []
    with model.hooks([("hook_logits", lambda logits, hook: two_best.append(logits[:, -1].topk(2).indices))]):
        drawn = model.generate(batch(), seed=3, top_k=2, **hot)[:, 11:]
    assert all((drawn[:, step, None] == best).any(1).all() for step, best in enumerate(two_best))


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    model = wb.load(build("gpt2"))
    fixed = torch.full((61,), -torch.inf)
    fixed[[10, 11, 12]] = torch.tensor([0.5, 0.3, 0.2]).log()
    with model.hooks([("hook_logits", lambda logits, hook: fixed.expand_as(logits).clone())]):
        drawn = model.generate(batch(), 50, temperature=1.0, top_p=0.6, seed=0)[:, 11:]
    assert set(drawn.flatten().tolist()) == {10, 11}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_k": 0, "temperature": 1.0}, "top_k is 0"),
        ({"top_p": 0.0, "temperature": 1.0}, "top_p is 0.0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 60}, "64 positions"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        wb.load(build("gpt2")).generate(batch(), **options)


def test_padding_on_the_right_is_refused() -> None:
    tokens, mask, _ = left_padded()
    with pytest.raises(InputError, match="padding on the left"):
        wb.load(build("gpt2")).generate(tokens, attention_mask=mask.flip(1))
