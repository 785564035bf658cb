"""Everything that reads a part of the matrix agrees with the whole of it, in both scopes; bad requests are refused."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.workbench.recurrent_cases import BATCH, TIME, build, record
from tests.workbench.test_attention_check import softmax_record
from workbench.attention import ImplicitAttention, operators
from workbench.errors import InputError


@cache
def attention(family: str, scope: str) -> ImplicitAttention:
    """A recorded mixer in float64: Mamba has one value a head, Mamba-2 several, softmax none of the mixer's parts."""
    form = softmax_record(torch.float64) if family == "softmax" else record(build(family, torch.float64))
    return ImplicitAttention.from_form(form, scope=scope, layer=1)


EVERY = [(family, scope) for family in ("mamba", "mamba2", "softmax") for scope in ("core", "mixer")]
each = pytest.mark.parametrize(("family", "scope"), EVERY)


@each
def test_pairs_rows_and_columns_are_entries_of_the_dense_matrix(family: str, scope: str) -> None:
    found = attention(family, scope)
    batch, units, time, source = found.shape
    dense = found.dense()
    assert tuple(dense.shape) == found.shape and units == found.units
    assert dense.triu(1).abs().max() == 0
    assert dense.abs().max() > 1e-3
    generator = torch.Generator().manual_seed(4)
    query, key = (torch.randint(0, time, (batch, 30), generator=generator) for _ in range(2))
    expected = torch.stack([dense[b, :, query[b], key[b]] for b in range(batch)])
    torch.testing.assert_close(found.pairs(query, key), expected, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.pairs(query[0], key[0]), dense[:, :, query[0], key[0]], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.pairs(query, key[0]), found.pairs(query, key[:1].expand(batch, -1)))
    torch.testing.assert_close(found.pairs(-1, 0), dense[:, :, -1:, 0], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.rows([5, 2]), dense[:, :, [5, 2]], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.columns([source - 1, 0, 3]), dense[..., [source - 1, 0, 3]], atol=1e-12, rtol=1e-9)
    some = [units - 1, 0, 3]
    torch.testing.assert_close(found.dense(some, slice(2, 9, 3)), dense[:, some, 2:9:3], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.rows([5, 2], some), dense[:, some][:, :, [5, 2]], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.columns([4], some), dense[:, some][..., [4]], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.pairs(query, key, some), expected[:, some], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(found.pairs([6], [2], [-1]), dense[:, -1:, 6, 2:3], atol=1e-12, rtol=1e-9)


@each
def test_statistics_are_those_of_the_dense_matrix(family: str, scope: str) -> None:
    found = attention(family, scope)
    dense = found.dense()
    source, time = dense.shape[-1], dense.shape[-2]
    distance = (torch.arange(time)[:, None] - torch.arange(source)).to(dense.dtype)
    close = {"atol": 1e-12, "rtol": 1e-8}
    torch.testing.assert_close(found.row_sum(), dense.sum(-1), **close)
    torch.testing.assert_close(found.row_mass(), dense.abs().sum(-1), **close)
    torch.testing.assert_close(found.row_energy(), dense.square().sum(-1), **close)
    for normalise, weight in (("mass", dense.abs()), ("energy", dense.square())):
        expected = (weight * distance).sum(-1) / weight.sum(-1)
        actual = found.mean_distance(normalise)
        torch.testing.assert_close(actual, expected, equal_nan=True, **close)
    default = "mass" if family == "softmax" else "energy"
    torch.testing.assert_close(found.mean_distance(), found.mean_distance(default), equal_nan=True)
    assert found.default_normalise == default
    # The pads of the second sequence read nothing, which is neither near nor far.
    assert found.mean_distance()[1, :, 0].isnan().all()


@each
def test_applying_the_matrix_multiplies_by_it(family: str, scope: str) -> None:
    found = attention(family, scope)
    values = torch.randn(found.form.core.v.shape, dtype=torch.float64)
    actual = found.apply(values)
    dense = found.dense()
    if found.unit == "channel":
        expected = torch.einsum("buts,bsu->btu", dense, values.flatten(2)).view_as(actual)
    else:
        heads = values.repeat_interleave(found.units // values.shape[2], dim=2)
        expected = torch.einsum("bhts,bshv->bthv", dense, heads)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-9)


@each
def test_streaming_in_small_tiles_changes_nothing_and_stays_small(
    family: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = attention(family, scope)
    expected = found.dense().abs().sum(-1)
    operator = found._operator
    sizes = []
    dense = operator.dense

    def watched(units, rows):  # type: ignore[no-untyped-def]
        tile = dense(units, rows)
        sizes.append(tile.numel())
        return tile

    monkeypatch.setattr(operator, "dense", watched)
    total = torch.zeros_like(expected)
    budget = 5 * BATCH * expected.shape[-1]
    for units, rows, tile in operator.tiles(budget):
        total[:, units, rows] = tile.abs().sum(-1)
    torch.testing.assert_close(total, expected)
    assert max(sizes) <= budget and len(sizes) > expected.shape[-1] // 5


@each
def test_nothing_is_computed_before_it_is_asked_for(family: str, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = attention(family, scope).form

    class Untouched:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"kernels.{name} was called")

    monkeypatch.setattr(operators, "kernels", Untouched())
    found = ImplicitAttention.from_form(form, scope=scope, layer=1)
    assert f"scope={scope!r}" in repr(found) and f"{found.units} {found.unit}s" in repr(found)
    with pytest.raises(AssertionError, match="was called"):
        found.row_sum()


def test_units_are_heads_in_the_core_and_channels_in_the_mixer() -> None:
    assert (attention("mamba", "core").unit, attention("mamba", "core").units) == ("head", 24)
    assert (attention("mamba", "mixer").unit, attention("mamba", "mixer").units) == ("channel", 24)
    assert (attention("mamba2", "core").unit, attention("mamba2", "core").units) == ("head", 6)
    assert (attention("mamba2", "mixer").unit, attention("mamba2", "mixer").units) == ("channel", 24)
    assert repr(attention("mamba2", "mixer")) == (
        "ImplicitAttention(layer=1, scope='mixer', ScalarDecay, batch=2, 24 channels, time=19, source=19)"
    )


def test_one_head_may_be_a_plain_number() -> None:
    found = attention("mamba2", "core")
    torch.testing.assert_close(found.dense(3, rows=4), found.dense([3], rows=[4]))


def test_bad_requests_get_one_sentence() -> None:
    found = attention("mamba2", "core")
    with pytest.raises(InputError, match=r"^heads go from 0 to 5, and at least one is needed; got \[6\]\.$"):
        found.dense([6])
    with pytest.raises(InputError, match=r"^channels go from 0 to 23"):
        attention("mamba2", "mixer").rows([0], [])
    with pytest.raises(InputError, match=rf"^query goes from 0 to {TIME - 1}; got 3 to {TIME}\.$"):
        found.pairs([3, TIME], [0, 0])
    with pytest.raises(InputError, match=r"^2 queries and 3 keys do not pair up\.$"):
        found.pairs([1, 2], [0, 0, 0])
    with pytest.raises(InputError, match=r"^query lists 3 sequences, the batch has 2\.$"):
        found.pairs(torch.zeros(3, 1, dtype=torch.long), torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(InputError, match=r"^A row is a position or a list of positions"):
        found.dense(rows=torch.tensor([0.5]))
    with pytest.raises(InputError, match=r"^Rows and columns take one list"):
        found.rows(torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(InputError, match=r"^normalise 'entropy' is neither 'mass' nor 'energy'\.$"):
        found.mean_distance("entropy")
    with pytest.raises(InputError, match=r"^scope 'layer' is neither 'core' nor 'mixer'\.$"):
        ImplicitAttention.from_form(found.form, scope="layer")
    with pytest.raises(InputError, match=r"^apply needs values of shape \(2, 19, 6, 4\), got \(2, 18, 6, 4\)\.$"):
        found.apply(torch.zeros(2, 18, 6, 4))
