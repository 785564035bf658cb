"""The delta rule's chunk as maps, by the inverse of one unit lower triangular matrix.

What step t finds in the state depends on what the chunk's earlier steps found, through ``(I + L) F = (probes) S + P V``
with `L` what each probe finds of the erasers and `P` of the sources (the WY representation: Yang et al. 2024,
arXiv:2406.06484, section 3; with a decay: Yang et al. 2025, arXiv:2412.06464, section 3.3). With ``X = (I + L)^-1``:

    probes' = X probes          matrix' = matrix - read_erasers X P
    queries' = queries - read_erasers probes'          keys' = sources - (X P)' erasers
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.triton.tiles import border_sums, load_rows, store_rows


@triton.jit
def unit_lower_inverse(lower, STEPS: tl.constexpr, LEVELS: tl.constexpr):
    """``(I + lower)^-1`` for a strictly lower triangular matrix, in float32 throughout.

    Blocks along the diagonal are inverted and doubled: ``[[A, 0], [B, D]]^-1`` is
    ``[[A^-1, 0], [-D^-1 B A^-1, D^-1]]``. A Neumann product would take powers of `lower`, which explode where keys are
    alike.
    """
    inner = tl.arange(0, STEPS)
    inverse = tl.where(inner[:, None] == inner[None, :], 1.0, 0.0)
    for level in range(LEVELS):
        _, _, pair = border_sums(level, STEPS)
        below = tl.where(pair, lower, 0.0)
        inverse -= tl.dot(tl.dot(inverse, below, input_precision="ieee"), inverse, input_precision="ieee")
    return inverse


@triton.jit
def erasing_maps(
    read_sources, read_erasers, found_sources, found_erasers, queries, probes, sources, erasers,
    since, until_source, until_eraser, matrix, new_queries, new_probes, new_keys, new_erasers, kept_inverse, kept_found,
    query_batch, query_time, query_group, query_share,
    probe_batch, probe_time, probe_group, probe_share,
    source_batch, source_time, source_group, source_share,
    eraser_batch, eraser_time, eraser_group, eraser_share,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, LEVELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The maps of one chunk.

    `since` and the two `until` scale rows that have one decay a head; None where rows are decayed already, and then
    `new_erasers` is None, too: they are the erasers. A pair of products that is one tensor (a step that erases what it
    writes) is given twice. `kept_inverse` and `kept_found` take ``X`` and ``X P`` for a backward pass, or None.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    inner = tl.arange(0, STEPS)
    steps = chunk.to(tl.int64) * STEPS + inner
    entries = (batch * time + steps) * heads + head
    own = batch * time * heads + head
    queries += batch * query_batch + (head // query_share) * query_group
    probes += batch * probe_batch + (head // probe_share) * probe_group
    sources += batch * source_batch + (head // source_share) * source_group
    erasers += batch * eraser_batch + (head // eraser_share) * eraser_group

    lower = load_rows(found_erasers + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
    inverse = unit_lower_inverse(lower, STEPS, LEVELS)
    found = load_rows(found_sources + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
    found = tl.dot(inverse, found, input_precision=PRECISION)
    if kept_inverse is not None:
        store_rows(kept_inverse + own * STEPS, steps, time, heads * STEPS, inverse, STEPS, STEPS)
        store_rows(kept_found + own * STEPS, steps, time, heads * STEPS, found, STEPS, STEPS)
    read = load_rows(read_erasers + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
    seen = load_rows(read_sources + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
    seen -= tl.dot(read, found, input_precision=PRECISION)
    store_rows(matrix + own * STEPS, steps, time, heads * STEPS, seen, STEPS, STEPS)
    for first in range(0, KEY, BLOCK_KEY):
        p = load_rows(probes, steps, time, probe_time, KEY, BLOCK_KEY, first)
        if since is not None:
            p *= tl.load(since + entries, mask=steps < time, other=0.0)[:, None]
        p = tl.dot(inverse, p, input_precision=PRECISION)
        store_rows(new_probes + own * KEY, steps, time, heads * KEY, p, KEY, BLOCK_KEY, first)
        q = load_rows(queries, steps, time, query_time, KEY, BLOCK_KEY, first)
        if since is not None:
            q *= tl.load(since + entries, mask=steps < time, other=0.0)[:, None]
        q -= tl.dot(read, p, input_precision=PRECISION)
        store_rows(new_queries + own * KEY, steps, time, heads * KEY, q, KEY, BLOCK_KEY, first)
        e = load_rows(erasers, steps, time, eraser_time, KEY, BLOCK_KEY, first)
        if until_eraser is not None:
            e *= tl.load(until_eraser + entries, mask=steps < time, other=0.0)[:, None]
            store_rows(new_erasers + own * KEY, steps, time, heads * KEY, e, KEY, BLOCK_KEY, first)
        k = load_rows(sources, steps, time, source_time, KEY, BLOCK_KEY, first)
        if until_source is not None:
            k *= tl.load(until_source + entries, mask=steps < time, other=0.0)[:, None]
        k -= tl.dot(tl.trans(found), e, input_precision=PRECISION)
        store_rows(new_keys + own * KEY, steps, time, heads * KEY, k, KEY, BLOCK_KEY, first)


@triton.jit
def erasing_gradients(
    inverse, found, read_erasers, probes, erasers,
    d_matrix, d_queries, d_keys, d_probes, d_erasers,
    d_read_erasers, d_found_sources, d_found_erasers, d_plain_probes, d_plain_erasers,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the gradients of the maps to those of the products; every operand is laid out as the maps are.

    The gradients of ``read_sources``, the decayed queries and the sources are those of the new matrix, queries and
    keys themselves. Nothing is masked here: the triangle a product cannot reach is left out where it is decayed.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    steps = chunk.to(tl.int64) * STEPS + tl.arange(0, STEPS)
    own = batch * time * heads + head
    square, row = own * STEPS, own * KEY
    across, along = heads * STEPS, heads * KEY

    upon = tl.trans(load_rows(inverse + square, steps, time, across, STEPS, STEPS))
    r = load_rows(found + square, steps, time, across, STEPS, STEPS)
    read = load_rows(read_erasers + square, steps, time, across, STEPS, STEPS)
    given = load_rows(d_matrix + square, steps, time, across, STEPS, STEPS)
    d_read = -tl.dot(given, tl.trans(r), input_precision=PRECISION)
    d_r = -tl.dot(tl.trans(read), given, input_precision=PRECISION)
    d_lower = tl.zeros([STEPS, STEPS], tl.float32)
    for first in range(0, KEY, BLOCK_KEY):
        p = load_rows(probes + row, steps, time, along, KEY, BLOCK_KEY, first)
        d_q = load_rows(d_queries + row, steps, time, along, KEY, BLOCK_KEY, first)
        d_read -= tl.dot(d_q, tl.trans(p), input_precision=PRECISION)
        d_p = load_rows(d_probes + row, steps, time, along, KEY, BLOCK_KEY, first)
        d_p -= tl.dot(tl.trans(read), d_q, input_precision=PRECISION)
        d_p = tl.dot(upon, d_p, input_precision=PRECISION)
        store_rows(d_plain_probes + row, steps, time, along, d_p, KEY, BLOCK_KEY, first)
        d_lower -= tl.dot(d_p, tl.trans(p), input_precision=PRECISION)
        e = load_rows(erasers + row, steps, time, along, KEY, BLOCK_KEY, first)
        d_k = load_rows(d_keys + row, steps, time, along, KEY, BLOCK_KEY, first)
        d_r -= tl.dot(e, tl.trans(d_k), input_precision=PRECISION)
        d_e = load_rows(d_erasers + row, steps, time, along, KEY, BLOCK_KEY, first)
        d_e -= tl.dot(r, d_k, input_precision=PRECISION)
        store_rows(d_plain_erasers + row, steps, time, along, d_e, KEY, BLOCK_KEY, first)
    d_sources = tl.dot(upon, d_r, input_precision=PRECISION)
    d_lower -= tl.dot(d_sources, tl.trans(r), input_precision=PRECISION)
    store_rows(d_read_erasers + square, steps, time, across, d_read, STEPS, STEPS)
    store_rows(d_found_sources + square, steps, time, across, d_sources, STEPS, STEPS)
    store_rows(d_found_erasers + square, steps, time, across, d_lower, STEPS, STEPS)
