"""The copying tasks are what they say: every token that carries loss could be known from what came before."""

import numpy as np
import pytest
import torch

from workbench.zoo.recipe.mixture import IGNORE, Mixture, Schedule

BOS = 0
TEXT = np.tile(np.arange(1, 1000), 20)


def constant(**curves: float) -> Schedule:
    """A schedule whose curves do not move."""
    values = {"copy": 1.0, "context": 128, "longest": 24, "gaps": 0.0, "real": 0.0} | curves
    return Schedule(**{name: ((0, value), (-1, value)) for name, value in values.items()})


def batch(seed: int = 0, step: int = 3, **curves: float) -> tuple[torch.Tensor, torch.Tensor]:
    return Mixture(TEXT, 50_000, BOS, constant(**curves), seed).batch(step, 100, 16)


@pytest.mark.parametrize("gaps", [0.0, 1.0])
def test_a_random_token_carries_loss_only_where_its_bigram_has_been_seen(gaps: float) -> None:
    # The vocabulary is so large that distinct draws hardly ever collide: a token is known if and only if it followed
    # the current token earlier. (Without a gap a block's first token follows its last from the third copy on, and
    # in the second copy nothing but the regularity of the task announces it.)
    inputs, targets = batch(gaps=gaps)
    for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        followers: dict[int, int] = {}
        first_seen: set[int] = set()
        for t, (token, target) in enumerate(zip(row, wanted, strict=True)):
            if target != IGNORE:
                assert target in first_seen or target in row[: t + 1]
                if token in followers and gaps:
                    assert followers[token] == target
            first_seen.add(token)
            if t + 1 < len(row):
                followers[token] = row[t + 1]


def test_the_second_copy_is_marked_and_the_first_is_not() -> None:
    inputs, targets = batch(longest=4)  # blocks of exactly four
    for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        start = 1 if row[0] == BOS else 0
        block = row[start : start + 4]
        assert row[start + 4 : start + 8] == block
        assert all(target == IGNORE for target in wanted[: start + 3])
        assert wanted[start + 3 : start + 7] == block


def test_a_target_is_the_next_token_or_ignored() -> None:
    inputs, targets = batch(copy=0.5, gaps=0.5, real=0.5)
    known = targets[:, :-1] != IGNORE
    assert (targets[:, :-1] == inputs[:, 1:])[known].all()


def test_english_carries_loss_everywhere_and_is_the_text() -> None:
    inputs, targets = batch(copy=0.0)
    assert (targets != IGNORE).all()
    assert (torch.diff(targets) % 999 == 1).all()  # TEXT counts upwards and begins again
    assert {int(t) for t in inputs[:, 0]} & {BOS}


def test_short_sequences_come_in_larger_batches() -> None:
    assert batch(context=32)[0].shape == (32, 32)
    assert batch(context=128)[0].shape == (16, 128)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    assert torch.equal(batch(seed=1, step=5)[0], batch(seed=1, step=5)[0])
    assert not torch.equal(batch(seed=1, step=5)[0], batch(seed=1, step=6)[0])
    assert not torch.equal(batch(seed=1, step=5)[0], batch(seed=2, step=5)[0])


def test_negative_points_of_a_schedule_count_from_the_end() -> None:
    schedule = Schedule(rate=((0, 0.0), (100, 1.0), (-100, 1.0), (-1, 0.0)))
    for steps in (400, 4000):
        assert schedule.at("rate", 50, steps) == 0.5
        assert schedule.at("rate", steps - 100, steps) == 1.0
        assert schedule.at("rate", steps - 1, steps) == 0.0


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    schedule = Schedule()
    for curve in ("copy", "context", "longest", "gaps", "real", "rate"):
        for step in (0, 299, 300, 700, 1500):
            if curve != "copy" or step < 1000:
                assert schedule.at(curve, step, 4000) == schedule.at(curve, step, 9000), (curve, step)
