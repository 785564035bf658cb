"""Running a chunk's maps: the states at chunk starts, one chunk after another, and every chunk's outputs at once.

The gradients are the same computations with roles exchanged. The gradient of a chunk's first state is

    total G - probes' (erasers G) + queries' (gradient of the outputs)

for `G` the gradient of its last state, and the values' is ``keys G + matrix' (gradient of the outputs)``.
"""

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
    STEPS: tl.constexpr, TOTALS: tl.constexpr, REVERSED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes the states at chunk starts ``[batch, chunks, heads, KEY, VALUE]`` (None: not kept) and the final one.

    REVERSED runs from the last chunk to the first, and "start" and "final" change places with it. A program carries
    BLOCK_VALUE columns of a state and all its rows; `probes` and `erasers` are None without erasing.
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
    for index in range(chunks):
        chunk = chunks - 1 - index if REVERSED else index
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
    KEY: tl.constexpr, VALUE: tl.constexpr, BLOCK_VALUE: tl.constexpr,
    PART: tl.constexpr, STEPS: tl.constexpr, TRANSPOSED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes ``queries S + matrix V``, ``[batch, time, heads, VALUE]``, in the dtype of `outputs`.

    `matrix` may be None, or TRANSPOSED.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    first = tl.program_id(2) * BLOCK_VALUE
    columns = first + tl.arange(0, BLOCK_VALUE)
    steps = chunk.to(tl.int64) * STEPS + tl.arange(0, STEPS)
    own = batch * time * heads + head
    queries += batch * query_batch + (head // query_share) * query_group
    values += batch * value_batch + head * value_head

    place = (batch * tl.num_programs(0) + chunk) * heads + head
    given = tl.zeros([STEPS, BLOCK_VALUE], tl.float32)
    for key in range(0, KEY, PART):
        q = load_rows(queries, steps, time, query_time, KEY, PART, key)
        state = load_square(starts + place * (KEY * VALUE), key + tl.arange(0, PART), columns, KEY, VALUE)
        given = tl.dot(q, state, given, input_precision=PRECISION)
    if query_scale is not None:
        given *= tl.load(query_scale + own + steps * heads, mask=steps < time, other=0.0)[:, None]
    if matrix is not None:
        for source in range(0, STEPS, PART):
            sources = chunk.to(tl.int64) * STEPS + source + tl.arange(0, PART)
            if TRANSPOSED:
                seen = load_columns(matrix + own * STEPS, sources, time, heads * STEPS, STEPS, STEPS)
            else:
                seen = load_rows(matrix + own * STEPS, steps, time, heads * STEPS, STEPS, PART, source)
            v = load_rows(values, sources, time, value_time, VALUE, BLOCK_VALUE, first)
            given = tl.dot(seen, v, given, input_precision=PRECISION)
    store_rows(outputs + own * VALUE, steps, time, heads * VALUE, given.to(outputs.dtype.element_ty), VALUE,
               BLOCK_VALUE, first)  # fmt: skip


@triton.jit
def times_states(
    values, states, results, value_batch, value_time, value_head, time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, VALUE: tl.constexpr, BLOCK_VALUE: tl.constexpr, STEPS: tl.constexpr,
    NEGATIVE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes ``values S'``, ``[batch, time, heads, KEY]``, a chunk's values with that chunk's `S`."""
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    first = tl.program_id(2) * BLOCK_KEY
    steps = chunk.to(tl.int64) * STEPS + tl.arange(0, STEPS)
    own = batch * time * heads + head
    values += batch * value_batch + head * value_head
    states += ((batch * tl.num_programs(0) + chunk) * heads + head) * (KEY * VALUE)
    rows = first + tl.arange(0, BLOCK_KEY)

    result = tl.zeros([STEPS, BLOCK_KEY], tl.float32)
    for value in range(0, VALUE, BLOCK_VALUE):
        v = load_rows(values, steps, time, value_time, VALUE, BLOCK_VALUE, value)
        state = load_square(states, rows, value + tl.arange(0, BLOCK_VALUE), KEY, VALUE)
        result = tl.dot(v, tl.trans(state), result, input_precision=PRECISION)
    if NEGATIVE:
        result = -result
    store_rows(results + own * KEY, steps, time, heads * KEY, result, KEY, BLOCK_KEY, first)


@triton.jit
def outer_products(
    left, right, matrix, left_batch, left_time, left_head, right_batch, right_time, right_head, time, heads,
    VALUE: tl.constexpr, BLOCK_VALUE: tl.constexpr, STEPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes ``left right'`` of the steps of every chunk, ``[batch, time, heads, STEPS]``, both triangles."""
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    steps = chunk.to(tl.int64) * STEPS + tl.arange(0, STEPS)
    left += batch * left_batch + head * left_head
    right += batch * right_batch + head * right_head

    result = tl.zeros([STEPS, STEPS], tl.float32)
    for value in range(0, VALUE, BLOCK_VALUE):
        x = load_rows(left, steps, time, left_time, VALUE, BLOCK_VALUE, value)
        y = load_rows(right, steps, time, right_time, VALUE, BLOCK_VALUE, value)
        result = tl.dot(x, tl.trans(y), result, input_precision=PRECISION)
    start = matrix + (batch * time * heads + head) * STEPS
    store_rows(start, steps, time, heads * STEPS, result, STEPS, STEPS)
