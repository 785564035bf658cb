"""What a recurrent model keeps of a text: how much after each token, for how long, and what the state looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from workbench import at_steps
from workbench.app.views.scripts import script
from workbench.families.base import MixerAdapter, unit_name
from workbench.figures import plain_layout
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.probes.memory import cache_bytes, gate_half_lives, state_sizes

MOST_STEPS = 512
"""Tokens after which states are read: of a longer text, as many evenly spread."""

MOST_ROWS = 96
"""Heads or channels that a picture shows: of more, those with the largest states."""

ENDLESS = 1e6
"""Tokens of a half-life beyond which a head is said never to forget."""

MOST_DOTS = 3000
"""Dots drawn as shapes; more are drawn as pixels, which stay quick."""

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#AA4499", "#7F7F7F")
"""Of layers; with more layers they come again, dashed."""


def recurrent_mixers(model: HookedModel) -> dict[int, MixerAdapter]:
    """The mixer of each layer that keeps a recurrent state: the first, where a layer has several."""
    found: dict[int, MixerAdapter] = {}
    for mixer in model.mixers:
        if "hook_state" in mixer.points:
            found.setdefault(mixer.layer, mixer)
    return found


@dataclass(frozen=True)
class Norms:
    """How large states are after each token.

    Attributes:
        tokens: text of every token of the prompt.
        steps: the tokens after which states were read.
        heads: Frobenius norm of each head's state, by layer, ``[heads, steps]``.
        keeps: what every mixer remembers: `state_sizes`.
        cache: bytes that the model holds in fact after the prompt.
        mixers: which of its layer's mixers keeps the state, by layer.
        units: what a head of it is called, ``"head"`` or ``"channel"``, by layer.
    """

    tokens: list[str]
    steps: list[int]
    heads: Mapping[int, Float[np.ndarray, "heads steps"]]
    keeps: pd.DataFrame
    cache: int
    mixers: Mapping[int, int]
    units: Mapping[int, str]

    @property
    def unit(self) -> str:
        """What a head of any layer is called."""
        return "channel" if set(self.units.values()) == {"channel"} else "head"

    @property
    def layers(self) -> Mapping[int, Float[np.ndarray, " steps"]]:
        """Norm of the whole state of each layer."""
        return {layer: np.sqrt(np.square(norms).sum(0)) for layer, norms in self.heads.items()}


def state_norms(model: HookedModel, prompt: str) -> Norms:
    """Norms of all recurrent states, from one pass that keeps none of them."""
    tokens = model.to_tokens(prompt)
    time = tokens.shape[1]
    steps = np.unique(np.linspace(0, time - 1, min(time, MOST_STEPS)).round().astype(int)).tolist()
    mixers = recurrent_mixers(model)
    found: dict[int, list[Tensor]] = {layer: [] for layer in mixers}
    layers = {mixer.points["hook_state"].name: layer for layer, mixer in mixers.items()}

    def note(state: Tensor, hook: HookPoint) -> None:
        found[layers[hook.name]].append(state[0].float().flatten(1).norm(dim=1).cpu())

    if mixers:
        with torch.no_grad():
            model.run_with_hooks(tokens, fwd_hooks=[(name, at_steps(note, steps)) for name in layers], return_type=None)
    return Norms(
        tokens=list(model.to_str_tokens(tokens[0])),
        steps=steps,
        heads={layer: torch.stack(norms, dim=1).numpy() for layer, norms in found.items()},
        keeps=state_sizes(model, [time]),
        cache=cache_bytes(model, tokens),
        mixers={layer: mixer.index for layer, mixer in mixers.items()},
        units={layer: unit_name([mixer]) for layer, mixer in mixers.items()},
    )


def state_norms_code(model: str, prompt: str, layer: int, mixer: int = 0) -> str:
    """Python for the norms of one layer."""
    return script(
        model,
        prompt,
        f"states = model.recurrent_states(tokens, layer={layer}{_of(mixer)})[0]  # [time, heads, key, value]\n"
        "heads = states.flatten(2).norm(dim=-1).T  # [heads, time]\n"
        "whole = states.flatten(1).norm(dim=-1)  # [time]",
    )


def norms_figure(norms: Norms) -> go.Figure:
    """A line a layer: the norm of its state after each token."""
    figure = go.Figure()
    for place, (layer, values) in enumerate(norms.layers.items()):
        dash = ("solid", "dash", "dot")[place // len(LINES) % 3]
        figure.add_scatter(
            x=norms.steps,
            y=values,
            mode="lines",
            name=f"layer {layer}",
            line={"color": LINES[place % len(LINES)], "dash": dash, "width": 1.8},
            hovertemplate=f"layer {layer}, token %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    largest = [float(values.max()) for values in norms.layers.values() if values.max() > 0]
    apart = bool(largest) and max(largest) > 30 * min(largest)  # on one linear scale the small ones would be flat
    figure.update_layout(
        **plain_layout(),
        height=340,
        xaxis={"title": "position in the text (tokens)", "gridcolor": "rgba(128,128,128,0.25)", "automargin": True},
        yaxis={
            "title": "norm of the state",
            "gridcolor": "rgba(128,128,128,0.25)",
            **({"type": "log", "dtick": 1} if apart else {"rangemode": "tozero"}),
        },
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def largest_heads(norms: Float[np.ndarray, "heads steps"], also: int | None = None, most: int = MOST_ROWS) -> list[int]:
    """Heads that a picture has room for, by number: all of them, or those whose state is ever largest, and `also`."""
    if len(norms) <= most:
        return list(range(len(norms)))
    order = np.argsort(-norms.max(axis=1), kind="stable").tolist()
    kept = order[:most] if also is None or also in order[:most] else [*order[: most - 1], also]
    return sorted(kept)


# ---- for how long


def half_lives(model: HookedModel, prompt: str) -> pd.DataFrame:
    """`gate_half_lives` of the layers with a recurrent state."""
    return gate_half_lives(model, model.to_tokens(prompt), layers=sorted(recurrent_mixers(model)))


def half_lives_code(model: str, prompt: str, layers: list[int]) -> str:
    """Python for `half_lives`."""
    return script(
        model,
        prompt,
        f"table = gate_half_lives(model, tokens, layers={layers})  # a head a row; half-lives in tokens\nprint(table)",
        "from workbench.probes.memory import gate_half_lives",
    )


def half_lives_figure(table: pd.DataFrame) -> go.Figure:
    """A dot a head: its half-life, layer by layer."""
    finite = table[(table["half_life"] <= ENDLESS) & (table["half_life"] > 0)]
    figure = go.Figure()
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(finite))
    add = figure.add_scattergl if len(finite) > MOST_DOTS else figure.add_scatter
    add(
        x=finite["layer"].to_numpy() + spread,
        y=finite["half_life"].to_numpy(),
        mode="markers",
        marker={"size": 6, "color": LINES[0], "opacity": 0.55},
        customdata=finite[["layer", "head", "fast", "slow"]].to_numpy(),
        hovertemplate="L%{customdata[0]}H%{customdata[1]}: %{y:.3g} tokens "
        "(%{customdata[2]:.3g} to %{customdata[3]:.3g} over tokens)<extra></extra>",
        showlegend=False,
    )
    layers = sorted(table["layer"].unique().tolist())
    figure.update_layout(
        **plain_layout(),
        height=340,
        xaxis={"title": "layer", "tickmode": "array", "tickvals": layers, "showgrid": False, "zeroline": False},
        yaxis={"title": "half-life (tokens)", "type": "log", "gridcolor": "rgba(128,128,128,0.25)"},
    )
    return figure


def half_lives_in_words(table: pd.DataFrame, unit: str = "head") -> str:
    """The range, and what the picture leaves out; `unit` is what a head is called."""
    values = table["half_life"]
    finite, endless = values[values <= ENDLESS], int((values > ENDLESS).sum())
    said = []
    if len(finite):
        said.append(
            f"Half of the {unit}s that forget lose half of what they wrote within {finite.median():.3g} tokens; the "
            f"shortest half-life is {finite.min():.3g}, the longest {finite.max():.3g}."
        )
    if endless:
        said.append(f"{endless} of {len(values)} {unit}s keep half for over a million tokens: they never forget.")
    return " ".join(said)


# ---- one state


@dataclass(frozen=True)
class Slice:
    """A state after one token.

    Attributes:
        values: rows of channels by state dimensions, or of keys by values.
        rows, columns: what they are.
    """

    values: Float[np.ndarray, "rows columns"]
    rows: str
    columns: str


def state_slice(model: HookedModel, prompt: str, layer: int, head: int, position: int) -> Slice:
    """The state of a layer after a token: all channels where each is a vector, one head where heads are matrices."""
    mixer = recurrent_mixers(model)[layer]
    tokens = model.to_tokens(prompt)
    state = model.recurrent_states(tokens, layer, [position], mixer=mixer.index)[0, 0].detach().float().cpu().numpy()
    if state.shape[-1] == 1:
        return Slice(state[..., 0], "channel", "state dimension")
    return Slice(state[head], "key dimension", "value dimension")


def state_slice_code(model: str, prompt: str, layer: int, head: int, position: int, mixer: int = 0) -> str:
    """Python for `state_slice`."""
    return script(
        model,
        prompt,
        f"state = model.recurrent_states(tokens, layer={layer}, positions=[{position}]{_of(mixer)})[0, 0]\n"
        "# [heads, key, value]; channels whose state is a vector are shown side by side\n"
        f"values = state[..., 0] if state.shape[-1] == 1 else state[{head}]",
    )


def _of(mixer: int) -> str:
    return f", mixer={mixer}" if mixer else ""


def keeps_in_words(norms: Norms) -> str:
    """What a model without a recurrent state keeps instead."""
    per_token = int(norms.keeps["bytes_per_token"].sum())
    return (
        "No recurrent state: this model's mixers are softmax attention (or convolutions), which keep every token's key "
        f"and value and read all of them again. That is {per_token:,} bytes a token, and {norms.cache:,} bytes in fact "
        f"after these {len(norms.tokens)} tokens; a recurrent model keeps as much however long the text is."
    )


def keeps_code(model: str, prompt: str) -> str:
    """Python for the table of what mixers keep."""
    return script(
        model,
        prompt,
        "keeps = state_sizes(model, [tokens.shape[1]])  # a mixer a row; bytes\n"
        "held = cache_bytes(model, tokens)  # in fact, after the prompt",
        "from workbench.probes.memory import cache_bytes, state_sizes",
    )
