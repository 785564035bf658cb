"""``--set a.b=c``: values are read as in the file, and put where they are said to go."""

import copy

import pytest

from workbench.errors import InputError
from workbench.studies.schema.overrides import apply_overrides, parse_override

GIVEN = {
    "name": "a",
    "models": "zoo:gru",
    "edits": [{"name": "x", "sites": "heads"}, {"name": "y", "sites": {"kind": "mlps"}}],
}


def changed(*texts, given=GIVEN):
    return apply_overrides(copy.deepcopy(given), [parse_override(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        ("run.workers=2", ("run", "workers"), 2),
        ("edits.0.search.k=3", ("edits", 0, "search", "k"), 3),
        ("edits[10].sites.layers=[0, 1]", ("edits", 10, "sites", "layers"), [0, 1]),
        ("question=a=b", ("question",), "a=b"),
        ("edits.0.controls=", ("edits", 0, "controls"), None),
        ("a={b: {c: 1.5}}", ("a",), {"b": {"c": 1.5}}),
    ],
)
def test_paths_and_values(text, place, value):
    override = parse_override(text)
    assert (override.place, override.value, override.text) == (place, value, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers", "write KEY=VALUE"),
        ("=3", "no path"),
        ("a..b=3", "no path"),
        ("a.-1=3", "no path"),
        ("a.9999999=3", "no path"),
        ("a=1e-3", "1.0e-3"),
        ("a=[1", "no YAML"),
        ("a=x: y: z", "in quotes"),
    ],
)
def test_what_cannot_be_read_is_refused(text, says):
    with pytest.raises(InputError) as refused:
        parse_override(text)
    assert says in str(refused.value) and str(refused.value).startswith(f"--set {text}: ")


def test_a_value_is_put_in_its_place_and_nothing_else_changes():
    second = {"name": "y", "sites": {"kind": "mlps", "layers": [3]}}
    assert changed("edits.1.sites.layers=[3]") == {**GIVEN, "edits": [GIVEN["edits"][0], second]}
    assert changed("run.workers=2") == {**GIVEN, "run": {"workers": 2}}
    assert changed("edits.2.name=z")["edits"][2] == {"name": "z"}


def test_what_was_given_stays_as_it_was():
    given = copy.deepcopy(GIVEN)
    apply_overrides(given, [parse_override("edits.1.sites.layers=[3]"), parse_override("edits.0.name=q")])
    assert given == GIVEN


def test_a_word_that_stands_for_a_kind_or_a_model_keeps_its_meaning_when_an_option_is_set():
    assert changed("edits.0.sites.layers=[1]")["edits"][0]["sites"] == {"kind": "heads", "layers": [1]}
    assert changed("models.0.dtype=float64")["models"] == [{"id": "zoo:gru", "dtype": "float64"}]
    assert changed("models.1=zoo:lstm")["models"] == ["zoo:gru", "zoo:lstm"]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["edits.3.name=z"], "edits has 2 items, numbered from 0"),
        (["edits.name=z"], "write which of them: edits.0.name="),
        (["name.0=z"], "name is no list"),
        (["run.workers=1", "run.workers=2"], "gives run.workers twice"),
    ],
)
def test_places_that_are_not_there_are_refused(texts, says):
    with pytest.raises(InputError, match=r"^--set") as refused:
        changed(*texts)
    assert says in str(refused.value)


def test_a_number_has_no_keys():
    with pytest.raises(InputError, match="a is 3, which has no keys"):
        changed("a.b=1", given={"a": 3})
