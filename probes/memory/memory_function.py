"""The memory function: how strongly an output still depends on an input `k` steps before it.

``rho(k) = |d y_T / d x_(T-k)|``, by autograd through everything: gates, erasure, other layers. Wang, Li and Li (2023,
"Inverse Approximation Theory for Nonlinear Recurrent Neural Networks", arXiv:2305.19190) take how fast the response to
a constant input still moves after `k` steps; for a linear recurrence both are ``|C A^k B|``, for others this one is
local, about the text that was read. The linear counterpart, gates and patterns held fixed, is implicit attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.tasks import bootstrap_means
from workbench.wrapping import Mask, ModelInput, whole_number


@checked_call
def memory_function(
    model: HookedModel,
    input: ModelInput,
    *,
    layer: int | None = None,
    mixer: int = 0,
    lags: Sequence[int] | None = None,
    probes: int | None = 8,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """``|d y_T / d x_(T-k)|`` at the last token `T`, in Frobenius norm, for each lag `k`.

    Of the whole model `y` is the last residual stream and `x` the embedding; of one layer, what its mixer writes and
    what it reads, which leaves the other layers out. The norm is estimated without bias with random vectors ``u`` of
    independent normal numbers, ``E |J' u|^2 = |J|_F^2``, in one backward pass a probe for all lags at once.

    Args:
        input: text or tokens of one length; pads are refused.
        layer: None for the whole model.
        mixer: which of the layer's mixers.
        lags: in tokens; None for all from 0 to the length less one.
        probes: random vectors; the relative error of a norm falls with the root of their number. None takes each
            dimension of `y` in turn, which is exact.
        seed: of the probes.
        level: coverage of the intervals, a bootstrap over sequences (NaN for a single one).
        progress: show a progress bar.

    Returns:
        One row a lag: ``lag``, ``value`` (mean over sequences), ``low``, ``high``, ``relative`` (to the first lag).

    Raises:
        InputError: a lag, layer or mixer out of range, sequences of different lengths, or no probe.
    """
    tokens = _unpadded(model, input)
    wanted = _lags(lags, tokens.shape[1])
    if probes is not None and whole_number("probes", probes) < 1:
        raise InputError(f"probes is {probes}; at least one random vector is needed.")
    if layer is None:
        source, target = "hook_embed", f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
        stop: int | None = None
    else:
        adapter = model.mixer(layer, mixer)
        source, target = (f"blocks.{adapter.layer}.{adapter.part}.hook_{end}" for end in ("in", "out"))
        stop = adapter.layer + 1
    kept: dict[str, Tensor] = {}

    def cut(tensor: Tensor, hook: HookPoint) -> Tensor:
        # A leaf of its own: nothing before it takes part in the backward pass.
        kept["x"] = tensor.detach().requires_grad_()
        return kept["x"]

    def keep(tensor: Tensor, hook: HookPoint) -> None:
        kept["y"] = tensor

    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        model.run_with_hooks(tokens, fwd_hooks=[(source, cut), (target, keep)], return_type=None, stop_at_layer=stop)
        last = kept["y"][:, -1]
        squares = torch.zeros(len(tokens), len(wanted), dtype=torch.float64)
        vectors = _vectors(last, probes, generator)
        for number, vector in enumerate(tracked(vectors, progress, "pulling random vectors back")):
            (pulled,) = torch.autograd.grad(last, kept["x"], vector, retain_graph=number < len(vectors) - 1)
            squares += pulled.flip(1)[:, wanted].double().square().sum(-1).cpu()
    if probes is not None:
        squares /= probes
    return _table(wanted, squares.sqrt(), level)


@checked_call
@torch.no_grad()
def linear_memory(
    model: HookedModel,
    input: ModelInput,
    layer: int,
    *,
    mixer: int = 0,
    lags: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    scope: str = "core",
    level: float = 0.95,
) -> pd.DataFrame:
    """``|A[T, T - k]|`` of one layer's implicit attention at the last token, root mean square over its heads.

    For an ungated linear recurrence that is the whole memory function of a scalar value, ``|C A^k B|``.

    Args:
        lags, level: as in `memory_function`.
        heads: which heads (channels in mixer scope); all by default.
        scope: ``"core"`` for the recurrence or softmax alone, ``"mixer"`` for convolution, gate and skip as well.

    Returns:
        As `memory_function`.

    Raises:
        InputError: a lag, layer, mixer, head or scope out of range, or sequences of different lengths.
    """
    tokens = _unpadded(model, input)
    wanted = _lags(lags, tokens.shape[1])
    attention = model.implicit_attention(tokens, layer, scope, mixer=mixer)  # type: ignore[arg-type]
    last = tokens.shape[1] - 1
    entries = attention.pairs([last] * len(wanted), [last - lag for lag in wanted], heads)
    return _table(wanted, entries.double().square().mean(1).sqrt().cpu(), level)


def _unpadded(model: HookedModel, input: ModelInput, attention_mask: Mask = None) -> Int[Tensor, "batch time"]:
    tokens, mask = model.prepared(input, attention_mask)
    if mask is not None:
        raise InputError("The memory function counts lags from the last token; give sequences of one length, unpadded.")
    return tokens


def _lags(lags: Sequence[int] | None, time: int) -> list[int]:
    wanted = list(range(time)) if lags is None else [whole_number("lag", lag) for lag in lags]
    if not wanted or min(wanted) < 0 or max(wanted) >= time:
        raise InputError(f"A text of {time} tokens has lags from 0 to {time - 1}, and at least one is needed.")
    if sorted(set(wanted)) != wanted:
        raise InputError(f"Lags are listed once each, in increasing order; got {wanted}.")
    return wanted


def _table(lags: list[int], values: Float[Tensor, "batch lags"], level: float) -> pd.DataFrame:
    mean, low, high = bootstrap_means(values, level=level)
    first = mean[0] if mean[0] > 0 else torch.tensor(float("nan"))
    numbers = {"value": mean, "low": low, "high": high, "relative": mean / first}
    return pd.DataFrame({"lag": lags, **{name: column.tolist() for name, column in numbers.items()}})


def _vectors(
    last: Float[Tensor, "batch width"], probes: int | None, generator: torch.Generator
) -> Sequence[Float[Tensor, "batch width"]]:
    """What is pulled back: random vectors, or each dimension of the output."""
    if probes is None:
        return [*torch.eye(last.shape[1]).to(last)[:, None].expand(-1, len(last), -1)]
    return [torch.randn(last.shape, generator=generator, dtype=torch.float64).to(last) for _ in range(probes)]
