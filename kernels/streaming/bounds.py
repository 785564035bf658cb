"""How much can be left to the left: certified bounds on the entries of A that a walk has not come to.

With `R` a query carried to a border and `F_s = w_s k_s`, an entry left of the border is ``R' M .. M_{s+1} F_s``, and so
at most ``|R| |M| .. |M_{s+1}| |F_s|`` in spectral norms. Summed over the sources left, that is `|R|` times a scan.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.delta.reference import operands
from workbench.kernels.forms import Delta, DiagonalDecay, Reader, ScalarDecay
from workbench.kernels.grouping import spread
from workbench.kernels.precision import sum_dtype
from workbench.kernels.scalar_decay.chunked import forward


def reach(form: Reader) -> Float[Tensor, "batch heads time"]:
    """``sum_{s <= t} |M_t| .. |M_{s+1}| |F_s|``: times ``|R|`` a bound on the mass of the sources up to t.

    Certified up to rounding. Of decays between 0 and 1 the largest is the norm; see `delta_norm` for the delta rule.
    Infinite or NaN where transitions grow without end; no comparison with it lets a walk stop.
    """
    wide = sum_dtype(form.v.device)
    size = spread(form.k.to(wide).norm(dim=-1), form.heads, dim=2)
    if form.write is not None:
        size = size * form.write.to(wide).abs()
    log_norm = log_norms(form, wide)
    one = torch.ones((), dtype=wide, device=form.v.device).expand(form.batch, form.time, 1, 1)
    return forward(ScalarDecay(one, one, size[..., None], log_norm))[0][..., 0].transpose(1, 2)


def log_norms(form: Reader, dtype: torch.dtype) -> Float[Tensor, "batch time heads"]:
    """Logs of bounds on the spectral norms of the transitions."""
    log_decay = form.log_decay.to(dtype)
    if isinstance(form, ScalarDecay):
        return log_decay
    if isinstance(form, DiagonalDecay):
        return (log_decay if form.rate is None else log_decay * form.rate.to(dtype)).amax(-1)
    return delta_norm(form, dtype).log()


def delta_norm(form: Delta, dtype: torch.dtype) -> Float[Tensor, "batch time heads"]:
    """A bound on the spectral norm of ``M = (I - e p') D``, the smaller of two.

    One is ``|I - e p'| max D`` with the exact norm of the first factor: 1 for a key of length one and a write of at
    most 2. The other is ``sqrt(|M|_1 |M|_inf)``, from the sums of the entries' magnitudes over columns and rows. It is
    the smaller one where `p` is a direction of the undecayed state (RWKV-7).
    """
    given = operands(form, dtype)
    decay = given.decay.expand_as(given.probe)
    e, p = given.erase, given.probe
    product, squares = (e * p).sum(-1), e.square().sum(-1) * p.square().sum(-1)
    total = 2 - 2 * product + squares  # of the two squared singular values that are not 1; their product follows
    root = (total.square() - 4 * (1 - product).square()).clamp(min=0).sqrt()
    factored = ((total + root) / 2).clamp(min=1).sqrt() * decay.amax(-1)
    reader = p * decay
    own = (decay - e * reader).abs() - (e * reader).abs()
    rows = (own + e.abs() * reader.abs().sum(-1, keepdim=True)).amax(-1)
    columns = (own + reader.abs() * e.abs().sum(-1, keepdim=True)).amax(-1)
    return torch.minimum(factored, (rows * columns).sqrt())
