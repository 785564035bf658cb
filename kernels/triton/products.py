"""What the steps of a chunk see of each other: ``[t, s] = r_t' D_t .. D_{s+1} w_s x_s``, every factor at most 1.

With one decay a head this is a product of matrices times a matrix of decays. With a decay a key dimension,
``exp(G_t) exp(-G_s)`` would overflow; a later half and the half before it are anchored at their border instead, and
blocks of one step, which hold no decay, are doubled, one product a doubling, until they span the chunk.
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.triton.tiles import border_sums, clamped, decay_sums, decays_between, load_rows, store_rows


@triton.jit
def head_products(
    reader, writer, write, log_decay, matrix, since, until, total,
    reader_batch, reader_time, reader_group, reader_share,
    writer_batch, writer_time, writer_group, writer_share,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, STRICT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One decay a head.

    Writes the products ``[batch, time, heads, STEPS]``, the decay from the chunk's start up to each step (`since`),
    from each step to the chunk's end times `write` (`until`), both ``[batch, time, heads]``, and over the chunk
    (`total`, ``[batch, chunks, heads, 1]``); None for what is not asked for. STRICT leaves out the diagonal.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    inner = tl.arange(0, STEPS)
    steps = chunk.to(tl.int64) * STEPS + inner
    entries = (batch * time + steps) * heads + head
    reader += batch * reader_batch + (head // reader_share) * reader_group
    writer += batch * writer_batch + (head // writer_share) * writer_group

    products = tl.zeros([STEPS, STEPS], tl.float32)
    for first in range(0, KEY, BLOCK_KEY):
        r = load_rows(reader, steps, time, reader_time, KEY, BLOCK_KEY, first)
        x = load_rows(writer, steps, time, writer_time, KEY, BLOCK_KEY, first)
        products = tl.dot(r, tl.trans(x), products, input_precision=PRECISION)

    high, low, until_end, all_of_it = decay_sums(tl.load(log_decay + entries, mask=steps < time, other=0.0))
    seen = (inner[:, None] > inner[None, :]) if STRICT else (inner[:, None] >= inner[None, :])
    products *= decays_between(high, low, seen)
    until_end = tl.exp(until_end)
    if write is not None:
        w = tl.load(write + entries, mask=steps < time, other=0.0).to(tl.float32)
        products *= w[None, :]
        until_end *= w
    # What is masked stays zero, whatever a NaN or an infinity elsewhere made of it.
    products = tl.where(seen, products, 0.0)
    store_rows(matrix + (batch * time * heads + head) * STEPS, steps, time, heads * STEPS, products, STEPS, STEPS)
    if since is not None:
        tl.store(since + entries, tl.exp(high), mask=steps < time)
    if until is not None:
        tl.store(until + entries, until_end, mask=steps < time)
    if total is not None:
        tl.store(total + (batch * tl.num_programs(0) + chunk) * heads + head, tl.exp(all_of_it))


@triton.jit
def channel_products(
    reader, writer, write, log_decay, matrix, readers, writers, total,
    reader_batch, reader_time, reader_group, reader_share,
    writer_batch, writer_time, writer_group, writer_share,
    time, heads,
    KEY: tl.constexpr, BLOCK_KEY: tl.constexpr, STEPS: tl.constexpr, LEVELS: tl.constexpr, STRICT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """A decay a key dimension, ``log_decay [batch, time, heads, KEY]``.

    Besides the products, writes the readers decayed from the chunk's start, the written writers decayed to its end,
    both ``[batch, time, heads, KEY]``, and ``total [batch, chunks, heads, KEY]``; None for what is not asked for.
    ``2 ** LEVELS`` is STEPS.
    """
    chunk, sequence = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = sequence // heads, sequence % heads
    inner = tl.arange(0, STEPS)
    steps = chunk.to(tl.int64) * STEPS + inner
    reader += batch * reader_batch + (head // reader_share) * reader_group
    writer += batch * writer_batch + (head // writer_share) * writer_group
    own = (batch * time * heads + head) * KEY
    upto = inner[None, :] <= inner[:, None]

    products = tl.zeros([STEPS, STEPS], tl.float32)
    for first in range(0, KEY, BLOCK_KEY):
        r = load_rows(reader, steps, time, reader_time, KEY, BLOCK_KEY, first)
        x = load_rows(writer, steps, time, writer_time, KEY, BLOCK_KEY, first)
        if write is not None:
            w = tl.load(write + (batch * time + steps) * heads + head, mask=steps < time, other=0.0).to(tl.float32)
            x *= w[:, None]
        decay = clamped(load_rows(log_decay + own, steps, time, heads * KEY, KEY, BLOCK_KEY, first))
        if readers is not None:
            since = tl.exp(tl.dot(upto.to(tl.float32), decay, input_precision="tf32x3"))
            store_rows(readers + own, steps, time, heads * KEY, r * since, KEY, BLOCK_KEY, first)
        if writers is not None:
            until = tl.exp(tl.dot((upto == 0).to(tl.float32), decay, input_precision="tf32x3"))
            store_rows(writers + own, steps, time, heads * KEY, x * until, KEY, BLOCK_KEY, first)
        if total is not None:
            columns = first + tl.arange(0, BLOCK_KEY)
            place = total + ((batch * tl.num_programs(0) + chunk) * heads + head) * KEY + columns
            tl.store(place, tl.exp(tl.sum(decay, 0)), mask=columns < KEY)
        if not STRICT:
            products += tl.where(inner[:, None] == inner[None, :], tl.sum(r * x, 1)[:, None], 0.0)
        for level in range(LEVELS):
            summed, late, pair = border_sums(level, STEPS)
            factor = tl.exp(tl.dot(summed, decay, input_precision="tf32x3"))
            later = tl.where(late[:, None], r * factor, 0.0)
            earlier = tl.where(late[:, None], 0.0, x * factor)
            products += tl.where(pair, tl.dot(later, tl.trans(earlier), input_precision=PRECISION), 0.0)
    store_rows(matrix + (batch * time * heads + head) * STEPS, steps, time, heads * STEPS, products, STEPS, STEPS)
