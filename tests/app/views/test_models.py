"""What the cards say of a model is what the library says of it."""

import pytest

import workbench as wb
from workbench import zoo
from workbench.app.views.models import (
    Facts,
    carried,
    facts,
    gap,
    heads,
    measured,
    memory_figure,
    name_places,
    size,
    support,
    table,
    table_code,
    zoo_facts,
)


@pytest.fixture(scope="module")
def found() -> dict[str, Facts]:
    names = ("zoo:attention", "zoo:mamba", "zoo:rg_lru")
    return {name: facts(wb.load(name, check=False), name) for name in names}


def test_a_transformer_grows_and_a_recurrent_model_does_not(found: dict[str, Facts]) -> None:
    # 4 layers, keys and values of 128 numbers of 4 bytes.
    assert (found["zoo:attention"].state, found["zoo:attention"].growth) == (0, 4 * 2 * 128 * 4)
    # 4 layers of 256 channels: a state of 64 numbers, and a convolution that looks back 3 tokens.
    assert (found["zoo:mamba"].state, found["zoo:mamba"].growth) == (4 * 256 * (64 + 3) * 4, 0)
    # One layer of four attends, the others keep a state.
    assert found["zoo:rg_lru"].growth == 1 * 2 * 128 * 4 and found["zoo:rg_lru"].recurrent == 3
    assert carried(found["zoo:attention"]) == "4.1 kB more for each token"
    assert carried(found["zoo:mamba"]) == "274 kB at any length"


@pytest.mark.parametrize("length", [9, 40])
def test_bytes_are_those_after_any_length(found: dict[str, Facts], length: int) -> None:
    for name, one in found.items():
        model = wb.load(name, check=False)
        tokens = model.to_tokens("The state of the Union is strong. " * 8)[:, :length]
        assert model.prefill(tokens).nbytes == one.state + length * one.growth, name


def test_sizes_are_of_the_weights(found: dict[str, Facts]) -> None:
    model = wb.load("zoo:mamba", check=False)
    assert found["zoo:mamba"].parameters == sum(weight.numel() for weight in model.wrapped.parameters())
    assert heads(found["zoo:mamba"]) == "256 channels a layer" and heads(found["zoo:attention"]) == "4 heads a layer"
    assert heads(found["zoo:rg_lru"]) == "4 to 192 heads a layer"
    assert found["zoo:mamba"].autoencoders == ("zoo:mamba/resid_post", "zoo:mamba/state")


def test_a_page_that_a_model_lacks_has_a_reason(found: dict[str, Facts]) -> None:
    shown = support(list(found.values()), [("attention", "Attention"), ("state", "State"), ("features", "Features")])
    assert list(shown["Attention"]) == ["yes", "yes", "yes"]
    assert "no recurrent state" in shown["State"][0] and list(shown["State"][1:]) == ["yes", "yes"]
    assert list(shown["Features"][:2]) == ["yes", "yes"] and "workbench sae train zoo:rg_lru" in shown["Features"][2]
    assert gap(found["zoo:attention"], "ablate") is None


def test_the_code_prints_the_table(found: dict[str, Facts], capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(table_code(), "code", "exec"), {})
    printed = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in capsys.readouterr().out.splitlines()}
    assert set(printed) == set(zoo.available())
    for row in table(list(found.values())).itertuples():
        assert printed[row.model.removeprefix("zoo:")] == (row.state_bytes, row.bytes_per_token)


def test_the_figure_has_a_point_a_model_where_it_belongs(found: dict[str, Facts]) -> None:
    (points,) = memory_figure(list(found.values()), tokens=100).data
    assert list(points.text) == ["attention", "mamba", "rg_lru"]
    assert list(points.x) == [pytest.approx((one.state + 100 * one.growth) / 1000) for one in found.values()]


def test_names_in_the_figure_do_not_cover_each_other() -> None:
    shown = [one for one in zoo_facts() if one.bits is not None]
    carried = [(one.state + 256 * one.growth) / 1000 for one in shown]
    names = [one.source.removeprefix("zoo:") for one in shown]
    places = dict(zip(names, name_places(carried, [one.bits or 0.0 for one in shown], names), strict=True))
    # Two pairs of neighbours whose points touch.
    assert places["rg_lru"] != places["mamba"] and places["mlstm"] != places["gated_delta"]
    assert places["gru"] == "top center" and name_places([], [], []) == []
    row = name_places([10.0, 10.1, 10.2, 1000.0], [1.0, 1.0, 1.0, 2.0], ["one", "two", "three", "far"])
    assert len(set(row[:3])) == 3


@pytest.mark.parametrize(("count", "said"), [(96, "96 bytes"), (4096, "4.1 kB"), (274432, "274 kB"), (5.4e9, "5.4 GB")])
def test_sizes_are_read(count: float, said: str) -> None:
    assert size(count) == said


@pytest.mark.parametrize("name", sorted(zoo.available()))
def test_what_is_kept_of_the_zoo_is_what_its_members_say(name: str) -> None:
    kept = {one.source: one for one in zoo_facts()}
    assert len(kept) == len(zoo.available())
    # Where they differ the zoo has changed: call keep_zoo_facts.
    assert kept[f"zoo:{name}"] == measured(name)
