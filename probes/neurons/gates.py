"""Gate saturation: how often gates are shut or wide open (Karpathy et al. 2015, section 4.2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.places import Place, places
from workbench.probes.neurons.corpus import Corpus
from workbench.probes.neurons.streaming import stream_units
from workbench.tasks.intervals import bootstrap_means

# Hook -> what its gate is called. A decay is shown as the logarithm of the factor that the state is multiplied with.
GATES = {"log_decay": "forget", "write": "input", "gate": "output"}


@checked_call
def gate_saturation(
    model: HookedModel,
    corpus: Corpus,
    layers: Sequence[int] | int | None = None,
    *,
    shut: float = 0.1,
    open: float = 0.9,
    batch: int = 8,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """How often each unit of each gate is left-saturated (below `shut`) and right-saturated (above `open`).

    Gates are what scales a memory (forget: ``exp(hook_log_decay)``), what is written into it (input: ``hook_write``)
    and what is read from it (output: ``hook_gate``), of an LSTM, a GRU and every gated family alike. Only what stays
    between 0 and 1 over the whole corpus is a gate in this sense: a SiLU gate or a step size leaves that range, and its
    hook is left out. A GRU's reset gate has no hook of its own, since it acts inside the candidate.

    Returns:
        One row a unit: ``layer``, ``gate``, ``hook``, ``unit``, ``mean``, ``left`` and ``right`` (shares of tokens)
        with intervals over windows (``left_low``, ...).

    Raises:
        InputError: no layer has such a gate, or limits that are none.
    """
    if not 0 <= shut < open <= 1:
        raise InputError(f"A gate is shut below {shut} and open above {open}; 0 <= shut < open <= 1 is needed.")
    wanted = _gates(model, layers)
    lists: dict[str, list[Tensor]] = {place.name: [] for place, _ in wanted}
    outside: set[str] = set()
    logarithms = {place.name for place, gate in wanted if gate == "forget"}
    for _, values in stream_units(model, corpus, list(lists), batch, progress):
        for name, raw in values.items():
            gate = raw.exp() if name in logarithms else raw
            if bool(((gate < -1e-6) | (gate > 1 + 1e-6)).any()):
                outside.add(name)
            shares = [gate.mean(1), (gate < shut).float().mean(1), (gate > open).float().mean(1)]
            lists[name].append(torch.stack(shares, dim=1))
    frames = []
    for place, gate_name in wanted:
        if place.name in outside:
            continue
        by_window = torch.cat(lists[place.name])
        columns: dict[str, object] = {
            "layer": place.layer,
            "gate": gate_name,
            "hook": place.name,
            "unit": np.arange(by_window.shape[2]),
            "mean": by_window[:, 0].double().mean(0).numpy(),
        }
        for number, side in ((1, "left"), (2, "right")):
            found = bootstrap_means(by_window[:, number], level=level, units="windows of text")
            columns |= {side: found.mean.numpy(), f"{side}_low": found.low.numpy(), f"{side}_high": found.high.numpy()}
        frames.append(pd.DataFrame(columns))
    if not frames:
        raise InputError(
            f"No gate of {model.cfg.model_name} stays between 0 and 1 in these layers: "
            f"{', '.join(sorted(outside))} leave that range."
        )
    return pd.concat(frames, ignore_index=True)


@checked_call
def saturated_units(table: pd.DataFrame, share: float = 0.5) -> pd.DataFrame:
    """Of each layer's gate, how many units are left- and right-saturated at more than that share of the tokens.

    Returns:
        One row a layer and gate: ``layer``, ``gate``, ``units``, ``mean``, ``left`` and ``right`` (shares of tokens,
        averaged over units), ``mostly_left``, ``mostly_right`` (numbers of units).
    """
    rows = [
        {
            "layer": layer,
            "gate": gate,
            "units": len(part),
            "mean": part["mean"].mean(),
            "left": part["left"].mean(),
            "right": part["right"].mean(),
            "mostly_left": int((part["left"] > share).sum()),
            "mostly_right": int((part["right"] > share).sum()),
        }
        for (layer, gate), part in table.groupby(["layer", "gate"], sort=False)
    ]
    return pd.DataFrame(rows)


def _gates(model: HookedModel, layers: Sequence[int] | int | None) -> list[tuple[Place, str]]:
    """The hooks of every mixer that may show gates."""
    listed = None if layers is None else {place.layer for place in places(model, "resid_post", layers)}
    found = []
    for adapter in model.mixers:
        if listed is not None and adapter.layer not in listed:
            continue
        for local, gate in GATES.items():
            point = adapter.points.get(f"hook_{local}")
            if point is not None:
                found.append((Place(f"{adapter.part}.hook_{local}", adapter.layer, point.name), gate))
    if not found:
        raise InputError(f"The mixers of {model.cfg.model_name} have no gates in these layers.")
    return found
