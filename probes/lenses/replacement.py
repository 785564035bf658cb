"""A linear map in the place of a mixer or an MLP, position by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.families.tracing import tensor_read
from workbench.probes.lenses.least_squares import AffineMap, LeastSquares
from workbench.probes.lenses.residuals import sequences_at_once

if TYPE_CHECKING:
    from workbench.hooks import HookPoint
    from workbench.model import HookedModel


@dataclass(frozen=True)
class LinearReplacement:
    """What a mixer or an MLP writes, guessed from what it reads at the same token.

    Attributes:
        layer: which block.
        part: ``"mixer"`` (``"mixer1"`` for the second of a block with several) or ``"mlp"``.
        map: from what the part reads (behind its norm) to what it adds to the residual stream.
    """

    layer: int
    part: str
    map: AffineMap


@checked_call
def fit_replacement(
    model: HookedModel,
    tokens: Int[Tensor, "sequences time"],
    layer: int,
    part: str = "mixer",
    *,
    bias: bool = False,
    ridge: float = 0.0,
) -> LinearReplacement:
    """Fit the linear map of least squared error from a part's input to its output (Din et al. 2023, section 5).

    A mixer that is replaced reads no other token any more. The norm before the part stays.

    Args:
        tokens: sequences without padding.
        layer, part: see `LinearReplacement`.
        bias: with a constant; the paper has none.
        ridge: see `LeastSquares.solve`.

    Raises:
        InputError: no such layer or part, or an MLP whose input no module reads as a whole.
    """
    layer = model.layer_index(layer)
    written = _written(model, layer, part)
    sums: LeastSquares | None = None
    latest: list[Tensor] = []

    def keep(tensor: Tensor) -> None:
        latest[:] = [tensor.detach()]

    def take(tensor: Tensor, hook: HookPoint) -> None:
        nonlocal sums
        x, y = latest[0].reshape(-1, latest[0].shape[-1]), tensor.reshape(-1, tensor.shape[-1])
        sums = sums or LeastSquares(x.shape[-1], y.shape[-1], x.device)
        sums.add(x, y.detach())

    rows, _ = model.prepared(tokens, None)
    size = sequences_at_once(model, rows.shape[1])
    with torch.no_grad(), _reading(model, layer, part, keep), model.hooks(fwd_hooks=[(written, take)]):
        for start in range(0, len(rows), size):
            model(rows[start : start + size], stop_at_layer=layer + 1)
    assert sums is not None  # a hook that never fires is an error of its own
    return LinearReplacement(layer, part, sums.solve(bias=bias, ridge=ridge))


@checked_call
@contextmanager
def replaced(model: HookedModel, *replacements: LinearReplacement) -> Iterator[HookedModel]:
    """Let linear maps write in the place of mixers and MLPs for the duration of a ``with`` block.

    Raises:
        InputError: a part is replaced twice, or the model does not have it.
    """
    places = [(one.layer, one.part) for one in replacements]
    if len(set(places)) < len(places):
        raise InputError(f"A part is replaced twice: {places}.")
    with ExitStack() as stack:
        hooks = []
        for one in replacements:
            latest: list[Tensor] = []

            def keep(tensor: Tensor, latest: list[Tensor] = latest) -> None:
                latest[:] = [tensor]

            def write(
                tensor: Tensor, hook: HookPoint, one: LinearReplacement = one, latest: list[Tensor] = latest
            ) -> Tensor:
                return one.map(latest.pop()).reshape(tensor.shape).to(tensor.dtype)

            stack.enter_context(_reading(model, one.layer, one.part, keep))
            hooks.append((_written(model, one.layer, one.part), write))
        stack.enter_context(model.hooks(fwd_hooks=hooks))
        yield model


def _written(model: HookedModel, layer: int, part: str) -> str:
    """The hook point of what a part adds to the residual stream. Raises InputError where there is none."""
    name = f"blocks.{layer}.hook_mlp_out" if part == "mlp" else f"blocks.{layer}.{part}.hook_out"
    if name not in model.hook_names:
        raise InputError(f"Layer {layer} of {model.cfg.model_name} has no part {part!r} that writes to the stream.")
    return name


@contextmanager
def _reading(model: HookedModel, layer: int, part: str, keep: Callable[[Tensor], None]) -> Iterator[None]:
    """Show `keep` what a part reads."""
    if part != "mlp":

        def read(tensor: Tensor, hook: HookPoint) -> None:
            keep(tensor)

        with model.hooks(fwd_hooks=[(f"blocks.{layer}.{part}.hook_in", read)]):
            yield
        return

    def at_input(module: nn.Module, args: Any, kwargs: Any) -> None:
        tensor = tensor_read(args, kwargs)
        assert tensor is not None  # the layout was found by watching this very argument
        keep(tensor)

    handle = _mlp(model, layer).register_forward_pre_hook(at_input, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _mlp(model: HookedModel, layer: int) -> nn.Module:
    """The module that reads an MLP's input and writes its output. Raises InputError where no module is the whole MLP.

    What writes to the stream may be a norm behind the MLP or its output matrix alone, whose input is not the MLP's.
    """
    block = model.layout.blocks[layer]
    out, post = block.mlp_out, block.mlp_post
    inside = set() if out is None else set(out.module.modules()) - {out.module}
    if out is None or post is None or post.module not in inside or out.also:
        raise InputError(
            f"The MLP of layer {layer} of {model.cfg.model_name} is no module of its own that reads and writes, "
            "so no map can take its place."
        )
    return out.module
