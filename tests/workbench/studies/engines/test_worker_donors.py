"""Donors: means and deviations against numpy over recorded activations, whatever the lengths; partners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.studies.engines.donors import WorkerDonors
from workbench.studies.inputs.prompt import Prompt

OUT = "blocks.2.mixer.hook_head_out"
STATE = "blocks.1.mixer.hook_state"


@pytest.fixture(scope="module")
def model() -> Iterator[HookedModel]:
    found = wb.load("zoo:gla", check=False)
    yield found
    found.unwrap()


def prompt(seed: int, time: int, split: str = "all") -> Prompt:
    tokens = torch.randint(0, 2000, (time,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Prompt(tuple(tokens), (time - 1,), (3,), split=split)  # type: ignore[arg-type]


PROMPTS = [prompt(0, 6, "discover"), prompt(1, 9, "discover"), prompt(2, 6, "confirm")]


def seen(model: HookedModel, one: Prompt, name: str) -> np.ndarray:
    _, cache = model.run_with_cache(torch.tensor([one.tokens]), names_filter=name)
    return cache[name].detach().double().numpy()


def test_means_and_deviations_of_a_split(model: HookedModel) -> None:
    donors = WorkerDonors(model, PROMPTS, "digest", None)
    values = [seen(model, one, OUT)[0] for one in PROMPTS]
    both, every = np.concatenate(values[:2]), np.concatenate(values)
    np.testing.assert_allclose(donors.mean(OUT, "discover", False)[0, 0], both.mean(0), atol=1e-6)
    np.testing.assert_allclose(donors.deviation(OUT, "discover")[0, 0], both.std(0), atol=1e-6)
    np.testing.assert_allclose(donors.mean(OUT, "all", False)[0, 0], every.mean(0), atol=1e-6)
    placed = donors.mean(OUT, "discover", True)[0].numpy()
    assert len(placed) == 9
    np.testing.assert_allclose(placed[:6], (values[0] + values[1][:6]) / 2, atol=1e-6)
    np.testing.assert_allclose(placed[6:], values[1][6:], atol=1e-6)  # only one prompt is so long


def test_states_after_every_step(model: HookedModel) -> None:
    donors = WorkerDonors(model, PROMPTS, "digest", None)
    states = [seen(model, one, STATE)[0] for one in PROMPTS[:2]]  # [time, heads, key, value]
    found = donors.activation(STATE, PROMPTS[0])
    assert found.shape[:2] == (1, 6)
    np.testing.assert_allclose(found[0], states[0], atol=1e-6)
    np.testing.assert_allclose(donors.mean(STATE, "discover", False)[0, 0], np.concatenate(states).mean(0), atol=1e-6)


def test_what_is_computed_does_not_depend_on_what_was_asked_before(model: HookedModel, tmp_path: Path) -> None:
    first, second = (WorkerDonors(model, PROMPTS, "digest", folder) for folder in (tmp_path, None))
    second.mean("blocks.0.hook_mlp_out", "all", True)
    second.activation(OUT, PROMPTS[1])
    assert torch.equal(first.mean(OUT, "discover", False), second.mean(OUT, "discover", False))
    third = WorkerDonors(model, PROMPTS, "digest", tmp_path)
    assert torch.equal(third.mean(OUT, "discover", True), first.mean(OUT, "discover", True))
    # Other weights have other means.
    assert len([*tmp_path.iterdir()]) == 1
    WorkerDonors(model, PROMPTS, "another", tmp_path).mean(OUT, "discover", False)
    assert len([*tmp_path.iterdir()]) == 2


def test_partners(model: HookedModel) -> None:
    several = [prompt(seed, 6) for seed in range(6)]
    donors = WorkerDonors(model, several, "digest", None)
    drawn = [donors.partner(several[0], "all", seed) for seed in range(40)]
    assert drawn == [donors.partner(several[0], "all", seed) for seed in range(40)]
    assert {one.tokens for one in drawn} == {one.tokens for one in several[1:]}
    with pytest.raises(InputError, match="'discover' has 6 tokens"):
        WorkerDonors(model, PROMPTS, "digest", None).partner(PROMPTS[0], "discover", 1)
    with pytest.raises(InputError, match="no prompt of the split 'discover'"):
        WorkerDonors(model, PROMPTS[2:], "digest", None).mean(OUT, "discover", False)
    with pytest.raises(InputError, match="has no mean"):
        donors.mean("blocks.1.mixer.hook_pattern", "all", False)
