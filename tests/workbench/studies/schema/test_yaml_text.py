"""YAML as plain values with lines; what a study may not hold is found, all of it, and nothing of it is expanded."""

import textwrap

import pytest

from workbench.studies.schema.yaml_text import DEEPEST, MOST_CHARACTERS, read_yaml


def problems(text):
    return [(problem.line, problem.says) for problem in read_yaml(textwrap.dedent(text)).problems]


def test_values_and_the_lines_they_stand_on():
    document = read_yaml('a:\n  b: [1, x,\n    2.5]\n\nc: "no"\nd: |\n  e: 1\n')
    assert document.problems == []
    assert document.value == {"a": {"b": [1, "x", 2.5]}, "c": "no", "d": "e: 1\n"}
    assert [document.line(place) for place in [("a",), ("a", "b"), ("a", "b", 2), ("c",), ("d",)]] == [1, 2, 3, 5, 6]


def test_a_place_that_is_not_there_has_the_line_of_what_is_around_it():
    document = read_yaml("a: 1\nb:\n  - c: 2\n")
    assert document.line(("b", 0, "missing", "below")) == 3
    assert document.line(("missing",)) == 1
    assert read_yaml("").line(("a",)) is None


def test_duplicate_keys_at_every_depth_are_found_with_both_lines():
    found = problems("""\
        a: 1
        b:
          c: {d: 1, d: 2}
        a: 2
        """)
    assert [line for line, _ in found] == [3, 4]
    assert "first on line 3" in found[0][1] and "first on line 1" in found[1][1]


def test_tags_anchors_aliases_and_second_documents_are_found_together():
    found = problems("""\
        a: !!python/object/apply:os.system [ls]
        b: &anchor 1
        c: *anchor
        d: !!str 3
        e: !mine x
        ---
        f: 1
        """)
    assert [line for line, _ in found] == [1, 2, 3, 4, 5, 6]
    named = ["!!python/object/apply:os.system", "&anchor", "*anchor", "!!str", "!mine", "second document"]
    assert all(what in said for what, (_, said) in zip(named, found, strict=True))


def test_a_few_lines_that_would_expand_to_gigabytes_are_not_expanded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    document = read_yaml("\n".join(lines))
    assert document.value is None and len(document.problems) == 12 + 11 * 10


def test_too_deep_and_too_long_texts_are_refused_and_not_read():
    assert "deep" in problems("[" * 5000)[0][1]
    assert problems("[" * DEEPEST + "]" * DEEPEST) == []
    assert len(problems("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))) == 1
    assert "too many" in problems("# " + "x" * MOST_CHARACTERS)[0][1]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [1,\nb: 2\n", 3, "that begins on line 1"),
        ("a: is it: so\n", 1, 'a text with ": " in it stands in quotes'),
        ("a: 1\n\tb: 2\n", 2, "by spaces, not by tabs"),
        ("a: {b: 1}}\n", 1, "no YAML"),
        ("a: 'x\n\n", 3, "that begins on line 1"),
        ("a: \x00\n", None, "no YAML"),
        ("? [a, b]\n: 1\n", 1, "where a key is needed"),
        ("a: 1\n3: b\n", 2, 'write "3"'),
        ("true: b\n", 1, 'write "true"'),
        ("~: b\n", 1, 'write "~"'),
        ('a: "\\ud800"\n', 1, "surrogate"),
    ],
)
def test_what_is_no_yaml_is_a_sentence_with_its_line(text, line, says):
    found = read_yaml(text).problems
    assert len(found) == 1 and found[0].line == line and says in found[0].says


def test_an_unclear_word_is_found_as_a_value_and_as_a_key_and_the_rest_is_read():
    document = read_yaml("a: 1e-3\nno: 1\nb: 2\n")
    assert document.value == {"a": None, "b": 2}
    assert [(problem.line, problem.place) for problem in document.problems] == [(1, ("a",)), (2, ())]
