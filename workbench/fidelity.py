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
from workbench.model import HookedModel
from workbench.stock import StockCall, positions

# Largest difference over largest entry. Half precision rounds each of many sums; the mixers here keep float32 inside.
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
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

    Args:
        tolerance: largest error allowed; None takes 1e-4 in float32 and float64, 1e-2 in float16, 5e-2 in bfloat16.

    Raises:
        FidelityError: the error is beyond the tolerance; names the first layer that is off.
    """
    limit = TOLERANCE.get(model.cfg.dtype, 1e-4) if tolerance is None else tolerance
    with torch.no_grad():
        logits, cache = model.run_with_cache(stock.tokens, "hook_resid_post", attention_mask=stock.mask)
    real = stock.mask.bool()
    error = _relative_error(logits, stock.logits, real)
    if error <= limit:
        return error
    layers = [
        (layer, _relative_error(ours, theirs, real))
        for layer, (ours, theirs) in enumerate(zip(cache.values(), stock.residuals, strict=bool(stock.residuals)))
    ]
    where, size = next(((layer, off) for layer, off in layers if not off <= limit), (None, error))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch"))
    first = "the logits" if where is None else f"layer {where} ({_mixer_classes(model, where)})"
    raise FidelityError(
        f"The hooked {model.cfg.architecture} differs from the stock one, first in {first}: relative error {size:.1e}, "
        f"allowed {limit:.0e} ({versions}); this version's mixer is not what the adapter computes."
    )


def _mixer_classes(model: HookedModel, layer: int) -> str:
    block = model.layout.blocks[layer]
    return " and ".join(type(mixer.adapter.module).__name__ for mixer in block.mixers) or type(block.block).__name__


def _relative_error(ours: Tensor, theirs: Tensor, real: Tensor) -> float:
    ours, theirs = ours[real].double(), theirs[real].double()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
