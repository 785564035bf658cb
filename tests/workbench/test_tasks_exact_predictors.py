"""Exact predictors, against sums over everything that may have been: weights, subsets, change points, hidden paths."""

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, Ridge

from workbench.errors import InputError
from workbench.tasks import (
    Quantiser,
    Task,
    hidden_markov,
    in_context_languages,
    in_context_ngrams,
    linear_regression,
    ngram_predictions,
    regression_vectors,
    score_predictions,
    sparse_parity,
    switching_sources,
)

FEW = settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 999)
FIRST = st.sampled_from([None, 59])


def symbols_of(task: Task, row: int) -> list[int]:
    """The text as numbers of outcomes, without the token in front."""
    assert task.outcomes is not None
    place = {token: index for index, token in enumerate(task.outcomes.tolist())}
    return [place[token] for token in task.tokens[row].tolist() if token in place]


@FEW
@given(levels=st.integers(2, 9), low=st.floats(-3, 0), width=st.floats(0.5, 4), mean=st.floats(-6, 6))
def test_a_number_becomes_the_nearest_level_and_a_normal_one_has_the_mass_around_it(
    levels: int, low: float, width: float, mean: float
) -> None:
    quantiser = Quantiser(low, low + width, levels)
    numbers = quantiser.numbers.tolist()
    assert numbers == pytest.approx(np.linspace(low, low + width, levels))
    points = torch.linspace(low - 1, low + width + 1, 37, dtype=torch.float64)
    for point, level in zip(points.tolist(), quantiser.encode(points).tolist(), strict=True):
        distances = [abs(point - number) for number in numbers]
        assert distances[level] == pytest.approx(min(distances), abs=1e-9)
    assert quantiser.encode(quantiser.numbers).tolist() == list(range(levels))
    assert quantiser.decode(torch.arange(levels)).tolist() == numbers
    chances = quantiser.chances(torch.tensor([mean], dtype=torch.float64), 0.3)[0]
    edges = [-math.inf, *[(a + b) / 2 for a, b in zip(numbers[1:], numbers[:-1], strict=True)], math.inf]
    assert chances.tolist() == pytest.approx(np.diff(norm.cdf(edges, mean, 0.3)), abs=1e-12)


def test_far_tails_keep_their_mass_on_both_sides() -> None:
    chances = Quantiser(-1, 1, 3).chances(torch.zeros(1, dtype=torch.float64), 0.05)[0]
    assert float(chances[0]) == pytest.approx(norm.cdf(-10), rel=1e-6, abs=0)
    assert float(chances[2]) == pytest.approx(norm.cdf(-10), rel=1e-6, abs=0)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("bos", [None, 59])
def test_the_regression_posterior_is_a_sum_over_all_weights(noise: float, bos: int | None) -> None:
    task = linear_regression(60, 2, 5, weights=3, levels=4, outputs=9, noise=noise, batch=4, seed=2, bos=bos)
    assert task.probabilities is not None
    inputs, outputs = np.linspace(-1, 1, 4), np.linspace(-2, 2, 9)
    edges = np.array([-np.inf, *(outputs[1:] + outputs[:-1]) / 2, np.inf])

    def chances(mean: float) -> np.ndarray:
        if noise == 0:
            return np.eye(9)[np.abs(outputs - mean).argmin()]
        return np.diff(norm.cdf(edges, mean, noise))

    for row in range(4):
        tokens = task.tokens[row, bos is not None :].view(5, 3)
        points, seen = inputs[tokens[:, :2].numpy()], (tokens[:, 2] - 4).tolist()
        assert task.values[row].tolist() == pytest.approx(outputs[seen])
        weight = dict.fromkeys(product(np.linspace(-1, 1, 3), repeat=2), 1.0)
        for n in range(5):
            total = sum(weight.values())
            expected = sum(chances(float(points[n] @ w)) * share for w, share in weight.items()) / total
            assert task.probabilities[row, n].tolist() == pytest.approx(expected, abs=1e-9)
            assert int(task.answers[row, n]) == int(tokens[n, 2]) == 4 + seen[n]
            assert int(task.positions[row, n]) == 3 * n + 1 + (bos is not None)
            weight = {w: share * float(chances(float(points[n] @ w))[seen[n]]) for w, share in weight.items()}
            # The weights that made the text are never ruled out.
            true = tuple(task.hypotheses[task.hypothesis[row]].tolist())
            assert weight[true] > 0


def test_least_squares_and_ridge_are_those_of_scikit_learn() -> None:
    task = linear_regression(60, 3, 8, weights=3, levels=5, outputs=21, noise=0.2, batch=3, seed=1)
    inputs, outputs = np.linspace(-1, 1, 5), np.linspace(-3, 3, 21)
    edges = np.array([-np.inf, *(outputs[1:] + outputs[:-1]) / 2, np.inf])
    rounding = 0.3**2 / 12
    for row in range(3):
        tokens = task.tokens[row].view(8, 4)
        points, values = inputs[tokens[:, :3].numpy()], outputs[(tokens[:, 3] - 5).numpy()]
        assert float(task.least_squares[row, 0]) == 0
        for n in range(1, 8):
            fitted = LinearRegression(fit_intercept=False).fit(points[:n], values[:n])
            assert float(task.least_squares[row, n]) == pytest.approx(fitted.predict(points[n : n + 1])[0], abs=1e-6)
            precision = 1 / np.mean(np.linspace(-1, 1, 3) ** 2)
            seen = 0.2**2 + rounding
            ridge = Ridge(alpha=precision * seen, fit_intercept=False).fit(points[:n], values[:n])
            mean = ridge.predict(points[n : n + 1])[0]
            spread = points[n] @ np.linalg.inv(points[:n].T @ points[:n] / seen + precision * np.eye(3)) @ points[n]
            expected = np.diff(norm.cdf(edges, mean, np.sqrt(spread + 0.2**2)))
            assert task.ridge_probabilities[row, n].tolist() == pytest.approx(expected, abs=1e-9)


def test_no_predictor_beats_the_posterior_on_average() -> None:
    task = linear_regression(60, batch=150, examples=6)
    assert task.probabilities is not None
    best = score_predictions(task.probabilities, task)
    ridge = score_predictions(task.ridge_probabilities, task)
    assert torch.isfinite(ridge.loss).all() and ridge.divergence is not None and torch.isfinite(ridge.divergence).all()
    for label in task.label_names:
        assert best.interval("loss", label).mean < ridge.interval("loss", label).mean
    assert best.interval("loss", "example_6").mean < best.interval("loss", "example_1").mean - 0.5


@FEW
@given(bits=st.integers(1, 3), noise=st.sampled_from([0.0, 0.1, 0.5]), seed=SEEDS, bos=FIRST)
def test_the_parity_posterior_is_a_sum_over_all_subsets(bits: int, noise: float, seed: int, bos: int | None) -> None:
    task = sparse_parity(60, 4, 6, bits=bits, noise=noise, batch=2, seed=seed, bos=bos)
    assert task.probabilities is not None
    for row in range(2):
        tokens = task.tokens[row, bos is not None :].view(6, 5).tolist()
        weight = dict.fromkeys(combinations(range(4), bits), 1.0)
        for n, (*string, written) in enumerate(tokens):
            seen = written - 2
            parities = {subset: sum(string[bit] for bit in subset) % 2 for subset in weight}
            total = sum(weight.values())
            one = sum(w * ((1 - noise) if parities[subset] else noise) for subset, w in weight.items()) / total
            assert task.probabilities[row, n].tolist() == pytest.approx([1 - one, one])
            weight = {s: w * ((1 - noise) if parities[s] == seen else noise) for s, w in weight.items()}
        true = tuple(int(bit) for bit in task.hypotheses[task.hypothesis[row]].nonzero()[:, 0])
        assert len(true) == bits and weight[true] > 0


@FEW
@given(
    symbols=st.integers(2, 3),
    change=st.sampled_from([0.0, 0.3, 1.0]),
    concentration=st.sampled_from([0.5, 2.0]),
    seed=SEEDS,
    bos=FIRST,
)
def test_the_switching_predictor_is_a_sum_over_all_change_points(
    symbols: int, change: float, concentration: float, seed: int, bos: int | None
) -> None:
    time = 6
    task = switching_sources(
        60, time, symbols=symbols, change=change, concentration=concentration, batch=2, seed=seed, bos=bos
    )
    assert task.probabilities is not None

    def likelihood(text: tuple[int, ...]) -> tuple[float, float]:
        """Probability of a text, and the part of it in which the last symbol begins a segment."""
        whole = fresh = 0.0
        for changes in product([False, True], repeat=len(text) - 1):
            chance, counts = 1.0, [0] * symbols
            for place, symbol in enumerate(text):
                if place:
                    chance *= change if changes[place - 1] else 1 - change
                    counts = [0] * symbols if changes[place - 1] else counts
                chance *= (counts[symbol] + concentration) / (sum(counts) + symbols * concentration)
                counts = [count + (kind == symbol) for kind, count in enumerate(counts)]
            whole += chance
            fresh += chance if not changes or changes[-1] else 0
        return whole, fresh

    for row in range(2):
        text = symbols_of(task, row)
        for place in range(time - 1):
            whole, fresh = likelihood(tuple(text[: place + 1]))
            expected = [likelihood((*text[: place + 1], symbol))[0] / whole for symbol in range(symbols)]
            assert task.probabilities[row, place].tolist() == pytest.approx(expected)
            assert float(task.change_probability[row, place]) == pytest.approx(fresh / whole)


def test_segments_are_as_long_as_the_probability_of_change_says_and_keep_their_source() -> None:
    task = switching_sources(60, 400, symbols=2, change=0.05, batch=50, bos=59)
    assert task.states is not None
    assert (task.states[:, 0] == -1).all()
    states = task.states[:, 1:]
    assert torch.equal(states == 0, task.begins)
    assert float(task.begins[:, 1:].float().mean()) == pytest.approx(0.05, abs=0.006)
    for row in range(5):
        for place in range(1, 400):
            before, now = int(states[row, place - 1]), int(states[row, place])
            assert now == (0 if task.begins[row, place] else before + 1)
            if place > 1 and now:
                assert torch.equal(task.source_probabilities[row, place - 1], task.source_probabilities[row, place - 2])
            assert int(task.labels[row, place - 1]) == int(now == 0)
    # Whoever knows the source is better still, and the mean source is uniform.
    assert task.probabilities is not None
    known = score_predictions(task.source_probabilities, task).interval("loss").mean
    assert known < score_predictions(task.probabilities, task).interval("loss").mean < math.log(2)
    assert float(task.source_probabilities[..., 0].mean()) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("shape", ["full", "cyclic", "chain"])
def test_hidden_markov_beliefs_are_sums_over_all_hidden_paths(shape: str) -> None:
    task = hidden_markov(60, shape, hidden=3, symbols=3, time=5, concentration=1.0, batch=3, seed=4, bos=59)
    assert task.probabilities is not None
    transition, emission = task.transition.numpy(), task.emission.numpy()
    start = np.linalg.matrix_power(transition, 500)[0]
    for row in range(3):
        text = symbols_of(task, row)
        for place in range(4):
            paths = list(product(range(3), repeat=place + 2))
            ahead, belief = np.zeros(3), np.zeros(3)
            for path in paths:
                chance = start[path[0]]
                for step in range(place + 1):
                    chance *= emission[path[step], text[step]] * transition[path[step], path[step + 1]]
                belief[path[-2]] += chance
                ahead += chance * emission[path[-1]]
            assert task.beliefs[row, place].tolist() == pytest.approx(belief / belief.sum())
            assert task.probabilities[row, place].tolist() == pytest.approx(ahead / ahead.sum())


def test_hidden_processes_move_as_their_shape_allows() -> None:
    stays = {}
    for shape in ("full", "cyclic", "chain"):
        task = hidden_markov(60, shape, hidden=4, stay=0.3, batch=100, time=60)
        assert task.states is not None and task.states.min() == 0
        moves = (task.states[:, 1:] - task.states[:, :-1]).flatten()
        stays[shape] = float((moves == 0).float().mean())
        found = {"cyclic": {0, 1, -3}, "chain": {-1, 0, 1}}.get(shape, set(range(-3, 4)))
        assert set(moves.tolist()) == found
        for state in range(4):
            counts = torch.bincount(task.tokens[task.states == state], minlength=8).double()
            assert (counts / counts.sum()).tolist() == pytest.approx(task.emission[state].tolist(), abs=0.05)
    assert stays["cyclic"] == pytest.approx(0.3, abs=0.02)
    assert stays["chain"] == pytest.approx(0.3, abs=0.02)
    assert stays["full"] > 0.35
    again = hidden_markov(60, "full", hidden=4, stay=0.3, seed=9, batch=2)
    assert torch.equal(again.emission, hidden_markov(60, "full", hidden=4, stay=0.3, batch=2).emission)


@FEW
@given(machine_states=st.integers(1, 5), symbols=st.integers(1, 5), fewer=st.integers(0, 3), seed=SEEDS, bos=FIRST)
def test_languages_follow_their_automaton(
    machine_states: int, symbols: int, fewer: int, seed: int, bos: int | None
) -> None:
    edges = max(1, symbols - fewer)
    task = in_context_languages(
        60,
        30,
        machine_states=machine_states,
        symbols=symbols,
        edges=edges,
        concentration=1.0,
        batch=3,
        seed=seed,
        bos=bos,
    )
    assert task.probabilities is not None and task.states is not None
    for row in range(3):
        state, text = 0, symbols_of(task, row)
        assert len(text) == 30
        for place, symbol in enumerate(text):
            chances = task.transitions[row, state].tolist()
            assert chances[symbol] > 0
            assert sum(chance > 0 for chance in chances) == edges + (state > 0)
            assert chances[symbols] == (0.1 if state else 0)
            if place:
                assert task.probabilities[row, place - 1].tolist() == chances
                label = "start" if text[place - 1] == symbols else "inside"
                assert task.label_names[int(task.labels[row, place - 1])] == label
            state = int(task.following[row, state, symbol])
            assert int(task.states[row, place + (bos is not None)]) == state
            assert (state == 0) == (symbol == symbols)


def test_each_sequence_has_a_language_of_its_own() -> None:
    task = in_context_languages(60, batch=4)
    assert all(not torch.equal(task.transitions[0], task.transitions[row]) for row in range(1, 4))


@FEW
@given(order=st.integers(0, 4), outcomes=st.integers(1, 3), time=st.integers(1, 14), seed=SEEDS)
def test_ngrams_in_context_count_what_followed(order: int, outcomes: int, time: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randint(outcomes, (2, time), generator=generator)
    found = in_context_ngrams(symbols, outcomes, order)
    for row in range(2):
        text = symbols[row].tolist()
        for place in range(time):
            expected = [1 / outcomes] * outcomes
            read = text[: place + 1]
            for n in range(1, order + 1):
                context = read[len(read) - (n - 1) :] if n <= len(read) + 1 else None
                followers = [
                    read[end]
                    for end in range(n - 1, len(read))
                    if context is not None and read[end - n + 1 : end] == context
                ]
                if followers:
                    kinds = len(set(followers))
                    expected = [
                        (followers.count(one) + kinds * lower) / (len(followers) + kinds)
                        for one, lower in enumerate(expected)
                    ]
            assert found[row, place].tolist() == pytest.approx(expected)


def test_ngrams_learn_a_language_between_chance_and_the_exact_predictor() -> None:
    task = in_context_languages(60, 200, machine_states=2, batch=20, bos=59)
    assert task.probabilities is not None
    exact = score_predictions(task.probabilities, task).interval("loss").mean
    losses = [score_predictions(ngram_predictions(task, order), task).interval("loss").mean for order in range(3)]
    assert losses[0] == pytest.approx(math.log(9))
    assert exact < losses[2] < losses[1] < losses[0]


def test_ngrams_of_other_tasks_get_a_sentence() -> None:
    from workbench.tasks import copying

    with pytest.raises(InputError, match="does not say which tokens can come"):
        ngram_predictions(copying(20), 2)
    with pytest.raises(InputError, match="none of its outcomes"):
        ngram_predictions(sparse_parity(20), 2)
    with pytest.raises(InputError, match="order is -1"):
        in_context_ngrams(torch.zeros(1, 2, dtype=torch.long), 2, -1)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_regression_vectors_hold_points_and_values_and_their_best_predictions(noise: float) -> None:
    task = regression_vectors(3, 7, width=10, noise=noise, batch=4, seed=1)
    pairs = task.vectors.view(4, 7, 2, 10)
    points, values = pairs[:, :, 0, :3], pairs[:, :, 1, 0]
    assert (pairs[:, :, 0, 3:] == 0).all() and (pairs[:, :, 1, 1:] == 0).all()
    torch.testing.assert_close(values, task.values)
    residual = values - (points * task.weights[:, None]).sum(-1)
    assert float(residual.std()) == pytest.approx(noise, abs=0.1)
    for row in range(4):
        for n in range(1, 7):
            x, y, new = points[row, :n].numpy(), values[row, :n].numpy(), points[row, n : n + 1].numpy()
            fitted = LinearRegression(fit_intercept=False).fit(x, y).predict(new)[0]
            assert float(task.least_squares[row, n]) == pytest.approx(fitted, abs=1e-6)
            best = Ridge(alpha=noise**2, fit_intercept=False).fit(x, y).predict(new)[0] if noise else fitted
            assert float(task.bayes[row, n]) == pytest.approx(best, abs=1e-6)
    assert task.squared_error(task.values).tolist() == [0.0] * 7
    assert float(task.squared_error(torch.zeros(4, 7))[2]) == pytest.approx(float(values[:, 2].square().mean()))


def test_the_bayes_prediction_of_vectors_is_the_best_on_average() -> None:
    task = regression_vectors(4, 12, noise=0.5, batch=2000)
    least, best = task.squared_error(task.least_squares), task.squared_error(task.bayes)
    # With a single example before it the two differ by less than the error of this mean.
    assert (best[2:] < least[2:]).all()
    assert float(best[0]) == pytest.approx(4.25, abs=0.4)


@pytest.mark.parametrize(
    ("generator", "options", "sentence"),
    [
        (linear_regression, {"levels": 1}, "levels is 1"),
        (linear_regression, {"noise": -0.1}, "noise is -0.1"),
        (linear_regression, {"dimensions": 5}, "has 59049 hypotheses at these sizes; at most 20000"),
        (linear_regression, {"outputs": 52}, "needs 61 tokens"),
        (sparse_parity, {"bits": 11}, "bits is 11"),
        (sparse_parity, {"noise": 0.6}, "noise is 0.6"),
        (sparse_parity, {"dimensions": 40, "bits": 8}, "has 76904685 hypotheses"),
        (switching_sources, {"symbols": 1}, "symbols is 1"),
        (switching_sources, {"change": 1.1}, "change is 1.1"),
        (switching_sources, {"concentration": math.inf}, "concentration is inf"),
        (hidden_markov, {"shape": "ring"}, "shape is 'ring'; task 'hidden_markov' has: full, cyclic, chain"),
        (hidden_markov, {"stay": 1.0}, "stay is 1.0"),
        (hidden_markov, {"hidden": 1}, "hidden is 1"),
        (in_context_languages, {"edges": 9}, "edges is 9"),
        (in_context_languages, {"stop": 0.0}, "stop is 0.0"),
        (in_context_languages, {"symbols": 60}, "needs 61 tokens"),
        (in_context_languages, {"concentration": -1.0}, "concentration is -1.0"),
    ],
)
def test_sizes_out_of_range_get_a_sentence(generator: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        generator(60, **options)


def test_vectors_that_hold_no_point_get_a_sentence() -> None:
    with pytest.raises(InputError, match="width is 2; task 'regression_vectors' needs width >= 3"):
        regression_vectors(3, width=2)
    with pytest.raises(InputError, match="noise is inf"):
        regression_vectors(3, noise=math.inf)
