"""Statistics of every layer and head of a model, from one forward pass that holds one mixer's tensors at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.attention.implicit import ImplicitAttention
from workbench.attention.padding import left_padding, without_padding
from workbench.attention.summaries import AttentionStatistics, MixerStatistics, averages
from workbench.errors import InputError
from workbench.kernels.streaming import Streamed
from workbench.kernels.streaming.result import planned, powers_of_two
from workbench.progress import tracked

if TYPE_CHECKING:
    from workbench.model import HookedModel

PATIENCE = 2.0  # seconds before a progress bar shows


@torch.no_grad()
def attention_statistics(
    model: HookedModel,
    tokens: Int[Tensor, "batch time"],
    mask: Int[Tensor, "batch time"] | None,
    reductions: Sequence[str],
    layers: Iterable[int] | None,
    mixer: int | None,
    scope: str,
    top: int,
    bins: Sequence[int] | None,
    per_token: bool,
    progress: bool,
) -> AttentionStatistics:
    """See `HookedModel.attention_statistics`."""
    length = tokens.shape[1]
    edges = powers_of_two(length) if bins is None else tuple(bins)
    try:
        planned(reductions, top, edges, 0.0, length)
    except ValueError as error:
        raise InputError(f"{error}.") from error
    pads = left_padding(mask, len(tokens))
    counted = torch.arange(length, device=tokens.device) >= torch.tensor(pads, device=tokens.device)[:, None]
    wanted = model.mixers_of(layers, mixer)
    found: list[MixerStatistics] = []
    runs = model.implicit_attentions(tokens, layers, scope, attention_mask=mask, mixer=mixer)  # type: ignore[arg-type]
    for layer, attention in tracked(runs, progress, "reading the layers", len(wanted)):
        adapter = model.mixer(layer, attention.mixer)
        whole = _reduced(attention, pads, reductions, top, edges)
        found.append(
            MixerStatistics(
                layer=layer,
                mixer=attention.mixer,
                family=adapter.family,
                unit=attention.unit,
                averages=averages(whole, counted),
                histogram=None if whole.histogram is None else whole.histogram.sum(0),
                tokens=_kept(whole) if per_token else None,
            )
        )
    return AttentionStatistics(model.cfg.model_name, attention.scope, tuple(reductions), counted, edges, tuple(found))


def _reduced(
    attention: ImplicitAttention, pads: list[int], reductions: Sequence[str], top: int, edges: tuple[int, ...]
) -> Streamed:
    """The reductions of the whole batch; pads are neither rows nor sources."""
    if not any(pads):
        return attention.reduced(reductions, top=top, bins=edges)
    batch, _, length, _ = attention.shape
    whole: dict[str, Tensor] = {}
    for count in sorted(set(pads)):
        rows = [row for row, own in enumerate(pads) if own == count]
        form = without_padding(attention.form, rows, count)
        part = ImplicitAttention(form, attention.scope, attention.layer, attention.mixer)
        done = part.reduced(reductions, top=top, bins=edges)
        for field in fields(Streamed):
            value = getattr(done, field.name)
            if value is None or field.name == "edges":
                continue
            if field.name == "top_sources":
                value = torch.where(value >= 0, value + count, -1)
            timeless = field.name == "histogram"
            if field.name not in whole:
                shape = (batch, *value.shape[1:]) if timeless else (batch, length, *value.shape[2:])
                nothing: float = torch.nan if value.is_floating_point() else -1
                whole[field.name] = value.new_full(shape, nothing)
            whole[field.name][rows, 0 if timeless else count :] = value
    return Streamed(**whole)


def _kept(found: Streamed) -> Streamed:
    """The same, without memory for what is alike at every token: nothing is missed, a mass may not be computed."""
    missed = found.missed.new_zeros(()).expand_as(found.missed)
    computed = not bool(found.mass.isnan().all())
    mass = found.mass if computed else found.mass.new_full((), torch.nan).expand_as(found.mass)
    return replace(found, missed=missed, mass=mass)
