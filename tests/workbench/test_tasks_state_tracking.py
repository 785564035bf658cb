"""Tasks whose answer is the state of a machine, against programs that compute it from the text in another way."""

import re
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.tasks import (
    Task,
    bounded_dyck,
    delayed_match_to_sample,
    dyck_balance,
    even_pairs,
    flip_flop,
    histogram,
    many_states,
    modular_arithmetic,
    modular_sum,
    n_parity,
    parity,
    star_free,
)

FEW = settings(max_examples=12, deadline=None)
SEEDS = st.integers(0, 999)
# The token in front, which is none of those that are drawn: they come from the lowest ids on.
FIRST = st.sampled_from([None, 39])


def text(task: Task, row: int, bos: int | None) -> list[int]:
    tokens = task.tokens[row].tolist()
    assert bos is None or tokens[0] == bos
    return tokens[bos is not None :]


def answers(task: Task, row: int, bos: int | None) -> dict[int, int]:
    """The answer at each scored place of the text."""
    places = (task.positions[row] - int(bos is not None)).tolist()
    return dict(zip(places, task.answers[row].tolist(), strict=True))


@FEW
@given(n=st.integers(1, 6), extra=st.integers(1, 9), seed=SEEDS, bos=FIRST)
def test_parity_is_that_of_the_last_bits(n: int, extra: int, seed: int, bos: int | None) -> None:
    task = n_parity(40, n, time=n + extra, batch=3, seed=seed, bos=bos)
    assert task.states is not None
    for row in range(3):
        bits = text(task, row, bos)
        found = answers(task, row, bos)
        assert sorted(found) == list(range(n - 1, n + extra))
        for place, answer in found.items():
            window = bits[place - n + 1 : place + 1]
            assert answer == 2 + sum(window) % 2
            state = int(task.states[row, place + (bos is not None)])
            assert state == int("".join(map(str, window)), 2)
    assert (task.states[:, : n - 1 + (bos is not None)] == -1).all()


@FEW
@given(n=st.integers(1, 6), extra=st.integers(1, 9), seed=SEEDS, bos=FIRST)
def test_a_match_is_with_the_bit_of_n_steps_ago(n: int, extra: int, seed: int, bos: int | None) -> None:
    task = delayed_match_to_sample(40, n, time=n + extra, batch=3, seed=seed, bos=bos)
    for row in range(3):
        bits = text(task, row, bos)
        found = answers(task, row, bos)
        assert sorted(found) == list(range(n, n + extra))
        for slot, (place, answer) in enumerate(found.items()):
            assert answer == (2 if bits[place] == bits[place - n] else 3)
            assert int(task.sources[row, slot]) == int(task.positions[row, slot]) - n


@FEW
@given(length=st.integers(1, 9), more=st.integers(0, 4), hints=st.booleans(), seed=SEEDS, bos=FIRST)
def test_the_scratchpad_holds_the_running_parity(
    length: int, more: int, hints: bool, seed: int, bos: int | None
) -> None:
    task = parity(40, length, hints=hints, indices=length + more if hints else None, batch=3, seed=seed, bos=bos)
    for row in range(3):
        string, written = _cut(text(task, row, bos), separator=2)
        if hints:
            names, bits = string[0::2], string[1::2]
            assert written[0::2] == names == list(range(names[0], names[0] + length))
            assert names[0] >= 3 and names[-1] < 3 + length + more
            written = written[1::2]
        else:
            bits = string
        assert len(bits) == length
        assert written == [sum(bits[: place + 1]) % 2 for place in range(length)]
        for slot in range(length):
            position, source = int(task.positions[row, slot]), int(task.sources[row, slot])
            assert int(task.tokens[row, position + 1]) == int(task.answers[row, slot]) == written[slot]
            assert int(task.tokens[row, source]) == bits[slot]
            if hints:
                assert task.tokens[row, source - 1] == task.tokens[row, position]
        assert [task.label_names[label] for label in task.labels[row]] == ["running"] * (length - 1) + ["final"]


@FEW
@given(length=st.integers(1, 9), hints=st.booleans(), seed=SEEDS, bos=FIRST)
def test_without_a_scratchpad_only_the_final_parity_is_asked(
    length: int, hints: bool, seed: int, bos: int | None
) -> None:
    task = parity(40, length, hints=hints, scratchpad=False, batch=3, seed=seed, bos=bos)
    assert task.states is not None
    for row in range(3):
        string, written = _cut(text(task, row, bos), separator=2)
        assert written == []
        bits = string[1::2] if hints else string
        assert task.positions[row].tolist() == [task.time - 1]
        assert task.answers[row].tolist() == [sum(bits) % 2]
        states = task.states[row, bos is not None :].tolist()
        seen = [sum(string[1 : place + 1 : 2] if hints else string[: place + 1]) % 2 for place in range(len(string))]
        assert states == [*seen, -1]


def _cut(tokens: list[int], separator: int) -> tuple[list[int], list[int]]:
    place = tokens.index(separator)
    return tokens[:place], tokens[place + 1 :]


@FEW
@given(modulus=st.integers(2, 7), time=st.integers(1, 9), seed=SEEDS, bos=FIRST)
def test_the_sum_is_that_of_the_digits_so_far(modulus: int, time: int, seed: int, bos: int | None) -> None:
    task = modular_sum(40, time, modulus=modulus, trained=3, batch=3, seed=seed, bos=bos)
    assert task.distractors is not None and task.states is not None
    for row in range(3):
        digits = text(task, row, bos)
        for place, answer in answers(task, row, bos).items():
            assert answer == sum(digits[: place + 1]) % modulus == int(task.states[row, place + (bos is not None)])
            assert sorted([answer, *task.distractors[row, place].tolist()]) == list(range(modulus))
            assert task.label_names[int(task.labels[row, place])] == ("within" if place < 3 else "beyond")


@FEW
@given(time=st.integers(2, 12), seed=SEEDS, bos=FIRST)
def test_even_pairs_counts_changes(time: int, seed: int, bos: int | None) -> None:
    task = even_pairs(40, time, batch=3, seed=seed, bos=bos)
    assert task.states is not None
    for row in range(3):
        letters = "".join("ab"[token] for token in text(task, row, bos))
        found = answers(task, row, bos)
        assert sorted(found) == list(range(1, time))
        for place, answer in found.items():
            prefix = letters[: place + 1]
            changes = len(re.findall("(?=ab)", prefix)) + len(re.findall("(?=ba)", prefix))
            assert answer == 2 + changes % 2
            assert int(task.states[row, place + (bos is not None)]) == 2 * (letters[0] == "b") + changes % 2
    assert (task.sources == (bos is not None)).all()


@FEW
@given(modulus=st.integers(2, 7), operations=st.integers(0, 6), seed=SEEDS, bos=FIRST)
def test_arithmetic_is_what_python_evaluates(modulus: int, operations: int, seed: int, bos: int | None) -> None:
    task = modular_arithmetic(40, operations, modulus=modulus, batch=3, seed=seed, bos=bos)
    signs = dict(zip(range(modulus, modulus + 3), "+-*", strict=True))
    for row in range(3):
        tokens = text(task, row, bos)
        words = [signs.get(token, str(token)) for token in tokens]
        found = answers(task, row, bos)
        assert sorted(found) == list(range(0, 2 * operations + 1, 2))
        for place, answer in found.items():
            assert answer == eval(" ".join(words[: place + 1])) % modulus
        # Finished summands and the open product make the value; behind an operator the states are others.
        assert task.states is not None
        states = task.states[row, bos is not None :].tolist()
        assert [sum(divmod(state, modulus)) % modulus for state in states[0::2]] == list(found.values())
        assert max(states[0::2]) < modulus**2 <= min(states[1::2], default=modulus**2)


def test_the_state_of_arithmetic_decides_every_answer_that_follows() -> None:
    task = modular_arithmetic(40, 6, modulus=3, batch=3000)
    assert task.states is not None
    # Myhill and Nerode: two texts in one state, continued alike, have the same value.
    continued: dict[tuple[int, tuple[int, ...]], set[int]] = {}
    for row in range(task.batch):
        tokens, states, values = task.tokens[row].tolist(), task.states[row].tolist(), answers(task, row, None)
        for place in range(9):
            for end in (place + 1, place + 2, place + 3):
                if end in values:
                    key = (states[place], tuple(tokens[place + 1 : end + 1]))
                    continued.setdefault(key, set()).add(values[end])
    assert len(continued) > 300
    assert all(len(values) == 1 for values in continued.values())


LANGUAGES = {
    # Every prefix of a text must be one of a word of the language, letters as written by `star_free`.
    "ordered": ("abcde.", r"(a+b+c+d+e+\.)*(a*|a+b*|a+b+c*|a+b+c+d*|a+b+c+d+e*)"),
    "no_triple": ("01", r"(?!.*000).*"),
    "alternating": ("10.", r"((10)+\.)*((10)*1?)"),
    "delimited": ("abcd.", r"([ab]*d[bc]*\.)*([ab]*|[ab]*d[bc]*)"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_may_come_next_is_what_a_regular_expression_allows(language: str) -> None:
    letters, pattern = LANGUAGES[language]
    task = star_free(40, language, time=14, batch=40, seed=1)
    assert task.probabilities is not None and task.states is not None
    after: dict[int, set[tuple[float, ...]]] = {}
    for row in range(task.batch):
        written = "".join(letters[token] for token in task.tokens[row])
        assert re.fullmatch(pattern, written)
        for place in range(13):
            legal = [bool(re.fullmatch(pattern, written[: place + 1] + letter)) for letter in letters]
            chances = task.probabilities[row, place].tolist()
            assert chances == pytest.approx([float(one) / sum(legal) for one in legal])
            after.setdefault(int(task.states[row, place]), set()).add(tuple(chances))
    assert all(len(chances) == 1 for chances in after.values())


@FEW
@given(kinds=st.integers(1, 3), depth=st.integers(1, 3), seed=SEEDS, bos=FIRST)
def test_brackets_close_what_is_open_and_stay_in_their_depth(
    kinds: int, depth: int, seed: int, bos: int | None
) -> None:
    task = bounded_dyck(40, kinds, depth, time=25, batch=3, seed=seed, bos=bos)
    assert task.probabilities is not None and task.states is not None
    shift = int(bos is not None)
    stacks: dict[int, set[tuple[Any, ...]]] = {}
    for row in range(3):
        stack: list[tuple[int, int]] = []
        fresh = True
        for place, token in enumerate(text(task, row, bos)):
            legal = {kind for kind in range(kinds) if len(stack) < depth}
            legal |= {kinds + stack[-1][0]} if stack else set()
            legal |= set() if stack or fresh else {2 * kinds}
            assert token in legal
            if place:
                chances = task.probabilities[row, place - 1]
                expected = [1 / len(legal) if symbol in legal else 0 for symbol in range(2 * kinds + 1)]
                assert chances.tolist() == pytest.approx(expected)
            partner = -1
            if token < kinds:
                stack.append((token, place))
            elif token < 2 * kinds:
                partner = stack.pop()[1]
            fresh = token == 2 * kinds
            if place:
                assert int(task.sources[row, place - 1]) == (partner + shift if partner >= 0 else -1)
            key = ("start",) if fresh else tuple(kind for kind, _ in stack)
            stacks.setdefault(int(task.states[row, place + shift]), set()).add(key)
    assert all(len(each) == 1 for each in stacks.values())
    assert len({next(iter(each)) for each in stacks.values()}) == len(stacks)


@FEW
@given(pairs=st.integers(2, 20), ignore=st.floats(0, 1), seed=SEEDS, bos=FIRST)
def test_a_read_gives_the_bit_of_the_last_write(pairs: int, ignore: float, seed: int, bos: int | None) -> None:
    task = flip_flop(40, pairs, ignore=ignore, batch=4, seed=seed, bos=bos)
    shift = int(bos is not None)
    for row in range(4):
        tokens = text(task, row, bos)
        counted = {
            int(task.positions[row, slot]) - shift: (int(task.answers[row, slot]), int(task.sources[row, slot]) - shift)
            for slot in range(task.positions.shape[1])
            if task.labels[row, slot] == 0
        }
        held, wrote, expected = None, -1, {}
        for place in range(0, 2 * pairs, 2):
            instruction, bit = tokens[place], tokens[place + 1]
            if instruction == 2:
                held, wrote = bit, place + 1
            elif instruction == 4:
                expected[place] = (held, wrote)
                assert bit == held
        assert counted == expected
        assert tokens[0] == 2 and tokens[-2] == 4


def test_instructions_come_as_often_as_asked() -> None:
    task = flip_flop(40, 50, ignore=0.6, batch=200)
    counts = Counter(task.tokens[:, 2:-2:2].flatten().tolist())
    total = sum(counts.values())
    assert counts[3] / total == pytest.approx(0.6, abs=0.02)
    assert counts[2] / total == pytest.approx(0.2, abs=0.02)


@FEW
@given(time=st.integers(1, 8), symbols=st.integers(1, 4), whole=st.booleans(), seed=SEEDS, bos=FIRST)
def test_a_histogram_counts(time: int, symbols: int, whole: bool, seed: int, bos: int | None) -> None:
    task = histogram(40, time, symbols=symbols, whole=whole, batch=3, seed=seed, bos=bos)
    assert task.distractors is not None
    for row in range(3):
        letters = text(task, row, bos)
        for place, answer in answers(task, row, bos).items():
            expected = letters.count(letters[place]) // 2 if whole else letters[: place + 1].count(letters[place])
            assert answer == symbols + expected
        wrong = task.distractors[row] - task.answers[row][:, None]
        assert (wrong.abs() == 1).all()
        assert set(task.distractors[row].flatten().tolist()) <= set(range(symbols, symbols + time + 1))


@FEW
@given(kinds=st.integers(1, 3), time=st.integers(1, 15), seed=SEEDS, bos=FIRST)
def test_balance_is_what_a_stack_says(kinds: int, time: int, seed: int, bos: int | None) -> None:
    task = dyck_balance(40, kinds, time=time, batch=6, seed=seed, bos=bos)
    assert task.states is not None
    shift = int(bos is not None)
    for row in range(6):
        stack: list[int] | None = []
        for place, token in enumerate(text(task, row, bos)):
            if stack is not None:
                if token < kinds:
                    stack.append(token)
                elif not stack or stack.pop() != token - kinds:
                    stack = None
            expected = "broken" if stack is None else "open" if stack else "balanced"
            assert task.label_names[int(task.labels[row, place])] == expected
            assert int(task.answers[row, place]) == 2 * kinds + ("open", "balanced", "broken").index(expected)
            assert int(task.states[row, place + shift]) == (-1 if stack is None else len(stack))


def test_about_half_of_the_bracket_texts_break() -> None:
    broken = dyck_balance(40, 2, time=20, batch=400).labels[:, -1] == 2
    assert int(broken.sum()) == 200


@FEW
@given(machine_states=st.integers(1, 30), symbols=st.integers(2, 5), machine_seed=SEEDS, bos=FIRST)
def test_a_large_machine_is_followed_and_every_state_can_be_reached(
    machine_states: int, symbols: int, machine_seed: int, bos: int | None
) -> None:
    task = many_states(
        40, machine_states, symbols=symbols, time=20, machine_seed=machine_seed, batch=3, seed=machine_seed, bos=bos
    )
    assert task.states is not None and task.probabilities is not None
    table = task.following.tolist()
    assert all(sum(after >= 0 for after in row) == 2 for row in table)
    reached, new = {0}, {0}
    while new:
        new = {after for state in new for after in table[state] if after >= 0} - reached
        reached |= new
    assert len(reached) == machine_states
    for row in range(3):
        state = 0
        for place, token in enumerate(text(task, row, bos)):
            assert table[state][token] >= 0
            state = table[state][token]
            assert int(task.states[row, place + (bos is not None)]) == state
            if place < 19:
                expected = [0.5 if after >= 0 else 0 for after in table[state]]
                assert task.probabilities[row, place].tolist() == expected


def test_answers_of_bit_tasks_are_balanced() -> None:
    for task in (n_parity(40, batch=200), delayed_match_to_sample(40, batch=200), even_pairs(40, batch=400)):
        share = Fraction(int((task.answers == 2).sum()), task.answers.numel())
        assert 0.45 < share < 0.55
    assert torch.bincount(modular_sum(40, batch=200).answers.flatten()).min() > 1450  # 1600 expected, deviation 36


@pytest.mark.parametrize(
    ("generator", "options", "sentence"),
    [
        (n_parity, {"n": 0}, "n is 0"),
        (n_parity, {"n": 9, "time": 8}, "time is 8; task 'n_parity' needs time >= 9"),
        (n_parity, {"n": 63, "time": 80}, "at most 62 bits"),
        (delayed_match_to_sample, {"n": 8, "time": 8}, "needs time >= 9"),
        (parity, {"length": 0}, "length is 0"),
        (parity, {"length": 4, "hints": True, "indices": 3}, "indices is 3; task 'parity' needs indices >= 4"),
        (parity, {"length": 4, "indices": 9}, "pass hints=True"),
        (parity, {"length": 8, "hints": True}, "needs 11 tokens"),
        (modular_sum, {"modulus": 1}, "modulus is 1"),
        (modular_sum, {"modulus": 11}, "needs 11 tokens"),
        (even_pairs, {"time": 1}, "time is 1"),
        (modular_arithmetic, {"operations": -1}, "operations is -1"),
        (star_free, {"language": "dyck"}, "task 'star_free' has: ordered, no_triple, alternating, delimited"),
        (bounded_dyck, {"depth": 0}, "depth is 0"),
        (bounded_dyck, {"kinds": 3, "depth": 12}, "3 kinds at depth 12 make 797161 stacks"),
        (bounded_dyck, {"kinds": 5}, "needs 11 tokens"),
        (flip_flop, {"pairs": 1}, "pairs is 1"),
        (flip_flop, {"ignore": 1.5}, "ignore is 1.5"),
        (histogram, {"symbols": 0}, "symbols is 0"),
        (histogram, {"time": 9, "symbols": 2}, "needs 12 tokens"),
        (dyck_balance, {"kinds": 0}, "kinds is 0"),
        (many_states, {"symbols": 1}, "symbols is 1"),
        (many_states, {"symbols": 2, "machine_states": 0}, "machine_states is 0"),
    ],
)
def test_sizes_out_of_range_get_a_sentence(generator: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        generator(10, **options)
