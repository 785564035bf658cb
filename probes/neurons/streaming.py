"""One pass over a corpus that shows every unit of some hooks, a batch of windows at a time, and keeps none of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.probes.linear.places import At, Place, places
from workbench.probes.neurons.corpus import Corpus, windows

Units = Float[Tensor, "windows time units"]


def unit_places(model: HookedModel, at: At, layers: Sequence[int] | int | None) -> list[Place]:
    """As `workbench.probes.linear.places`, without states, which have no time axis to stream along.

    Raises:
        InputError: some heads of a hook; a state: an LSTM's cell is ``mixer.hook_z``, what it writes
            ``mixer.hook_head_out``.
    """
    found = places(model, at, layers)
    for place in found:
        if place.heads is not None:
            raise InputError(f"{place.hook} is a part of {place.name}, whose units are counted together; give that.")
        if model.points[place.name].per_step:
            raise InputError(
                f"{place.name} is read one step at a time; the units that a mixer reads from its state are "
                f"{place.name.replace('hook_state', 'hook_z')}."
            )
    return found


def stream_units(
    model: HookedModel, corpus: Corpus, names: Sequence[str], batch: int = 8, progress: bool = False
) -> Iterator[tuple[slice, dict[str, Units]]]:
    """Yield which windows, and each hook's values as ``[windows, time, units]`` in float32, heads flattened.

    Columns that are not text are left out.
    """
    stop = None
    if all(name.startswith("blocks.") for name in names):
        after = 1 + max(model.points[name].layer() for name in names)
        stop = after if after < model.cfg.n_layers else None
    for part in windows(corpus, batch, progress, "reading the corpus"):
        seen: dict[str, Units] = {}

        def keep(tensor: Tensor, hook: HookPoint, seen: dict[str, Units] = seen) -> None:
            seen[hook.name] = tensor.detach()[:, corpus.first :].flatten(2).float().cpu()

        with torch.no_grad():
            hooks = [(name, keep) for name in names]
            tokens = corpus.tokens[part].to(model.cfg.device)
            model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None, stop_at_layer=stop)
        yield part, {name: _three(seen[name]) for name in names}


def _three(values: Tensor) -> Units:
    """One unit a token (a write per head of one head) still has an axis of units."""
    return values if values.dim() == 3 else values[..., None]
