"""Steering adds what it says where it says, in every step of a generation, and its files say what they hold."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import workbench as wb
from workbench.errors import InputError, LoadError
from workbench.interventions import Steer, SteeringVector
from workbench.model import HookedModel

POST = "blocks.1.hook_resid_post"
STATE = "blocks.1.mixer.hook_state"


@functools.cache
def model(name: str) -> HookedModel:
    return wb.load(f"zoo:{name}")


def tokens(seed: int = 0, time: int = 7) -> torch.Tensor:
    return torch.randint(5, 2000, (2, time), generator=torch.Generator().manual_seed(seed))


def seen_at(lm: HookedModel, name: str, *edits: Steer) -> torch.Tensor:
    kept = {}
    hooks = [hook for edit in edits for hook in edit.hooks(lm, tokens())]
    with torch.no_grad():
        lm.run_with_hooks(
            tokens(), fwd_hooks=[*hooks, (name, lambda tensor, hook: kept.__setitem__(hook.step, tensor.clone()))]
        )
    return kept[None] if None in kept else torch.stack(list(kept.values()), 1)


@pytest.mark.parametrize("name", ["attention", "mamba", "lstm"])
@torch.no_grad()
def test_alpha_zero_is_the_plain_run(name: str) -> None:
    lm = model(name)
    with Steer(torch.ones(128), POST, alpha=0.0).applied(lm):
        assert lm(tokens()).equal(lm(tokens()))
        steered = lm(tokens())
    assert steered.equal(lm(tokens()))


def test_vector_is_added_at_the_listed_positions_only() -> None:
    lm, vector = model("attention"), torch.randn(128)
    added = seen_at(lm, POST, Steer(vector, POST, alpha=-2.0, positions=[1, -1])) - seen_at(lm, POST)
    expected = torch.zeros_like(added)
    expected[:, [1, 6]] = -2 * vector
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-4)


def test_units_and_matched_norms() -> None:
    lm, vector = model("attention"), torch.randn(128)
    plain = seen_at(lm, POST)
    unit = seen_at(lm, POST, Steer(vector, POST, alpha=3.0, norm="unit")) - plain
    torch.testing.assert_close(unit.norm(dim=-1), torch.full((2, 7), 3.0), rtol=1e-3, atol=1e-3)
    matched = seen_at(lm, POST, Steer(vector, POST, alpha=0.5, norm="matched")) - plain
    torch.testing.assert_close(matched.norm(dim=-1), 0.5 * plain.norm(dim=-1), rtol=1e-3, atol=1e-3)
    cosine = torch.nn.functional.cosine_similarity(matched, vector.expand_as(matched), dim=-1)
    torch.testing.assert_close(cosine, torch.ones(2, 7), rtol=1e-4, atol=1e-4)


def test_effect_is_linear_in_alpha_where_the_model_is() -> None:
    lm = linear_model()
    text, vector = torch.tensor([[1, 2, 3]]), torch.randn(16, dtype=torch.double)
    plain = lm(text)

    def effect(alpha: float) -> torch.Tensor:
        with torch.no_grad(), Steer(vector, "blocks.0.hook_resid_post", alpha=alpha).applied(lm):
            return lm(text) - plain

    torch.testing.assert_close(effect(3.0), 3 * effect(1.0), rtol=1e-9, atol=1e-9)
    # And it is the unembedding of the vector, by hand.
    by_hand = (vector @ lm.wrapped.lm_head.weight.T).expand(1, 3, -1)  # type: ignore[operator,union-attr]
    torch.testing.assert_close(effect(1.0), by_hand, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_state_is_steered_at_chosen_steps_and_keeps_it() -> None:
    lm, vector = model("gla"), torch.randn_like(model("gla").prefill(tokens()).recurrent[1][0])
    plain, steered = seen_at(lm, STATE), seen_at(lm, STATE, Steer(vector, STATE, positions=-3))
    difference = steered - plain
    torch.testing.assert_close(difference[:, 4], vector.expand(2, *vector.shape), rtol=1e-4, atol=1e-4)
    assert difference[:, :4].abs().max() == 0
    assert difference[:, 5].abs().max() > 0.1
    # What is there a step later is the vector, decayed: the model's own decay says how much.
    _, cache = lm.run_with_cache(tokens(), "blocks.1.mixer.hook_log_decay")
    decay = cache["blocks.1.mixer.hook_log_decay"][:, 5].exp()
    decayed = decay.reshape(*decay.shape, *[1] * (vector.dim() + 1 - decay.dim())) * vector
    torch.testing.assert_close(difference[:, 5], decayed, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["attention", "mamba"])
@pytest.mark.parametrize("use_cache", [True, False])
@torch.no_grad()
def test_every_generated_token_is_steered(name: str, use_cache: bool) -> None:
    lm, vector, last = model(name), torch.randn(128), "blocks.3.hook_resid_post"
    fed: list[int] = []
    steer = Steer(vector, last, alpha=2.0, norm="matched")
    with lm.hooks([*steer.hooks(lm), (last, lambda tensor, hook: fed.append(tensor.shape[1]))]):
        generated = lm.generate(tokens(), max_new_tokens=5, use_cache=use_cache)
    assert fed == ([7, 1, 1, 1, 1] if use_cache else [7, 8, 9, 10, 11])

    def by_hand(x: torch.Tensor, hook: object) -> torch.Tensor:
        return x + 2 * x.norm(dim=-1, keepdim=True) * vector / vector.norm()

    text = tokens()
    for _ in range(5):
        logits = lm.run_with_hooks(text, fwd_hooks=[(last, by_hand)])
        text = torch.cat([text, logits[:, -1].argmax(-1)[:, None]], 1)
    assert generated.equal(text)
    assert not generated.equal(lm.generate(tokens(), max_new_tokens=5))


@torch.no_grad()
def test_a_range_reaches_into_what_is_generated() -> None:
    lm = model("attention")
    steer = Steer(torch.ones(128), POST, positions=slice(8, 10))
    plain = seen_in_generation(lm, [])
    steered = seen_in_generation(lm, steer.hooks(lm))
    changed = [not torch.allclose(a, b) for a, b in zip(plain, steered, strict=True)]
    # The prompt is read first, then position 7, which is before the range, then the range and what is after it.
    assert changed[:3] == [False, False, True]


@torch.no_grad()
def test_the_last_position_of_the_prompt_stays_that_one_while_tokens_are_generated() -> None:
    lm, edited = model("gla"), []
    vector = torch.full((128,), 1e4)
    hooks = Steer(vector, POST, positions=-1).hooks(lm)
    for shown in seen_in_generation(lm, hooks):
        edited.append((shown.mean(-1) > 1e3).any(0).tolist())
    assert edited == [[False] * 6 + [True], [False], [False], [False], [False]]
    # The same hooks read another text from its own beginning, and go on from a state at the end of what is read.
    state = lm.prefill(tokens())
    with lm.hooks([*hooks, (POST, lambda tensor, hook: edited.append((tensor.mean(-1) > 1e3).any(0).tolist()))]):
        lm.generate(tokens(time=3), max_new_tokens=2, state=state)
    assert edited[5:] == [[False, False, True], [False]]


def seen_in_generation(lm: HookedModel, hooks: list) -> list[torch.Tensor]:  # type: ignore[type-arg]
    kept: list[torch.Tensor] = []
    with lm.hooks([*hooks, (POST, lambda tensor, hook: kept.append(tensor.clone()))]):
        lm.generate(tokens(), max_new_tokens=5)
    return kept


def test_a_steering_vector_comes_back_from_its_files(tmp_path: Path) -> None:
    vector = SteeringVector({POST: torch.randn(128)}, "zoo:attention", {"pairs": 3})
    vector.save(tmp_path / "deep" / "sentiment")
    loaded = SteeringVector.load(tmp_path / "deep" / "sentiment.safetensors")
    assert loaded.values[POST].equal(vector.values[POST])
    assert loaded.details == {"pairs": 3}
    notes = json.loads((tmp_path / "deep" / "sentiment.json").read_text())
    assert notes["norms"][POST] == pytest.approx(float(vector.values[POST].norm()))
    (tmp_path / "deep" / "sentiment.json").write_text("{}")
    with pytest.raises(LoadError, match="is no saved steering vector"):
        SteeringVector.load(tmp_path / "deep" / "sentiment")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Steer(torch.ones(128)), "does not say where"),
        (lambda: Steer(torch.ones(5), POST), r"shape \[128\], not \[5\]"),
        (lambda: Steer(torch.zeros(128), POST, norm="unit"), "has no direction"),
        (lambda: Steer(torch.full((128,), float("nan")), POST), "NaN or an infinity"),
        (lambda: Steer(torch.ones(128), POST, norm="l2"), "No norm is called"),
        (lambda: Steer(torch.ones(128), POST, positions=9), "Position 9 is outside the 7"),
        (lambda: Steer(torch.ones(128), POST, positions=torch.tensor([0.5])), "are no positions"),
        (lambda: Steer(torch.ones(128), POST, positions=slice(0, 4, 2)), "stride"),
        (lambda: Steer(SteeringVector({STATE: torch.ones(2)}, "zoo:gla")), "which zoo:attention lacks"),
    ],
)
def test_steering_that_makes_no_sense_is_refused_with_a_sentence(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        seen_at(model("attention"), POST, make())  # type: ignore[operator]


def linear_model() -> HookedModel:
    """GPT-2 whose last norm and later layers do nothing: the logits are linear in the stream after layer 0."""
    torch.manual_seed(0)
    stock = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=16, n_layer=1, n_head=2)).double().eval()
    stock.transformer.ln_f = nn.Identity()
    return HookedModel(stock)
