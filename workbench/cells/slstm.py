"""sLSTM, the scalar memory of xLSTM (Beck et al. 2024, arXiv:2405.04517, equations 8 to 17)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import kernels, mixing
from workbench.cells.base import Cell, Gates, Hidden, Mask, Units, tanh_slope
from workbench.forms import DiagonalDecay
from workbench.memory import Memory

CLOSED = -1e4  # the input gate of a pad: no real one is anywhere near, so that the first token forgets the pads


class SLSTMCell(Cell):
    """``c = f c + i z``, ``n = f n + i``, ``h = o c / n``; gates stacked as i, f, z, o.

    The input gate is an exponential: state and normaliser are kept divided by ``exp(m)``, `m` a running maximum. The
    recurrent weights are block-diagonal, ``[heads, 4, size, size]``: units read the hidden state of their own head.
    """

    stacked = 4
    kept = ("hidden", "cell", "normaliser", "maximum")

    def gates(self, projected: Units, hidden: Hidden, mask: Mask | None, memory: Memory) -> Gates:
        heads = self.weights.recurrent.shape[0]
        recurrent = torch.einsum("bthu,hgvu->btghv", hidden.unflatten(-1, (heads, -1)), self.weights.recurrent)
        rest = recurrent.flatten(2)
        if self.weights.input_bias is not None:
            rest = rest + self.weights.input_bias
        (i, f, z, o), (rest_i, rest_f, rest_z, rest_o) = projected.chunk(4, -1), rest.chunk(4, -1)
        log_decay, log_write = F.logsigmoid(f + rest_f), i + rest_i
        if mask is not None:
            log_decay, log_write = log_decay * mask, torch.where(mask > 0, log_write, CLOSED)
        log_decay, write, maximum = mixing.stabilised(log_decay, log_write, memory.get("maximum"))
        write = write if mask is None else write * mask
        memory.set("maximum", maximum[:, -1])
        return Gates(
            candidate=z,
            rest=rest_z,
            slope=tanh_slope(z + rest_z),
            log_decay=log_decay,
            write=write,
            gate=torch.sigmoid(o + rest_o),
            read=_over(self._normaliser(log_decay, write, memory)),
        )

    def _normaliser(self, log_decay: Units, write: Units, memory: Memory) -> Units:
        """What the same recurrence makes of values that are all 1."""
        ones = torch.ones_like(write)[..., None]
        form = DiagonalDecay(ones[:, :, :1], ones[:, :, :1], ones, log_decay[..., None], write=write)
        counted, last = kernels.forward(form, memory.get("normaliser"))
        assert last is not None  # only softmax has no state
        memory.set("normaliser", last)
        return counted[..., 0]


def _over(normaliser: Tensor) -> Tensor:
    """One over it; 0 where nothing has been written yet (a row that begins with pads)."""
    empty = normaliser == 0
    return torch.where(empty, 0, 1 / torch.where(empty, 1, normaliser))
