"""Stopping a forward pass at the first number that is not one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from workbench.errors import NotFiniteError
from workbench.hooks import HookPoint, HookPoints

TIMES = ("time", "source")
"""Names of the axis after the batch that counts tokens: of what reads, and of what is read."""


@contextmanager
def stopping_where_not_finite(points: HookPoints) -> Iterator[None]:
    """See `RunnableModel.debug_nans`."""
    names = [name for name, point in points.items() if point.axes[1] in TIMES and not point.on_request]
    with points.attached([(names, _look)], must_fire=False):
        yield


def _look(tensor: Tensor, hook: HookPoint) -> None:
    # A log decay of -inf is a reset, and as good as any other number.
    good = tensor < torch.inf if hook.name.endswith("hook_log_decay") else tensor.isfinite()
    if good.all():
        return
    wrong = ~good.flatten(2).all(-1)
    step = int(wrong.any(0).nonzero()[0])
    sequence = int(wrong[:, step].nonzero()[0])
    what = "NaN" if tensor.isnan().any() else "infinite"
    where = f"layer {hook.layer()}" if hook.name.startswith("blocks.") else "outside the layers"
    raise NotFiniteError(
        f"{hook.name} ({where}) is {what}, first at step {step} of sequence {sequence}; every hook point that fired "
        "before it held finite numbers."
    )
