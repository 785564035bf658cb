"""What every kernel does with memory: rows of a chunk in and out, and the places of sums inside a chunk.

A kernel's first program axis counts chunks (where chunks are independent) and its second sequences times heads.
Operands are laid out sequence first; a head `h` of an operand with fewer heads reads group ``h // share``. The last
dimension is contiguous. Rows past the end of time read as zeros, which changes nothing: a log decay of 0, a key of 0.
"""

from __future__ import annotations

import triton
import triton.language as tl

# exp(-1000) is 0 in float32: an exact -inf (a reset) would turn a product with 0 into NaN.
LOWEST_LOG_DECAY = tl.constexpr(-1000.0)


@triton.jit
def load_rows(start, steps, time, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr, offset=0):
    """Rows `steps` of an operand, ``[steps, BLOCK]``, in float32; `start` is the operand's own sequence and group."""
    columns = offset + tl.arange(0, BLOCK)
    inside = (steps < time)[:, None] & (columns < WIDTH)[None, :]
    return tl.load(start + steps[:, None] * stride + columns[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def load_columns(start, steps, time, stride, WIDTH: tl.constexpr, BLOCK: tl.constexpr, offset=0):
    """The same transposed, ``[BLOCK, steps]``."""
    columns = offset + tl.arange(0, BLOCK)
    inside = (steps < time)[None, :] & (columns < WIDTH)[:, None]
    return tl.load(start + steps[None, :] * stride + columns[:, None], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_rows(start, steps, time, stride, values, WIDTH: tl.constexpr, BLOCK: tl.constexpr, offset=0):
    """Write what `load_rows` reads."""
    columns = offset + tl.arange(0, BLOCK)
    inside = (steps < time)[:, None] & (columns < WIDTH)[None, :]
    tl.store(start + steps[:, None] * stride + columns[None, :], values, mask=inside)


@triton.jit
def load_square(start, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A contiguous ``[ROWS, COLUMNS]`` matrix, as far as it reaches; zero beyond."""
    inside = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    return tl.load(start + rows[:, None] * COLUMNS + columns[None, :], mask=inside, other=0.0)


@triton.jit
def store_square(start, rows, columns, values, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Write what `load_square` reads."""
    inside = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    tl.store(start + rows[:, None] * COLUMNS + columns[None, :], values, mask=inside)


@triton.jit
def clamped(log_decay):
    """Log decays that a sum can hold; not a maximum, which would swallow a NaN."""
    return tl.where(log_decay < LOWEST_LOG_DECAY, LOWEST_LOG_DECAY, log_decay)


@triton.jit
def decay_sums(log_decay):
    """Inclusive running sums ``[steps]`` as two float32 whose sum has a float64's digits, and the total.

    A difference of two sums near 11,000 in float32 is off by 9e-4: one of the pairs is not.
    """
    wide = clamped(log_decay).to(tl.float64)
    sums = tl.cumsum(wide, 0)
    high = sums.to(tl.float32)
    low = (sums - high.to(tl.float64)).to(tl.float32)
    total = tl.sum(wide, 0)
    until_end = (total - sums).to(tl.float32)
    return high, low, until_end, total.to(tl.float32)


@triton.jit
def decays_between(high, low, seen):
    """``exp(G_t - G_s)`` where `seen`, else 0; masked before the exponential, which could overflow elsewhere."""
    between = (high[:, None] - high[None, :]) + (low[:, None] - low[None, :])
    return tl.where(seen, tl.exp(tl.where(seen, between, 0.0)), 0.0)


@triton.jit
def border_sums(level, STEPS: tl.constexpr):
    """Which log decays lie between each step and the border it is anchored at, as a 0/1 matrix ``[step, summed]``.

    At a level, a chunk is cut into halves of ``2 ** level`` steps. A step of a later half is anchored at its half's
    start, the log decays up to and including its own; one of an earlier half at its end, the log decays after its own.
    The sums never grow above 0, and a product with this matrix subtracts nothing, so no digits are lost.

    Returns:
        the matrix, ``[step]`` whether the step is of a later half, and ``[t, s]`` whether the two are such a pair.
    """
    rows = tl.arange(0, STEPS)
    half = rows >> level
    late = (half & 1) == 1
    same = half[:, None] == half[None, :]
    upto = rows[None, :] <= rows[:, None]
    summed = same & ((late[:, None] & upto) | ((late == 0)[:, None] & (upto == 0)))
    pair = ((half >> 1)[:, None] == (half >> 1)[None, :]) & late[:, None] & (late == 0)[None, :]
    return summed.to(tl.float32), late, pair
