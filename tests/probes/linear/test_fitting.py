"""Planted directions come back, in the activation's own space, and the fits are what their definitions say."""

import numpy as np
import pytest

from workbench.errors import InputError, LoadError
from workbench.probes.linear import Probe, evaluate_probe, fit_probe, load_probe, mass_mean_probe

from .planted import noise, stretched


def test_ridge_finds_the_planted_direction_and_its_length() -> None:
    values, direction = stretched(400, 30)
    probe = fit_probe(values, 3 * values @ direction + 7, "ridge", penalty=1e-3)
    assert probe.direction @ direction > 0.99999
    np.testing.assert_allclose(probe.weight[0], 3 * direction, atol=1e-3)
    assert probe.bias[0] == pytest.approx(7, abs=0.05)


def test_ridge_is_its_closed_form_on_standardised_features() -> None:
    values, direction = stretched(60, 5)
    labels = values @ direction + noise(60, 1)[:, 0]
    mean, scale = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    x = (values - mean) / scale
    w = np.linalg.solve(x.T @ x + 10 * np.eye(5), x.T @ (labels - labels.mean()))
    probe = fit_probe(values, labels, "ridge", penalty=10.0)
    np.testing.assert_allclose(probe.scores(values)[:, 0], x @ w + labels.mean(), rtol=1e-6)


def test_several_outputs_have_several_directions() -> None:
    values, direction = stretched(300, 12)
    other = np.eye(12)[4]
    labels = np.stack([values @ direction, values @ other], axis=1)
    probe = fit_probe(values, labels, "ridge", penalty=1e-3)
    assert probe.directions[0] @ direction > 0.9999 and probe.directions[1] @ other > 0.9999
    assert probe.predict(values).shape == (300, 2)
    with pytest.raises(InputError, match="has 2 directions"):
        _ = probe.direction


def test_logistic_regression_finds_the_planted_direction() -> None:
    values = noise(3000, 20)
    direction = noise(1, 20, seed=5)[0] / np.linalg.norm(noise(1, 20, seed=5))
    chance = 1 / (1 + np.exp(-4 * values @ direction))
    labels = np.where(np.random.default_rng(1).random(3000) < chance, "yes", "no")
    probe = fit_probe(values, labels)
    assert probe.classes == ("no", "yes")  # the direction points to the class that sorts last
    assert probe.direction @ direction > 0.99
    assert np.linalg.norm(probe.weight) == pytest.approx(4, rel=0.1)


def test_scaling_a_feature_changes_the_weights_and_no_prediction() -> None:
    values, direction = stretched(200, 6)
    labels = values @ direction > np.median(values @ direction)
    scales = np.array([1, 100, 0.01, 1, 7, 1], dtype=np.float32)
    one, other = fit_probe(values, labels), fit_probe(values * scales, labels)
    np.testing.assert_allclose(one.probabilities(values), other.probabilities(values * scales), atol=1e-3)


def test_more_than_two_classes_are_multinomial() -> None:
    values = noise(600, 8)
    labels = values[:, :3].argmax(axis=1)
    result = evaluate_probe(values, labels)
    assert result.probe.weight.shape == (3, 8)
    assert result.score.mean > 0.95
    np.testing.assert_allclose(result.probe.probabilities(values).sum(axis=1), 1)


def test_the_penalty_is_chosen_where_several_are_given() -> None:
    # 100 rows of 90 features: without a strong penalty, noise is fitted.
    values = noise(100, 90)
    labels = values[:, 0] + 2 * noise(100, 1, seed=3)[:, 0]
    chosen = fit_probe(values, labels, "ridge", penalty=[1e-6, 1e3])
    np.testing.assert_allclose(chosen.weight, fit_probe(values, labels, "ridge", penalty=1e3).weight)
    exact = values[:, 0] * 2
    chosen = fit_probe(values, exact, "ridge", penalty=[1e-6, 1e3])
    np.testing.assert_allclose(chosen.weight, fit_probe(values, exact, "ridge", penalty=1e-6).weight)


def test_mass_mean_is_the_difference_of_means_and_whitened_it_is_fishers_discriminant() -> None:
    generator = np.random.default_rng(0)
    covariance = np.array([[4.0, 1.9], [1.9, 1.0]])
    labels = np.arange(4000) % 2
    values = generator.multivariate_normal([0, 0], covariance, 4000) + labels[:, None] * [1.0, 1.0]
    values = values.astype(np.float32)
    plain, white = mass_mean_probe(values, labels), mass_mean_probe(values, labels, whitened=True)
    difference = values[labels == 1].mean(0) - values[labels == 0].mean(0)
    np.testing.assert_allclose(plain.weight[0], difference, rtol=1e-4)
    fisher = np.linalg.solve(covariance, [1.0, 1.0])
    assert white.direction @ fisher / np.linalg.norm(fisher) > 0.999
    right = [(probe.predict(values) == labels).mean() for probe in (plain, white)]
    assert right[1] > right[0] + 0.1
    middle = (values[labels == 1].mean(0) + values[labels == 0].mean(0)) / 2
    assert abs(float(plain.scores(middle[None])[0, 0])) < 1e-4


def test_a_probe_comes_back_from_its_file(tmp_path) -> None:
    probe = Probe(
        "logistic", noise(2, 3).astype(float), np.zeros(2), ("a", "b", "c")[:2], "blocks.0.hook_z", "m", (1, 2)
    )
    probe.save(tmp_path / "probe.safetensors")
    again = load_probe(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(again.weight, probe.weight)
    assert (again.kind, again.classes, again.hook, again.model_name, again.units) == (
        "logistic", ("a", "b"), "blocks.0.hook_z", "m", (1, 2)
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["probe.safetensors"]
    (tmp_path / "other").write_bytes(b"no such thing")
    with pytest.raises(LoadError, match="is no saved probe"):
        load_probe(tmp_path / "other")


@pytest.mark.parametrize(
    ("labels", "kind", "says"),
    [
        ([1, 1, 1, 1], "logistic", "single class"),
        ([0, 1, 0], "logistic", "3 labels for activations"),
        (["a", "b", "a", "b"], "ridge", "predicts numbers"),
        ([2.0, 2.0, 2.0, 2.0], "ridge", "labels that differ"),
        ([0.0, 1.0, float("nan"), 2.0], "ridge", "not a finite number"),
        ([0, 1, 0, 1], "lasso", "'ridge' or 'logistic'"),
        ([[1], [1, 2], [1], [1]], "ridge", "as many numbers"),
    ],
)
def test_labels_that_make_no_sense_are_refused(labels, kind, says) -> None:
    with pytest.raises(InputError, match=says):
        fit_probe(noise(4, 2), labels, kind)


def test_activations_that_are_not_finite_are_refused() -> None:
    values = noise(4, 2)
    values[1, 0] = np.inf
    with pytest.raises(InputError, match="not finite"):
        fit_probe(values, [0, 1, 0, 1])


def test_other_activations_than_it_was_fitted_on_are_refused() -> None:
    probe = fit_probe(noise(10, 3), np.arange(10) % 2)
    with pytest.raises(InputError, match="rows of 3 features"):
        probe.predict(noise(2, 4))
