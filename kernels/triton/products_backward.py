"""Gradients of `products`: recomputed from the operands, and without a difference of large sums.

A log decay acts on every pair of steps it stands between. Its gradient is a sum over those, taken as such; the usual
short cut, the running sum of ``q dq - k dk``, cancels, and leaves noise where a strong decay has no gradient at all.
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.triton.tiles import (
    LOWEST_LOG_DECAY,
    border_sums,
    clamped,
    decay_sums,
    decays_between,
    load_rows,
    store_rows,
)


@triton.jit
def head_products_backward(
    reader, writer, write, log_decay, total, d_matrix, d_readers, d_writers, d_total,
    d_reader, d_writer, d_write, d_log_decay,
    reader_batch, reader_time, reader_group, reader_share,
    writer_batch, writer_time, writer_group, writer_share,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, STRICT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of the operands of `head_products`, one entry a head each, from those of its results.

    `d_readers` and `d_writers` are the gradients of the decayed rows, `d_total` that of the chunk's total decay; None
    where a result was not used.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    inner = tl.arange(0, STEPS)
    steps = chunk.to(tl.int64) * STEPS + inner
    entries = (batch * time + steps) * heads + head
    own = (batch * time * heads + head) * KEY
    reader += batch * reader_batch + (head // reader_share) * reader_group
    writer += batch * writer_batch + (head // writer_share) * writer_group

    given = tl.load(log_decay + entries, mask=steps < time, other=0.0).to(tl.float32)
    high, low, until_end, _ = decay_sums(given)
    seen = (inner[:, None] > inner[None, :]) if STRICT else (inner[:, None] >= inner[None, :])
    square = (batch * time * heads + head) * STEPS
    gradient = load_rows(d_matrix + square, steps, time, heads * STEPS, STEPS, STEPS)
    gradient = tl.where(seen, gradient, 0.0) * decays_between(high, low, seen)
    w = tl.full([STEPS], 1.0, tl.float32)
    if write is not None:
        w = tl.load(write + entries, mask=steps < time, other=0.0).to(tl.float32)
    since, until = tl.exp(high), tl.exp(until_end)

    products = tl.zeros([STEPS, STEPS], tl.float32)
    of_since = tl.zeros([STEPS], tl.float32)
    of_until = tl.zeros([STEPS], tl.float32)
    for first in range(0, KEY, BLOCK_KEY):
        r = load_rows(reader, steps, time, reader_time, KEY, BLOCK_KEY, first)
        x = load_rows(writer, steps, time, writer_time, KEY, BLOCK_KEY, first)
        products = tl.dot(r, tl.trans(x), products, input_precision=PRECISION)
        d_r = tl.dot(gradient, x * w[:, None], input_precision=PRECISION)
        d_x = tl.dot(tl.trans(gradient), r, input_precision=PRECISION)
        if d_readers is not None:
            carried = load_rows(d_readers + own, steps, time, heads * KEY, KEY, BLOCK_KEY, first) * since[:, None]
            d_r += carried
            of_since += tl.sum(carried * r, 1)
        if d_writers is not None:
            carried = load_rows(d_writers + own, steps, time, heads * KEY, KEY, BLOCK_KEY, first) * until[:, None]
            d_x += carried
            of_until += tl.sum(carried * x, 1)
        store_rows(d_reader + own, steps, time, heads * KEY, d_r, KEY, BLOCK_KEY, first)
        store_rows(d_writer + own, steps, time, heads * KEY, d_x * w[:, None], KEY, BLOCK_KEY, first)

    # From here the products' own gradients, without and with `write`.
    products *= gradient
    if d_write is not None:
        tl.store(d_write + entries, tl.sum(products, 0) + of_until, mask=steps < time)
    products = tl.where(inner[:, None] > inner[None, :], products * w[None, :], 0.0)
    before = (inner[:, None] < inner[None, :]).to(tl.float32)
    passed = tl.dot(products, before, input_precision="tf32x3") + of_since[:, None]
    passed = tl.where(inner[:, None] >= inner[None, :], passed, 0.0)
    result = tl.sum(passed, 0) + tl.sum((of_until * w)[:, None] * before, 0)
    if d_total is not None:
        place = (batch * tl.num_programs(0) + chunk) * heads + head
        result += tl.load(total + place) * tl.load(d_total + place)
    tl.store(d_log_decay + entries, tl.where(given < LOWEST_LOG_DECAY, 0.0, result), mask=steps < time)


@triton.jit
def channel_products_backward(
    reader, writer, write, log_decay, total, d_matrix, d_readers, d_writers, d_total,
    d_reader, d_writer, d_write, d_log_decay,
    reader_batch, reader_time, reader_group, reader_share,
    writer_batch, writer_time, writer_group, writer_share,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, LEVELS: tl.constexpr, STRICT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The same for `channel_products`; a program takes BLOCK_KEY of the keys.

    ``d_write [parts of the keys, batch, time, heads]`` is to be summed over its parts.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    part = tl.program_id(2)
    first = part * BLOCK_KEY
    inner = tl.arange(0, STEPS)
    steps = chunk.to(tl.int64) * STEPS + inner
    entries = (batch * time + steps) * heads + head
    own = (batch * time * heads + head) * KEY
    reader += batch * reader_batch + (head // reader_share) * reader_group
    writer += batch * writer_batch + (head // writer_share) * writer_group
    upto = inner[None, :] <= inner[:, None]

    r = load_rows(reader, steps, time, reader_time, KEY, BLOCK_KEY, first)
    x = load_rows(writer, steps, time, writer_time, KEY, BLOCK_KEY, first)
    w = tl.full([STEPS], 1.0, tl.float32)
    if write is not None:
        w = tl.load(write + entries, mask=steps < time, other=0.0).to(tl.float32)
    written = x * w[:, None]
    given = load_rows(log_decay + own, steps, time, heads * KEY, KEY, BLOCK_KEY, first)
    decay = clamped(given)
    square = (batch * time * heads + head) * STEPS
    gradient = load_rows(d_matrix + square, steps, time, heads * STEPS, STEPS, STEPS)

    d_r = tl.zeros([STEPS, BLOCK_KEY], tl.float32)
    d_x = tl.zeros([STEPS, BLOCK_KEY], tl.float32)
    d_decay = tl.zeros([STEPS, BLOCK_KEY], tl.float32)
    if not STRICT:
        itself = tl.sum(tl.where(inner[:, None] == inner[None, :], gradient, 0.0), 1)[:, None]
        d_r += itself * written
        d_x += itself * r
    if d_readers is not None:
        summed = upto.to(tl.float32)
        carried = load_rows(d_readers + own, steps, time, heads * KEY, KEY, BLOCK_KEY, first)
        carried *= tl.exp(tl.dot(summed, decay, input_precision="tf32x3"))
        d_r += carried
        d_decay += tl.dot(tl.trans(summed), carried * r, input_precision="tf32x3")
    if d_writers is not None:
        summed = (upto == 0).to(tl.float32)
        carried = load_rows(d_writers + own, steps, time, heads * KEY, KEY, BLOCK_KEY, first)
        carried *= tl.exp(tl.dot(summed, decay, input_precision="tf32x3"))
        d_x += carried
        d_decay += tl.dot(tl.trans(summed), carried * written, input_precision="tf32x3")
    for level in range(LEVELS):
        summed, late, pair = border_sums(level, STEPS)
        factor = tl.exp(tl.dot(summed, decay, input_precision="tf32x3"))
        inside = tl.where(pair, gradient, 0.0)
        later = tl.where(late[:, None], r * factor, 0.0)
        earlier = tl.where(late[:, None], 0.0, written * factor)
        d_later = tl.dot(inside, earlier, input_precision=PRECISION)
        d_earlier = tl.dot(tl.trans(inside), later, input_precision=PRECISION)
        d_r += d_later * factor
        d_x += d_earlier * factor
        exponent = d_later * later + d_earlier * earlier
        d_decay += tl.dot(tl.trans(summed), exponent, input_precision="tf32x3")
    if d_total is not None:
        columns = first + tl.arange(0, BLOCK_KEY)
        place = ((batch * tl.num_programs(0) + chunk) * heads + head) * KEY + columns
        of_total = tl.load(total + place, mask=columns < KEY, other=0.0)
        d_decay += (of_total * tl.load(d_total + place, mask=columns < KEY, other=0.0))[None, :]
    store_rows(d_reader + own, steps, time, heads * KEY, d_r, KEY, BLOCK_KEY, first)
    store_rows(d_writer + own, steps, time, heads * KEY, d_x * w[:, None], KEY, BLOCK_KEY, first)
    d_decay = tl.where(given < LOWEST_LOG_DECAY, 0.0, d_decay)
    store_rows(d_log_decay + own, steps, time, heads * KEY, d_decay, KEY, BLOCK_KEY, first)
    if d_write is not None:
        sequences = tl.num_programs(1).to(tl.int64)
        tl.store(d_write + part * sequences * time + entries, tl.sum(d_x * x, 1), mask=steps < time)
