"""Which rows of the text show what a feature is: the highest, some of each quarter, some at random, some silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from workbench.saes.features.blocks import Block, Text
from workbench.saes.features.options import FeatureOptions
from workbench.saes.features.sorting import descending, hashed, ragged, ranks

TOP, RANDOM, SILENT = "top", "random", "silent"
_SALTS = {RANDOM: 1, SILENT: 2}
_TRIES = 4
"""Rows that are looked at for each silent example that is wanted; a feature that fires in most rows gets fewer."""


@dataclass(frozen=True, eq=False)
class Peaks:
    """Where features are highest in each row in which they fire: by feature, highest first, ties in order of the text.

    Attributes:
        rank: 0 for the row with the feature's highest maximum.
        among: rows in which this feature fires.
    """

    feature: Int[np.ndarray, " peaks"]
    place: Int[np.ndarray, " peaks"]
    value: Float[np.ndarray, " peaks"]
    rank: Int[np.ndarray, " peaks"]
    among: Int[np.ndarray, " peaks"]


@dataclass(frozen=True, eq=False)
class Chosen:
    """Examples of one band, by feature."""

    band: str
    feature: Int[np.ndarray, " chosen"]
    place: Int[np.ndarray, " chosen"]
    value: Float[np.ndarray, " chosen"]


def example_columns(block: Block, text: Text, options: FeatureOptions) -> dict[str, Any]:
    """The table ``examples``; what each band holds says `collect_features`.

    ``feature``, ``band``, ``rank`` (within the band), ``row``, ``position`` (of the peak), ``value`` (there), ``start``
    (first token shown), ``activations`` (of every token shown).
    """
    import pyarrow as pa

    peaks = find_peaks(block, text)
    bands = [_top(peaks, options.top), *_quarters(peaks, options, block.first)]
    bands += [_random(peaks, options, block), _silent(peaks, block, text, options)]
    names = [one.band for one in bands]
    feature = np.concatenate([one.feature for one in bands]).astype(np.int64)
    place = np.concatenate([one.place for one in bands]).astype(np.int64)
    value = np.concatenate([one.value for one in bands]).astype(np.float32)
    band = np.repeat(np.arange(len(bands)), [len(one.feature) for one in bands])
    order = np.argsort(feature * len(bands) + band, kind="stable")
    feature, place, value, band = feature[order], place[order], value[order], band[order]
    row, position = np.divmod(place, text.stride)
    start = np.maximum(position - options.before, 0)
    stop = np.minimum(position + options.after + 1, np.diff(text.offsets)[row])
    offsets, activations = contexts(block, text, feature, row * text.stride + start, row * text.stride + stop)
    return {
        "feature": (feature + block.first).astype(np.int32),
        "band": pa.DictionaryArray.from_arrays(band.astype(np.int8), pa.array(names)),
        "rank": ranks(feature * len(bands) + band, block.count * len(bands)).astype(np.int32),
        "row": row.astype(np.int32),
        "position": position.astype(np.int32),
        "value": value,
        "start": start.astype(np.int32),
        "activations": pa.ListArray.from_arrays(offsets.astype(np.int32), activations),
    }


def find_peaks(block: Block, text: Text) -> Peaks:
    """The maximum of every feature in every row in which it fires."""
    row = block.place // text.stride
    change = np.ones(len(row), dtype=bool)
    change[1:] = (np.diff(row) != 0) | (np.diff(block.feature) != 0)
    heads = np.flatnonzero(change)
    if not len(heads):
        none = np.empty(0, dtype=np.int64)
        return Peaks(none, none, np.empty(0, np.float32), none, none)
    highest = np.maximum.reduceat(block.value, heads)
    reached = np.flatnonzero(block.value == np.repeat(highest, np.diff(np.append(heads, len(row)))))
    at = reached[np.searchsorted(reached, heads)]
    order = np.argsort((block.feature[at].astype(np.int64) << 32) | descending(highest), kind="stable")
    at = at[order]
    feature = block.feature[at].astype(np.int64)
    among = np.bincount(feature, minlength=block.count)
    return Peaks(feature, block.place[at], block.value[at], ranks(feature, block.count), among[feature])


def contexts(
    block: Block,
    text: Text,
    feature: Int[np.ndarray, " chosen"],
    start: Int[np.ndarray, " chosen"],
    stop: Int[np.ndarray, " chosen"],
) -> tuple[Int[np.ndarray, " _"], Float[np.ndarray, " shown"]]:
    """Activations of a feature at all places ``start .. stop - 1``; where each example begins among them."""
    offsets = np.concatenate([[0], np.cumsum(stop - start)])
    shown = np.zeros(int(offsets[-1]), dtype=np.float32)
    # What fires lies side by side in the block, in the order of the text: two searches an example find all of it.
    places = np.int64(text.rows) * text.stride
    keys = block.feature * places + block.place
    low = np.searchsorted(keys, feature * places + start)
    high = np.searchsorted(keys, feature * places + stop)
    source = ragged(low, high)
    example = np.repeat(np.arange(len(feature)), high - low)
    shown[offsets[example] + block.place[source] - start[example]] = block.value[source]
    return offsets, shown


def _top(peaks: Peaks, count: int) -> Chosen:
    kept = peaks.rank < count
    return Chosen(TOP, peaks.feature[kept], peaks.place[kept], peaks.value[kept])


def _quarters(peaks: Peaks, options: FeatureOptions, first: int) -> list[Chosen]:
    """Some of every equal part of the ranks, in their order."""
    band = peaks.rank * options.bands // np.maximum(peaks.among, 1)
    drawn = hashed(options.seed, peaks.feature + first, peaks.place)
    found = []
    for number, name in enumerate(options.band_names):
        here = np.flatnonzero(band == number)
        kept = np.sort(here[_least(peaks.feature[here], drawn[here], options.per_band)])
        found.append(Chosen(name, peaks.feature[kept], peaks.place[kept], peaks.value[kept]))
    return found


def _random(peaks: Peaks, options: FeatureOptions, block: Block) -> Chosen:
    drawn = hashed(options.seed + _SALTS[RANDOM], peaks.feature + block.first, peaks.place)
    kept = _least(peaks.feature, drawn, options.random)
    return Chosen(RANDOM, peaks.feature[kept], peaks.place[kept], peaks.value[kept])


def _silent(peaks: Peaks, block: Block, text: Text, options: FeatureOptions) -> Chosen:
    """Rows in which a feature does not fire, around a token drawn at random."""
    tries = _TRIES * options.silent
    local = np.repeat(np.arange(block.count, dtype=np.int64), tries)
    drawn = hashed(options.seed + _SALTS[SILENT], local + block.first, np.tile(np.arange(tries), block.count))
    row = (drawn % np.uint64(text.rows)).astype(np.int64)
    fired = np.sort(peaks.feature * text.rows + peaks.place // text.stride)
    key = local * text.rows + row
    free = np.ones(len(key), dtype=bool)
    if len(fired):
        free = fired[np.minimum(np.searchsorted(fired, key), len(fired) - 1)] != key
    once = np.zeros(len(key), dtype=bool)
    once[np.unique(key, return_index=True)[1]] = True
    kept = np.flatnonzero(free & once)
    kept = kept[ranks(local[kept], block.count) < options.silent]
    lengths = np.diff(text.offsets)[row[kept]]
    position = ((drawn[kept] >> np.uint64(32)) % lengths.astype(np.uint64)).astype(np.int64)
    return Chosen(SILENT, local[kept], row[kept] * text.stride + position, np.zeros(len(kept), dtype=np.float32))


def _least(group: Int[np.ndarray, " items"], drawn: Any, count: int) -> Int[np.ndarray, " kept"]:
    """Indices of the `count` items of each group with the least numbers drawn, by group and in that order."""
    order = np.lexsort((drawn, group))
    if not len(order):
        return order
    groups = group[order]
    return order[ranks(groups, int(groups[-1]) + 1) < count]
