"""Every entry of A, computed in tiles, reduced and forgotten.

A program has a chunk of queries and walks over the chunks of sources from right to left. What its queries see of a
chunk is ``R keys'``; to look beyond it they are carried over it, ``R' = total R - (R erasers') probes``. Every decay in
that is at most 1, and a tile never leaves the registers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.triton.recurrence import load_total
from workbench.kernels.triton.tiles import load_rows


@triton.jit
def keep_largest(values, sources, tile, positions, TOP: tl.constexpr):
    """Take a tile's entries of largest magnitude into ``values`` and ``sources [steps, TOP]``, which are in no order.

    Of equal entries the later source stays. Usually nothing of a tile is large enough, and then this is one comparison.
    """
    slots = tl.arange(0, TOP)
    size = tl.abs(tile)
    least = tl.min(tl.abs(values), 1)
    largest = tl.max(size, 1)
    while tl.max((largest > least).to(tl.int32), 0) > 0:
        better = largest > least
        # The latest of equal entries goes in, and the earliest source of equal kept ones goes out.
        place = tl.max(tl.where(size == largest[:, None], positions[None, :], -1), 1)
        chosen = (positions[None, :] == place[:, None]) & better[:, None]
        value = tl.sum(tl.where(chosen, tile, 0.0), 1)
        smallest = tl.abs(values) == least[:, None]
        oldest = tl.min(tl.where(smallest, sources, 2147483647), 1)
        out = smallest & (sources == oldest[:, None])
        slot = tl.min(tl.where(out, slots[None, :], TOP), 1)
        replaced = (slots[None, :] == slot[:, None]) & better[:, None]
        values = tl.where(replaced, value[:, None], values)
        sources = tl.where(replaced, place[:, None], sources)
        size = tl.where(chosen, -1.0, size)
        least = tl.min(tl.abs(values), 1)
        largest = tl.max(size, 1)
    return values, sources


@triton.jit
def walk_sources(
    queries, query_scale, keys, key_scale, matrix, total, probes, erasers, limit,
    sums, missed, top_values, top_sources, column_mass, column_energy,
    query_batch, query_time, query_group, query_share, key_batch, key_time, key_group, key_share,
    time, heads, tolerance,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, TOTALS: tl.constexpr, TOP: tl.constexpr,
    ENTROPY: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Reduce the rows of one chunk.

    Writes ``sums [5, batch, time, heads]`` in float64: of ``a = |A|``, ``a^2``, ``-a log a``, ``a (t - s)`` and
    ``a^2 (t - s)``; and the largest entries, in no order, ``[batch, time, heads, TOP]``, int32 sources. Adds to the
    columns ``[batch, time, heads]`` in float64. None for `top_values` and columns that are not asked for.

    With `limit` (a bound on what a unit query finds up to each source, ``[batch, time, heads]``), a walk ends where
    that times its queries is at most `tolerance` of the mass it has seen, and `missed` tells how much that is.
    """
    chunks = tl.num_programs(0)
    # The longest walks start first.
    chunk, sequence = chunks - 1 - tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    inner = tl.arange(0, STEPS)
    steps = chunk.to(tl.int64) * STEPS + inner
    own = batch * time * heads + head
    inside = steps < time
    queries += batch * query_batch + (head // query_share) * query_group
    keys += batch * key_batch + (head // key_share) * key_group
    rows = tl.arange(0, BLOCK_KEY)

    carried = load_rows(queries, steps, time, query_time, KEY, BLOCK_KEY)
    if query_scale is not None:
        carried *= tl.load(query_scale + own + steps * heads, mask=inside, other=0.0)[:, None]
    tile = load_rows(matrix + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
    mass = tl.zeros([STEPS], tl.float64)
    energy = tl.zeros([STEPS], tl.float64)
    entropy = tl.zeros([STEPS], tl.float64)
    distance = tl.zeros([STEPS], tl.float64)
    square_distance = tl.zeros([STEPS], tl.float64)
    values = tl.zeros([STEPS, TOP], tl.float32)
    sources = tl.full([STEPS, TOP], -1, tl.int32)
    left = tl.zeros([STEPS], tl.float32)
    current = chunk
    going = 1
    while going == 1:
        positions = current * STEPS + inner
        size = tl.abs(tile)
        squares = size * size
        # Distances within two chunks, and the distance of the chunks: no product of large numbers is rounded.
        apart = ((chunk - current) * STEPS + (inner[:, None] - inner[None, :])).to(tl.float32)
        mass += tl.sum(size, 1).to(tl.float64)
        energy += tl.sum(squares, 1).to(tl.float64)
        if ENTROPY:
            logarithm = tl.log(tl.where(size > 0.0, size, 1.0))
            entropy -= tl.sum(size * logarithm, 1).to(tl.float64)
        distance += tl.sum(size * apart, 1).to(tl.float64)
        square_distance += tl.sum(squares * apart, 1).to(tl.float64)
        columns = own + positions.to(tl.int64) * heads
        if column_mass is not None:
            tl.atomic_add(column_mass + columns, tl.sum(size, 0).to(tl.float64), mask=positions < time)
        if column_energy is not None:
            tl.atomic_add(column_energy + columns, tl.sum(squares, 0).to(tl.float64), mask=positions < time)
        if top_values is not None:
            values, sources = keep_largest(values, sources, tile, positions, TOP)

        if current != chunk:
            # Beyond the chunk that was just read.
            place = (batch * chunks + current) * heads + head
            gone = current.to(tl.int64) * STEPS + inner
            following = carried * tl.trans(
                load_total(total, place, rows, KEY, TOTALS) + tl.zeros([BLOCK_KEY, 1], tl.float32)
            )
            if probes is not None:
                e = load_rows(erasers + own * KEY, gone, time, heads * KEY, KEY, BLOCK_KEY)
                p = load_rows(probes + own * KEY, gone, time, heads * KEY, KEY, BLOCK_KEY)
                met = tl.dot(carried, tl.trans(e), input_precision=PRECISION)
                following -= tl.dot(met, p, input_precision=PRECISION)
            carried = following
        current = current - 1
        going = tl.where(current >= 0, 1, 0) * tl.max(tl.max((carried != 0.0).to(tl.int32), 1), 0)
        if limit is not None:
            largest = tl.max(tl.abs(carried), 1)
            unit = carried / tl.where(largest > 0.0, largest, 1.0)[:, None]
            length = largest * tl.sqrt(tl.sum(unit * unit, 1))
            at = tl.maximum((current + 1) * STEPS - 1, 0)
            left = length * tl.load(limit + own + at.to(tl.int64) * heads).to(tl.float32)
            left = tl.where(current >= 0, left, 0.0)
            enough = left.to(tl.float64) <= tolerance * mass
            going *= 1 - tl.min(enough.to(tl.int32), 0)
        if going == 1:
            there = current.to(tl.int64) * STEPS + inner
            k = load_rows(keys, there, time, key_time, KEY, BLOCK_KEY)
            if key_scale is not None:
                k *= tl.load(key_scale + own + there * heads, mask=there < time, other=0.0)[:, None]
            tile = tl.dot(carried, tl.trans(k), input_precision=PRECISION)
    entries = own + steps * heads
    size_of_sum = (tl.num_programs(1).to(tl.int64)) * time
    tl.store(sums + entries, mass, mask=inside)
    tl.store(sums + size_of_sum + entries, energy, mask=inside)
    tl.store(sums + 2 * size_of_sum + entries, entropy, mask=inside)
    tl.store(sums + 3 * size_of_sum + entries, distance, mask=inside)
    tl.store(sums + 4 * size_of_sum + entries, square_distance, mask=inside)
    tl.store(missed + entries, left, mask=inside)
    if top_values is not None:
        slots = tl.arange(0, TOP)
        place_of = entries[:, None] * TOP + slots[None, :]
        tl.store(top_values + place_of, values, mask=inside[:, None])
        tl.store(top_sources + place_of, sources, mask=inside[:, None])
