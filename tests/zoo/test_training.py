"""Training: Muon orthogonalises, and a run that is stopped and resumed is the run that was not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.errors import DivergenceError
from workbench.zoo import ZooConfig, ZooModel
from workbench.zoo.loading import read_weights
from workbench.zoo.recipe import train as recipe
from workbench.zoo.recipe.checkpoint import load_checkpoint, save_checkpoint
from workbench.zoo.recipe.data import Data
from workbench.zoo.recipe.mixture import Schedule
from workbench.zoo.recipe.muon import Muon, orthogonalise
from workbench.zoo.recipe.settings import Settings
from workbench.zoo.recipe.tokenizer import train_tokenizer

DOCUMENT = "The people of the United States of America, in order to form a more perfect union. " * 40


@pytest.fixture(scope="module")
def data() -> Data:
    tokenizer = train_tokenizer([DOCUMENT], 300)
    return Data(tokenizer, np.array(tokenizer.encode(DOCUMENT).ids * 3), [DOCUMENT])


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    small = {"vocab_size": 300, "context": 32, "d_model": 32, "n_layers": 1, "d_mlp": 32}

    def build(member: str, settings: Settings) -> ZooModel:
        torch.manual_seed(settings.seed)
        return ZooModel(ZooConfig(member, mixer_options={"state_size": 16}, **small))  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "build_model", build)
    short = replace(Schedule(), context=((0, 32), (-1, 32)))
    return Settings(steps=6, batch=2, context=32, vocab_size=300, schedule=short, bfloat16=False)


def test_singular_values_of_an_orthogonalised_matrix_are_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((2, 24, 64), (2, 64, 24)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), steps=5).float())
        assert (values > 0.6).all()
        assert (values < 1.3).all()


def test_muon_follows_the_gradient_whatever_its_size() -> None:
    start = torch.nn.Parameter(torch.zeros(8, 8))
    optimiser = Muon([start], lr=0.1)
    start.grad = 1e-6 * torch.diag(torch.linspace(1, 3, 8))
    optimiser.step()
    assert (torch.diag(start) < -0.05).all()


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, data: Data, settings: Settings) -> None:
    whole = recipe.train("mamba", settings, data, tmp_path / "whole", every=100)
    recipe.train("mamba", settings, data, tmp_path / "parts", stop_after=3, every=100)
    parts = recipe.train("mamba", settings, data, tmp_path / "parts", every=100)
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_a_gradient_that_is_not_finite_ends_the_run_and_changes_no_weight(
    tmp_path: Path, data: Data, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.train("mamba", settings, data, tmp_path, stop_after=2, every=100)
    good = (tmp_path / "checkpoint").stat().st_mtime_ns
    cross_entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr(recipe.F, "cross_entropy", lambda *args, **how: cross_entropy(*args, **how) * torch.inf)
    with pytest.raises(DivergenceError, match=r"Step 3: the gradient's norm is (nan|inf)"):
        recipe.train("mamba", settings, data, tmp_path, every=100)
    assert (tmp_path / "checkpoint").stat().st_mtime_ns == good


def test_a_finished_run_is_not_trained_further(tmp_path: Path, data: Data, settings: Settings) -> None:
    first = recipe.train("attention", settings, data, tmp_path)
    again = recipe.train("attention", settings, data, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_run_killed_between_the_two_renames_is_recovered(tmp_path: Path, settings: Settings) -> None:
    model = recipe.build_model("attention", settings)
    optimisers = recipe.build_optimisers(model, settings)
    save_checkpoint(tmp_path, model, optimisers, step=7)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    assert load_checkpoint(tmp_path, model, optimisers) == 7


def test_weights_round_trip_and_stay_tied(tmp_path: Path, settings: Settings) -> None:
    model, other = recipe.build_model("mamba2", settings), recipe.build_model("mamba2", replace(settings, seed=1))
    save_checkpoint(tmp_path, model, [], step=1, keep=True)
    read_weights(other, tmp_path / "step-1.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert other.unembed.weight is other.embed.weight


def test_settings_round_trip_through_json() -> None:
    settings = Settings(steps=123, schedule=Schedule(copy=((0, 0.5), (-1, 0.25))))
    assert Settings.from_json(settings.to_json()) == settings
