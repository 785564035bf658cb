"""Unquoted words mean what both versions of YAML take them for, or are refused with a way to write them."""

import math
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.studies.schema.scalars import UnclearScalarError, read_scalar

# YAML 1.2.2, section 10.3.2: what a plain scalar is in the core schema. Written down from the specification.
CORE = [
    (re.compile(r"null|Null|NULL|~|"), lambda word: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda word: word.lower() == "true"),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda word: int(word, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda word: int(word, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda word: -math.inf if word[0] == "-" else math.inf),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda word: math.nan),
]


def yaml_12(word):
    return next((read(word) for pattern, read in CORE if pattern.fullmatch(word)), word)


def yaml_11(word):
    """PyYAML's reading of a plain scalar, without the scanner."""
    loader = yaml.SafeLoader("")
    node = yaml.ScalarNode(loader.resolve(yaml.ScalarNode, word, (True, False)), word)
    try:
        return loader.construct_object(node)
    except (ValueError, yaml.YAMLError):
        return None  # it is no text to PyYAML, and no value either


NUMBERLIKE = st.text(alphabet="0123456789+-._eExXob:aAfF T", max_size=9)
WORDS = st.sampled_from(
    [
        *("yes", "No", "ON", "off", "y", "N", "true", "False", "null", "~", "Null", ".inf", "-.INF", ".NaN", "<<", "="),
        *("2026-11-22", "2026-11-22T01:02:03Z", "1:30", "1_000", "1_0.5e+3", "0b1", "0x1F", "0o17", "08", "-.5", "+12"),
        *("1.", "1.e+3", "1e3", "zoo:gru", "L5H1", "L2.mlp#17", "a"),
    ]
)


@settings(deadline=None)
@given(NUMBERLIKE | WORDS | st.text(max_size=6))
def test_what_is_read_is_what_both_versions_of_yaml_read(word):
    try:
        value = read_scalar(word)
    except UnclearScalarError:
        return
    for other in (yaml_11(word), yaml_12(word)):
        assert type(other) is type(value) and other == value


@settings(deadline=None)
@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_pyyaml_writes_them_are_read_back(number):
    written = yaml.safe_dump(number).splitlines()[0]
    assert read_scalar(written) == number


@pytest.mark.parametrize(
    ("word", "write", "value"),
    [
        ("1e-3", "1.0e-3", 0.001),
        ("5E6", "5.0e+6", 5e6),
        ("1.5e3", "1.5e+3", 1500.0),
        ("-.5", "-0.5", -0.5),
        ("010", "10", 10),
        ("0o17", "17", 17),
        ("0x1F", "31", 31),
        ("0b101", "5", 5),
        ("1_000", "1000", 1000),
        ("no", "false", False),
        ("On", "true", True),
        ("off", '"off"', None),
        ("2026-11-22", '"2026-11-22"', None),
        ("12:30", '"12:30"', None),
        (".inf", '".inf"', None),
        ("<<", '"<<"', None),
    ],
)
def test_an_unclear_word_is_refused_with_what_to_write_instead(word, write, value):
    with pytest.raises(UnclearScalarError) as refused:
        read_scalar(word)
    assert word in str(refused.value) and f"write {write}" in str(refused.value).replace(", or ", "; write ")
    if value is not None:
        read = read_scalar(write)
        assert type(read) is type(value) and read == value


@pytest.mark.parametrize(
    ("word", "what"), [("2026-11-22", "is a date"), ("12:30", "more than text"), ("1e3", "a number")]
)
def test_the_refusal_says_what_some_yaml_takes_the_word_for(word, what):
    with pytest.raises(UnclearScalarError, match=what):
        read_scalar(word)


def test_numbers_without_end_are_refused_however_they_are_written():
    assert read_scalar(str(2**63 - 1)) == 2**63 - 1
    for word in (str(2**63), "9" * 30, "-" + "9" * 5000, "1.0e+999", "9" * 400 + ".0"):
        with pytest.raises(UnclearScalarError, match=r"too large|largest"):
            read_scalar(word)
