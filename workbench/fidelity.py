"""The load-time check: the hooked model must compute what the stock one computes.

This is what makes the wrapper survive changes of the wrapped library: a mixer that was rewritten upstream is refused
with the layer, the error and both versions, and not studied in good faith.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import FidelityError, LoadError
from workbench.families.layouts import find_blocks
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.stock import StockCall, positions

# Largest difference over largest entry. Half precision rounds each of many sums; the mixers here keep float32 inside.
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# The part of the tolerance that one block may use up on the stock model's own input, where no block before it has
# amplified anything; half precision rounds as much within a block as over all of them.
SHARE, SHARE_OF_HALF = 0.1, 1.0
BATCH, TIME, PADDED = 2, 12, 4


@dataclass(frozen=True)
class StockRun:
    """What the stock model made of a short random batch.

    Its second row is padded on the left, unless the stock model gives NaN there (eager attention in float64 does).

    Attributes:
        residuals: output of every block; none for a stack of recurrent layers in one module.
    """

    tokens: Int[Tensor, "batch time"]
    mask: Int[Tensor, "batch time"]
    residuals: list[Float[Tensor, "batch time d_model"]]
    logits: Float[Tensor, "batch time vocab"]


def stock_run(module: nn.Module, vocabulary: int, device: torch.device | str) -> StockRun:
    """Run a module that is in evaluation mode and not hooked.

    Raises:
        LoadError: its logits are not finite even without padding.
    """
    blocks, _ = find_blocks(module)
    residuals: list[Tensor] = []

    def keep(block: nn.Module, args: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        assert isinstance(first, Tensor)
        residuals.append(first)

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, vocabulary, (BATCH, TIME), generator=generator).to(device)
    mask = torch.ones_like(tokens)
    mask[1, :PADDED] = 0
    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        with torch.no_grad():
            logits = StockCall(module)(tokens, mask, positions(mask)).logits
            if not torch.isfinite(logits[mask.bool()]).all():
                residuals.clear()
                mask = torch.ones_like(tokens)
                logits = StockCall(module)(tokens).logits
    finally:
        for handle in handles:
            handle.remove()
    if not torch.isfinite(logits).all():
        raise LoadError(f"The stock {type(module).__name__} itself gives NaN or infinity on a short random batch.")
    return StockRun(tokens, mask, residuals, logits)


def check_fidelity(model: HookedModel, stock: StockRun, tolerance: float | None = None) -> float:
    """Relative error of the hooked logits; padding is not compared.

    A deep model with random weights amplifies rounding from block to block, until two correct computations differ by
    more than any sensible tolerance. So where the logits differ, every block is asked again on the stock model's own
    input, and the model is refused when one of them, or what follows the last, is off by more than a tenth of the
    tolerance (in half precision, by more than all of it).

    Args:
        tolerance: largest error allowed; None takes 1e-4 in float32 and float64, 1e-2 in float16, 5e-2 in bfloat16.

    Raises:
        FidelityError: the error is beyond the tolerance; names the first layer that is off.
    """
    limit = TOLERANCE.get(model.cfg.dtype, 1e-4) if tolerance is None else tolerance
    with torch.no_grad():
        logits = model(stock.tokens, attention_mask=stock.mask)
    error = _relative_error(logits, stock.logits, stock.mask.bool())
    if error <= limit:
        return error
    errors: dict[int | None, float] = {None: error}
    allowed = limit
    if stock.residuals:
        errors = _local_errors(model, stock)
        allowed *= SHARE_OF_HALF if model.cfg.dtype in (torch.float16, torch.bfloat16) else SHARE
    off = next(((layer, size) for layer, size in errors.items() if not size <= allowed), None)
    if off is None:
        return error
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch"))
    first = "the logits" if off[0] is None else f"layer {off[0]} ({_mixer_classes(model, off[0])})"
    raise FidelityError(
        f"The hooked {model.cfg.architecture} differs from the stock one, first in {first}: relative error "
        f"{off[1]:.1e}, allowed {allowed:.0e} ({versions}); this version's mixer is not what the adapter computes."
    )


def _local_errors(model: HookedModel, stock: StockRun) -> dict[int | None, float]:
    """Error of each block on the stock model's input to it, by layer; None is what follows the last block."""
    made: dict[int, Tensor] = {}

    def keep(tensor: Tensor, hook: HookPoint) -> Tensor:
        made[hook.layer()] = tensor
        return stock.residuals[hook.layer()].to(tensor)

    hooks = [(f"blocks.{layer}.hook_resid_post", keep) for layer in range(model.cfg.n_layers)]
    with torch.no_grad():
        logits = model.run_with_hooks(stock.tokens, fwd_hooks=hooks, attention_mask=stock.mask)
    real = stock.mask.bool()
    errors: dict[int | None, float] = {
        layer: _relative_error(made[layer], theirs, real) for layer, theirs in enumerate(stock.residuals)
    }
    return errors | {None: _relative_error(logits, stock.logits, real)}


def _mixer_classes(model: HookedModel, layer: int) -> str:
    block = model.layout.blocks[layer]
    return " and ".join(type(mixer.adapter.module).__name__ for mixer in block.mixers) or type(block.block).__name__


def _relative_error(ours: Tensor, theirs: Tensor, real: Tensor) -> float:
    ours, theirs = ours[real].double(), theirs[real].double()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
