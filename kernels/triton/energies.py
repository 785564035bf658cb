"""Sums of squared entries of A, carried from chunk to chunk as the outer products of what is left of every source.

``W_t = M_t W_{t-1} M_t' + w_t^2 k_t k_t'`` gives ``sum_s A[t, s]^2 = q_t' W_t q_t``, here a chunk at a time: with
``F = diag(total) - erasers' probes``, `near` becomes ``F near F' + keys' keys``. `far` is the same with every source
weighted by its distance from the chunk's first step.
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.triton.recurrence import load_total
from workbench.kernels.triton.tiles import load_rows, load_square, store_square


@triton.jit
def across_chunk(state, row_total, column_total, p, e, PRECISION: tl.constexpr):
    """``F state F'``; `p` and `e` are None where nothing is erased."""
    result = row_total * state
    if p is not None:
        result -= tl.dot(tl.trans(e), tl.dot(p, state, input_precision=PRECISION), input_precision=PRECISION)
        looked = tl.dot(result, tl.trans(p), input_precision=PRECISION)
        result = result * column_total - tl.dot(looked, e, input_precision=PRECISION)
    else:
        result *= column_total
    return result


@triton.jit
def run_energies(
    queries, query_scale, keys, key_scale, matrix, total, probes, erasers, near_state, far_state, energies, distances,
    query_batch, query_time, query_group, query_share, key_batch, key_time, key_group, key_share, time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr, TOTALS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes ``sum_s A^2`` and ``sum_s A^2 (t - s)``, ``[parts, batch, time, heads]``, to be summed over the parts.

    A program carries COLUMNS columns of the states, all of them where something is erased. The states
    ``[batch, heads, KEY, KEY]`` are read at the start and left as they are at the end; without `distances` there is no
    `far_state`.
    """
    sequence = tl.program_id(0).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    part = tl.program_id(1)
    rows = tl.arange(0, BLOCK_KEY)
    first = part * COLUMNS
    columns = first + tl.arange(0, COLUMNS)
    inner = tl.arange(0, STEPS)
    place_in_chunk = inner.to(tl.float32)
    queries += batch * query_batch + (head // query_share) * query_group
    keys += batch * key_batch + (head // key_share) * key_group
    own = batch * time * heads + head
    chunks = tl.cdiv(time, STEPS)
    results = part * tl.num_programs(0).to(tl.int64) * time

    near_state += sequence * (KEY * KEY)
    near = load_square(near_state, rows, columns, KEY, KEY)
    if distances is not None:
        far_state += sequence * (KEY * KEY)
        far = load_square(far_state, rows, columns, KEY, KEY)
    for chunk in range(chunks):
        place = (batch * chunks + chunk) * heads + head
        steps = chunk * STEPS + inner.to(tl.int64)
        entries = own + steps * heads
        inside = steps < time
        row_total = load_total(total, place, rows, KEY, TOTALS)
        if TOTALS == 1:
            column_total = row_total
        else:
            column_total = tl.load(total + place * KEY + columns, mask=columns < KEY, other=0.0)[None, :]
        p = None
        e = None
        if probes is not None:
            p = load_rows(probes + own * KEY, steps, time, heads * KEY, KEY, BLOCK_KEY)
            e = load_rows(erasers + own * KEY, steps, time, heads * KEY, KEY, BLOCK_KEY)

        q = load_rows(queries, steps, time, query_time, KEY, BLOCK_KEY)
        q_part = load_rows(queries, steps, time, query_time, KEY, COLUMNS, first)
        k = load_rows(keys, steps, time, key_time, KEY, BLOCK_KEY)
        k_part = load_rows(keys, steps, time, key_time, KEY, COLUMNS, first)
        if query_scale is not None:
            scale = tl.load(query_scale + entries, mask=inside, other=0.0)[:, None]
            q *= scale
            q_part *= scale
        if key_scale is not None:
            scale = tl.load(key_scale + entries, mask=inside, other=0.0)[:, None]
            k *= scale
            k_part *= scale

        energy = tl.sum(tl.dot(q, near, input_precision=PRECISION) * q_part, 1)
        seen = load_rows(matrix + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
        # A chunk's own entries are counted once, by the first part.
        squares = tl.where(part == 0, seen * seen, 0.0)
        if distances is not None:
            distance = tl.sum(tl.dot(q, far, input_precision=PRECISION) * q_part, 1) + place_in_chunk * energy
            distance += tl.sum(squares * (place_in_chunk[:, None] - place_in_chunk[None, :]), 1)
            tl.store(distances + results + entries, distance, mask=inside)
            aged = k * (STEPS - place_in_chunk)[:, None]
            far = across_chunk(far + STEPS * near, row_total, column_total, p, e, PRECISION)
            far = tl.dot(tl.trans(aged), k_part, far, input_precision=PRECISION)
        tl.store(energies + results + entries, energy + tl.sum(squares, 1), mask=inside)
        near = across_chunk(near, row_total, column_total, p, e, PRECISION)
        near = tl.dot(tl.trans(k), k_part, near, input_precision=PRECISION)
    store_square(near_state, rows, columns, near, KEY, KEY)
    if distances is not None:
        store_square(far_state, rows, columns, far, KEY, KEY)
