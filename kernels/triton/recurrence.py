"""Running a chunk's maps: the states at chunk starts, one chunk after another, and every chunk's outputs at once."""

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.triton.tiles import load_columns, load_rows, load_square, store_rows, store_square


@triton.jit
def load_total(total, place, rows, KEY: tl.constexpr, TOTALS: tl.constexpr):
    """A chunk's total decay as a column: one a head, or one a key dimension."""
    if TOTALS == 1:
        factor = tl.load(total + place)
    else:
        factor = tl.load(total + place * KEY + rows, mask=rows < KEY, other=0.0)[:, None]
    return factor


@triton.jit
def run_states(
    keys, key_scale, total, probes, erasers, values, initial, starts, final,
    key_batch, key_time, key_group, key_share, value_batch, value_time, value_head,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, VALUE: tl.constexpr, BLOCK_VALUE: tl.constexpr,
    STEPS: tl.constexpr, TOTALS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes the states at chunk starts ``[batch, chunks, heads, KEY, VALUE]`` (None: not kept) and the final one.

    A program carries BLOCK_VALUE columns of a state and all its rows; `probes` and `erasers` are None without erasing.
    """
    sequence = tl.program_id(0).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    rows = tl.arange(0, BLOCK_KEY)
    first = tl.program_id(1) * BLOCK_VALUE
    columns = first + tl.arange(0, BLOCK_VALUE)
    keys += batch * key_batch + (head // key_share) * key_group
    values += batch * value_batch + head * value_head
    own = batch * time * heads + head
    chunks = tl.cdiv(time, STEPS)

    state = tl.zeros([BLOCK_KEY, BLOCK_VALUE], tl.float32)
    if initial is not None:
        state += load_square(initial + sequence * (KEY * VALUE), rows, columns, KEY, VALUE)
    for chunk in range(chunks):
        place = (batch * chunks + chunk) * heads + head
        if starts is not None:
            store_square(starts + place * (KEY * VALUE), rows, columns, state, KEY, VALUE)
        steps = chunk * STEPS + tl.arange(0, STEPS).to(tl.int64)
        k = load_columns(keys, steps, time, key_time, KEY, BLOCK_KEY)
        if key_scale is not None:
            k *= tl.load(key_scale + own + steps * heads, mask=steps < time, other=0.0)[None, :]
        v = load_rows(values, steps, time, value_time, VALUE, BLOCK_VALUE, first)
        following = load_total(total, place, rows, KEY, TOTALS) * state
        if probes is not None:
            p = load_rows(probes + own * KEY, steps, time, heads * KEY, KEY, BLOCK_KEY)
            e = load_columns(erasers + own * KEY, steps, time, heads * KEY, KEY, BLOCK_KEY)
            found = tl.dot(p, state, input_precision=PRECISION)
            following -= tl.dot(e, found, input_precision=PRECISION)
        state = tl.dot(k, v, following, input_precision=PRECISION)
    store_square(final + sequence * (KEY * VALUE), rows, columns, state, KEY, VALUE)


@triton.jit
def read_outputs(
    queries, query_scale, matrix, values, starts, outputs,
    query_batch, query_time, query_group, query_share, value_batch, value_time, value_head,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, VALUE: tl.constexpr, BLOCK_VALUE: tl.constexpr,
    STEPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes ``queries S + matrix V``, ``[batch, time, heads, VALUE]``, in the dtype of `outputs`."""
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    first = tl.program_id(2) * BLOCK_VALUE
    columns = first + tl.arange(0, BLOCK_VALUE)
    steps = chunk.to(tl.int64) * STEPS + tl.arange(0, STEPS)
    own = batch * time * heads + head
    queries += batch * query_batch + (head // query_share) * query_group
    values += batch * value_batch + head * value_head

    q = load_rows(queries, steps, time, query_time, KEY, BLOCK_KEY)
    if query_scale is not None:
        q *= tl.load(query_scale + own + steps * heads, mask=steps < time, other=0.0)[:, None]
    place = (batch * tl.num_programs(0) + chunk) * heads + head
    state = load_square(starts + place * (KEY * VALUE), tl.arange(0, BLOCK_KEY), columns, KEY, VALUE)
    given = tl.dot(q, state, input_precision=PRECISION)
    seen = load_rows(matrix + own * STEPS, steps, time, heads * STEPS, STEPS, STEPS)
    v = load_rows(values, steps, time, value_time, VALUE, BLOCK_VALUE, first)
    given = tl.dot(seen, v, given, input_precision=PRECISION)
    store_rows(outputs + own * VALUE, steps, time, heads * VALUE, given.to(outputs.dtype.element_ty), VALUE,
               BLOCK_VALUE, first)  # fmt: skip
