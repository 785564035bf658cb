"""Tasks whose answers stand in the text: read by programs that know nothing of how they were made."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.tasks import (
    Task,
    associative_recall,
    copying,
    in_context_bigrams,
    multi_query_recall,
    set_disjointness,
    sort,
)

FEW = settings(max_examples=15, deadline=None)


def scored(task: Task, row: int) -> list[tuple[int, int, int, list[int]]]:
    """Position, answer, source and wrong answers of each prediction of a sequence."""
    wrong = [[]] * task.positions.shape[1] if task.distractors is None else task.distractors[row].tolist()
    return list(
        zip(task.positions[row].tolist(), task.answers[row].tolist(), task.sources[row].tolist(), wrong, strict=True)
    )


def check_recall(task: Task, pairs: int) -> None:
    # Token 0 is never drawn in these tests: where it stands, it is the one in front.
    start = int(task.tokens[0, 0] == 0)
    for row in range(task.batch):
        tokens = task.tokens[row].tolist()
        keys, values = tokens[start : start + 2 * pairs : 2], tokens[start + 1 : start + 2 * pairs : 2]
        assert len(set(keys) | set(values)) == 2 * pairs
        known = dict(zip(keys, values, strict=True))
        asked = []
        for position, answer, source, wrong in scored(task, row):
            assert position >= start + 2 * pairs
            assert known[tokens[position]] == answer
            assert tokens[source] == answer and tokens[source - 1] == tokens[position] and source < position
            assert sorted(wrong) == sorted(set(values) - {answer})
            asked.append(tokens[position])
        assert len(set(asked)) == len(asked)


@FEW
@given(pairs=st.integers(1, 9), gap=st.integers(0, 5), seed=st.integers(0, 999), bos=st.sampled_from([None, 0]))
def test_the_value_of_the_asked_key_is_the_answer(pairs: int, gap: int, seed: int, bos: int | None) -> None:
    task = associative_recall(24, pairs, gap=gap, fillers=2, batch=3, seed=seed, bos=bos, avoid=[0])
    assert task.time == 2 * pairs + gap + 1 + (bos is not None)
    assert (task.positions == task.time - 1).all()
    check_recall(task, pairs)
    if gap:
        between = task.tokens[:, -1 - gap : -1]
        assert set(between.flatten().tolist()) <= {1, 2}


@pytest.mark.parametrize("asked", [0, 3])
def test_the_pair_that_is_asked_for_can_be_chosen(asked: int) -> None:
    assert (associative_recall(24, 5, asked=asked).sources == 2 * asked + 1).all()


def test_every_pair_is_asked_for_alike() -> None:
    counts = Counter(associative_recall(24, 5, batch=2000).sources.flatten().tolist())
    assert sorted(counts) == [1, 3, 5, 7, 9]
    assert all(330 < count < 470 for count in counts.values())  # 400 expected, deviation 18


@FEW
@given(
    pairs=st.integers(1, 6),
    fewer=st.integers(0, 5),
    spare=st.integers(0, 8),
    power=st.floats(0.01, 1),
    seed=st.integers(0, 999),
    bos=st.sampled_from([None, 0]),
)
def test_each_query_is_answered_by_its_value(
    pairs: int, fewer: int, spare: int, power: float, seed: int, bos: int | None
) -> None:
    queries = max(1, pairs - fewer)
    length = 2 * (pairs + queries + spare)
    task = multi_query_recall(
        20, pairs, queries=queries, length=length, power=power, batch=3, seed=seed, bos=bos, avoid=[0]
    )
    assert task.time == length + (bos is not None)
    assert task.positions.shape == (3, queries)
    check_recall(task, pairs)
    # Each query is followed by its value, and everything else behind the pairs is the one filler.
    for row in range(3):
        tokens = task.tokens[row].tolist()
        rest = dict(enumerate(tokens))
        for position, answer, _, _ in scored(task, row):
            assert tokens[position + 1] == answer
            del rest[position], rest[position + 1]
        start = 2 * pairs + (bos is not None)
        assert {token for place, token in rest.items() if place >= start} <= {1}


def test_queries_crowd_behind_the_pairs_for_a_small_power_and_spread_for_one() -> None:
    near = multi_query_recall(20, 2, queries=1, length=44, power=0.01, batch=2000).positions.float()
    even = multi_query_recall(20, 2, queries=1, length=44, power=1, batch=2000).positions.float()
    # Places 0..19: a uniform one is 9.5 on average (deviation 0.13); one with weights 1/k about 20 / H(20) - 1 = 4.56.
    assert abs(float((even.mean() - 4) / 2) - 9.5) < 0.6
    assert abs(float((near.mean() - 4) / 2) - 4.56) < 0.6


@FEW
@given(
    length=st.integers(1, 12),
    distinct=st.booleans(),
    seed=st.integers(0, 999),
    bos=st.sampled_from([None, 3]),
    trained=st.sampled_from([None, 4]),
)
def test_a_copy_is_answered_token_by_token(
    length: int, distinct: bool, seed: int, bos: int | None, trained: int | None
) -> None:
    task = copying(20, length, distinct=distinct, batch=3, seed=seed, bos=bos, trained=trained)
    start = 0 if bos is None else 1
    for row in range(3):
        tokens = task.tokens[row].tolist()
        string, separator, copy = (
            tokens[start : start + length],
            tokens[start + length],
            tokens[start + length + 1 :],
        )
        assert copy == string and separator not in string
        assert not distinct or len(set(string)) == length
        for step, (position, answer, source, _) in enumerate(scored(task, row)):
            assert tokens[position + 1] == answer == tokens[source]
            assert source == start + step
            beyond = trained is not None and step >= trained
            assert task.label_names[int(task.labels[row, step])] == (
                "answer" if trained is None else "beyond" if beyond else "within"
            )


@FEW
@given(
    first=st.integers(1, 6),
    second=st.integers(1, 6),
    times=st.integers(1, 3),
    seed=st.integers(0, 999),
    bos=st.sampled_from([None, 0]),
)
def test_sets_meet_in_one_element_or_none(first: int, second: int, times: int, seed: int, bos: int | None) -> None:
    task = set_disjointness(20, first, second, times=times, batch=6, seed=seed, bos=bos, avoid=[0])
    start = 0 if bos is None else 1
    size = first + second + 2
    assert task.time == start + times * size
    assert task.labels.flatten().tolist().count(0) == 3
    for row in range(6):
        tokens = task.tokens[row, start:].tolist()
        assert tokens == tokens[:size] * times
        one, other = set(tokens[:first]), set(tokens[first + 1 : first + 1 + second])
        assert (len(one), len(other)) == (first, second)
        meeting = task.label_names[int(task.labels[row, 0])] == "meeting"
        assert len(one & other) == (1 if meeting else 0)
        assert int(task.positions[row, 0]) == task.time - 1
        where = task.shared[row].tolist()
        if meeting:
            last = start + (times - 1) * size
            assert last <= where[0] < last + first < where[1] < last + size
            assert {int(task.tokens[row, place]) for place in where} == one & other
        else:
            assert where == [-1, -1]
        assert int(task.sources[row, 0]) == where[1]
    by_label = {(int(a), int(b)) for a, b in zip(task.labels[:, 0], task.answers[:, 0], strict=True)}
    # One answer a label, and the wrong answer is the other's.
    assert len(by_label) == 2 == len({answer for _, answer in by_label})
    assert task.distractors is not None
    assert all(int(w) not in (int(a),) for w, a in zip(task.distractors[:, 0, 0], task.answers[:, 0], strict=True))


@FEW
@given(length=st.integers(1, 8), seed=st.integers(0, 999), bos=st.sampled_from([None, 3]))
def test_sorting_is_what_python_does(length: int, seed: int, bos: int | None) -> None:
    task = sort(20, length, batch=3, seed=seed, bos=bos)
    start = 0 if bos is None else 1
    for row in range(3):
        tokens = task.tokens[row, start:].tolist()
        assert tokens[length + 1 :] == sorted(tokens[:length])
        assert len(set(tokens)) == length + 1
        for step, (position, answer, source, wrong) in enumerate(scored(task, row)):
            assert int(task.tokens[row, position + 1]) == answer == int(task.tokens[row, source])
            assert source < start + length
            assert position == start + length + step
            assert sorted([*wrong, answer]) == sorted(tokens[:length]) or length == 1


@FEW
@given(seed=st.integers(0, 999), triggers=st.integers(1, 4), bos=st.sampled_from([None, 11]))
def test_what_follows_a_trigger_is_the_sequences_own(seed: int, triggers: int, bos: int | None) -> None:
    task = in_context_bigrams(12, 60, symbols=10, triggers=triggers, batch=3, seed=seed, bos=bos)
    assert task.probabilities is not None and task.outcomes is not None
    chosen = task.triggers.tolist()
    place = {token: index for index, token in enumerate(task.outcomes.tolist())}
    for row in range(3):
        tokens = task.tokens[row].tolist()
        known: dict[int, int] = {}
        for slot, (position, answer, source, _) in enumerate(scored(task, row)):
            now = tokens[position]
            assert tokens[position + 1] == answer
            label = task.label_names[int(task.labels[row, slot])]
            chances = task.probabilities[row, slot]
            assert float(chances.sum()) == pytest.approx(1)
            if now not in chosen:
                assert label == "global" and source == -1
                assert chances.tolist() == pytest.approx(task.chain[place[now]].tolist())
            elif now in known:
                assert label == "in_context" and known[now] == answer == tokens[source]
                earlier = [s for s in range(position) if tokens[s] == now]
                assert source == earlier[-1] + 1
                assert float(chances[place[answer]]) == 1
            else:
                assert label == "first" and source == -1
                possible = {token for token in place if chances[place[token]] > 0}
                assert possible == set(place) - set(chosen)
                known[now] = answer
        own = dict(zip(chosen, task.successors[row].tolist(), strict=True))
        assert known.items() <= own.items()


def test_the_chain_is_that_of_its_own_seed_and_its_bigrams_come_as_often_as_it_says() -> None:
    task = in_context_bigrams(12, 200, symbols=5, triggers=1, batch=100, concentration=1.0)
    other = in_context_bigrams(12, 200, symbols=5, triggers=1, batch=100, concentration=1.0, seed=1)
    assert (task.chain == other.chain).all() and (task.tokens != other.tokens).any()
    changed = in_context_bigrams(12, 200, symbols=5, triggers=1, batch=1, concentration=1.0, chain_seed=1)
    assert (task.chain != changed.chain).any()
    assert task.outcomes is not None
    outcomes = task.outcomes.tolist()
    pairs = Counter(zip(task.tokens[:, :-1].flatten().tolist(), task.tokens[:, 1:].flatten().tolist(), strict=True))
    for row in range(1, 5):
        total = sum(pairs[outcomes[row], after] for after in outcomes)
        assert total > 500
        for column in range(5):
            share = pairs[outcomes[row], outcomes[column]] / total
            assert share == pytest.approx(float(task.chain[row, column]), abs=0.07)
    # The trigger is the symbol that the chain alone would visit most.
    visits = task.chain.matrix_power(200)[0]
    assert int(visits.argmax()) == 0


@pytest.mark.parametrize(
    ("generator", "options", "sentence"),
    [
        (associative_recall, {"pairs": 0}, "pairs is 0"),
        (associative_recall, {"gap": -1}, "gap is -1"),
        (associative_recall, {"pairs": 10}, r"needs 21 tokens at these sizes .* and 20 are allowed"),
        (associative_recall, {"asked": 8}, r"has the pairs 0\.\.7"),
        (multi_query_recall, {"queries": 9}, "queries is 9"),
        (multi_query_recall, {"length": 31}, "even number from 32 on"),
        (multi_query_recall, {"length": 30}, "even number from 32 on"),
        (multi_query_recall, {"power": 0.0}, "power is 0.0"),
        (copying, {"length": 0}, "length is 0"),
        (copying, {"symbols": 20}, "needs 21 tokens"),
        (copying, {"length": 20, "distinct": True}, "pass distinct=False"),
        (set_disjointness, {"times": 0}, "times is 0"),
        (set_disjointness, {}, r"elements is 16; task 'set_disjointness' needs elements >= 20"),
        (sort, {"length": 20}, r"symbols is 19; task 'sort' needs symbols >= 20"),
        (in_context_bigrams, {"symbols": 5, "triggers": 5}, "triggers is 5"),
        (in_context_bigrams, {"symbols": 21}, "needs 21 tokens"),
        (in_context_bigrams, {"symbols": 5, "concentration": 0.0}, "concentration is 0.0"),
    ],
)
def test_sizes_out_of_range_get_a_sentence(generator: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        generator(20, **options)
