"""Which hook points are probed: short names and layers to canonical names, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.arguments import checked_call
from workbench.cache import ActivationCache
from workbench.errors import InputError
from workbench.model import HookedModel


@dataclass(frozen=True)
class Place:
    """One hook point: the name it was asked for by, its layer (None outside the blocks), its canonical name."""

    hook: str
    layer: int | None
    name: str


@checked_call
def places(model: HookedModel, hooks: str | Sequence[str], layers: Sequence[int] | int | None = None) -> list[Place]:
    """The hook points that short names and layers mean, hook by hook and layer by layer.

    Args:
        hooks: short names (``"resid_post"``, ``"z"``, ``"state"``), tails (``"mixer.hook_out"``, ``"mlp.hook_post"``)
            or whole names (``"blocks.2.hook_resid_mid"``, ``"hook_embed"``).
        layers: which layers of short names and tails; None for every layer that has the hook.

    Raises:
        InputError: a hook or a layer given twice, or none; a hook without a time axis that is no state.
        HookNameError: a name that no asked-for layer has.
    """
    asked = [hooks] if isinstance(hooks, str) else list(hooks)
    if not asked:
        raise InputError("There is no hook to probe: the list is empty.")
    numbers = None if layers is None else _checked(model, [layers] if isinstance(layers, int) else list(layers))
    table = ActivationCache({}, model.points, model.cfg.n_layers)
    found: list[Place] = []
    for hook in asked:
        if hook.startswith(("blocks.", "hook_embed", "hook_pos_embed", "ln_final.", "hook_logits")) or hook == "embed":
            name = model.points[table.name_of((hook,)) if hook == "embed" else hook].name
            found.append(Place(hook, model.points[name].layer() if name.startswith("blocks.") else None, name))
            continue
        listed = range(model.cfg.n_layers) if numbers is None else numbers
        names = {i: table.name_of(f"blocks.{i}.{hook}" if "hook_" in hook else (hook, i)) for i in listed}
        there = {i: name for i, name in names.items() if name in model.points}
        if not there or (numbers is not None and len(there) < len(names)):
            model.points[next(name for name in names.values() if name not in model.points)]  # refuses, with the nearest
        found.extend(Place(hook, i, name) for i, name in there.items())
    seen: dict[str, Place] = {}
    for place in found:
        if place.name in seen:
            raise InputError(f"{place.name} is given twice; each place is probed once.")
        seen[place.name] = place
        axes = model.points[place.name].axes
        if axes[:2] != ("batch", "time") and not model.points[place.name].per_step:
            raise InputError(f"{place.name} has the axes [{', '.join(axes)}]; a probe reads one vector a token.")
    return found


def _checked(model: HookedModel, layers: list[int]) -> list[int]:
    if not layers:
        raise InputError("There is no layer to probe: the list is empty.")
    numbers = [model.layer_index(layer) for layer in layers]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise InputError(f"Layer {twice} is given twice; each layer is probed once.")
    return numbers
