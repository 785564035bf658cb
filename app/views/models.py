"""What the models are: sizes, what each carries from token to token, how well it predicts, which pages it has."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

import workbench as wb
from workbench import zoo
from workbench.families.base import unit_name
from workbench.figures import plain_figure
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.report.files import write_atomically
from workbench.saes.shipped.members import MEMBERS

TEXT = "The state of the Union is strong because our people are strong."
"""Read to see what a model carries from token to token."""

KEPT = Path(__file__).with_name("zoo_facts.json")
"""Facts about the members of the zoo, which are part of the package and do not change."""

LICENCE = "Apache-2.0"
"""Of the zoo, which is part of the package."""


@dataclass(frozen=True)
class Facts:
    """A model.

    Attributes:
        source: as `workbench.load` takes it.
        mixers: the families of its mixers, as the adapters call them.
        unit: what a head is called: ``"head"``, or ``"channel"`` where each carries one value.
        heads: how many a layer has, the smallest and the largest number.
        state: bytes it carries from token to token whatever the length, and `growth` bytes more for each token.
        recurrent: layers with a recurrent state.
        context: tokens it was made for; None where it says none.
        where: device and type of the weights.
        licence: of the weights.
        bits: bits a byte of held-out English; None for models outside the zoo. Lower is better.
        copying: share of 32 random tokens that it copies correctly; None for models outside the zoo.
        autoencoders: sources of the autoencoders that come with it.
    """

    source: str
    mixers: tuple[str, ...]
    layers: int
    width: int
    unit: str
    heads: tuple[int, int]
    parameters: int
    state: int
    growth: int
    recurrent: int
    vocabulary: int
    context: int | None
    tokenizer: bool
    where: str
    licence: str
    bits: float | None
    copying: float | None
    autoencoders: tuple[str, ...]


def facts(model: HookedModel, source: str) -> Facts:
    """What there is to say about a model, from its weights and two short readings."""
    cfg, mixers = model.cfg, model.mixers
    tokens = model.to_tokens(TEXT) if model.tokenizer is not None else None
    # A state of constant size is as large after one token as after many; caches grow.
    short, long = (model.prefill(tokens[:, :length]) for length in (4, 5)) if tokens is not None else (None, None)
    growth = long.nbytes - short.nbytes if short is not None and long is not None else 0
    counts = [mixer.n_heads for mixer in mixers]
    own = zoo.directory(source.removeprefix("zoo:")) if source.startswith("zoo:") else None
    measured = json.loads((own / "evaluation.json").read_text("utf-8")) if own is not None else {}
    return Facts(
        source=source,
        mixers=tuple(dict.fromkeys(cfg.families)),
        layers=cfg.n_layers,
        width=cfg.d_model,
        unit=unit_name(mixers),
        heads=(min(counts), max(counts)),
        parameters=sum({id(p): p.numel() for p in model.wrapped.parameters()}.values()),
        state=long.nbytes - 5 * growth if long is not None else 0,
        growth=growth,
        recurrent=len(long.recurrent) if long is not None else 0,
        vocabulary=cfg.d_vocab,
        context=cfg.n_ctx,
        tokenizer=model.tokenizer is not None,
        where=f"{cfg.device}, {str(cfg.dtype).removeprefix('torch.')}",
        licence=LICENCE if own is not None else "as its own card says",
        bits=measured.get("bits_per_byte"),
        copying=measured.get("copy", {}).get("32"),
        autoencoders=tuple(name for name, member in MEMBERS.items() if f"zoo:{member.model}" == source),
    )


def zoo_facts() -> list[Facts]:
    """The members of the zoo: facts that were kept by `keep_zoo_facts`, since loading twelve models takes long."""
    kept = [_from_json(one) for one in json.loads(KEPT.read_text("utf-8"))]
    known = {one.source: one for one in kept}
    return [known.get(f"zoo:{name}") or measured(name) for name in _members()]


def measured(name: str) -> Facts:
    """What there is to say about a member of the zoo, from the member itself."""
    return facts(wb.load(f"zoo:{name}", check=False), f"zoo:{name}")


def keep_zoo_facts() -> None:
    """Write the file that `zoo_facts` reads; whoever changes the zoo calls this, and a test says when it is due."""
    found = [asdict(measured(name)) for name in tracked(_members(), True, "reading the zoo")]
    write_atomically(KEPT, json.dumps(found, indent=1) + "\n")


def _members() -> list[str]:
    return sorted(zoo.available(), key=lambda name: (name != "attention", name))


def _from_json(kept: dict[str, Any]) -> Facts:
    lists = {name: tuple(value) for name, value in kept.items() if isinstance(value, list)}
    return Facts(**{**kept, **lists})


def carried(found: Facts) -> str:
    """What it carries from token to token, in words."""
    parts = []
    if found.state:
        parts.append(f"{size(found.state)} at any length")
    if found.growth:
        parts.append(f"{size(found.growth)} more for each token")
    return " and ".join(parts) or "nothing"


def heads(found: Facts) -> str:
    """How many heads or channels a layer has, in words."""
    low, high = found.heads
    many = f"{low} {found.unit}{'s' if low > 1 else ''}" if low == high else f"{low} to {high} {found.unit}s"
    return f"{many} a layer"


def size(count: float) -> str:
    """Bytes in words: ``"274 kB"``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def gap(found: Facts, page: str) -> str | None:
    """Why a model has no such page, or None where it has."""
    if not found.tokenizer:
        return "It has no tokenizer, so there is no text to read."
    if page == "state" and not found.recurrent:
        return f"It has no recurrent state: it keeps keys and values, {size(found.growth)} for each token."
    if page == "features" and not found.autoencoders:
        return f"No autoencoder comes with it; train one: workbench sae train {found.source} --hook resid_post"
    return None


def support(found: Sequence[Facts], pages: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """A row a model, a column a page (given by name and title): ``"yes"``, or why not."""
    return pd.DataFrame(
        [{"model": one.source} | {title: gap(one, name) or "yes" for name, title in pages} for one in found]
    )


def table(found: Sequence[Facts]) -> pd.DataFrame:
    """A row a model: sizes, bytes and what was measured."""
    return pd.DataFrame(
        [
            {
                "model": one.source,
                "mixers": ", ".join(one.mixers),
                "layers": one.layers,
                "heads": heads(one),
                "parameters": one.parameters,
                "state_bytes": one.state,
                "bytes_per_token": one.growth,
                "bits_per_byte": one.bits,
                "copying": one.copying,
            }
            for one in found
        ]
    )


def memory_figure(found: Sequence[Facts], tokens: int = 256) -> go.Figure:
    """What each member of the zoo carries after so many tokens, against the bits it needs for a byte of text."""
    shown = [one for one in found if one.bits is not None]
    names = [one.source.removeprefix("zoo:") for one in shown]
    carried = [(one.state + tokens * one.growth) / 1000 for one in shown]
    bits = [one.bits for one in shown if one.bits is not None]
    figure = plain_figure(f"kB carried after {tokens} tokens", "bits a byte of held-out English")
    figure.add_scatter(
        x=carried,
        y=bits,
        text=names,
        mode="markers+text",
        textposition=name_places(carried, bits, names),
        marker={"size": 9, "color": [one.copying for one in shown], "colorscale": "Viridis", "cmin": 0, "cmax": 1}
        # The title beside the bar: above it the figure's buttons would cover it.
        | {
            "colorbar": {**_BELOW_BUTTONS, "title": {"text": "copying", "side": "right"}, "tickformat": ".0%"},
            "line": {"width": 1, "color": "#7f7f7f"},
        },
        hovertemplate="%{text}<br>%{x:.0f} kB<br>%{y:.3f} bits a byte<br>copies %{marker.color:.0%}<extra></extra>",
    )
    figure.update_xaxes(type="log", dtick=1)
    figure.update_layout(height=420)
    return figure


_BELOW_BUTTONS = {"len": 0.88, "y": 0, "yanchor": "bottom"}
"""Of a colour bar: the figure's buttons appear over its upper right corner."""

_PLACES = {"top center": (0, -1), "bottom center": (0, 1), "middle right": (1, 0), "middle left": (-1, 0)}
_WIDE, _HIGH, _LETTER, _LINE, _GAP = 640, 300, 7, 14, 8
"""Pixels: of the plot on a page of common width, of a letter and a line of a name, from a point to its name."""


def name_places(x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> list[str]:
    """Where names stand beside their points, so that they cover each other and other points as little as may be.

    Args:
        x: above 0, drawn on a logarithmic axis.

    Returns:
        a `textposition` of Plotly for each.
    """
    if not names:
        return []
    across, down = _spread([math.log(one) for one in x], _WIDE), _spread([-one for one in y], _HIGH)
    points = list(zip(across, down, strict=True))
    taken = [_box(point, "", (0, 0)) for point in points]
    found = {}
    # Those with the nearest neighbours first: they have the fewest places to stand.
    for at in sorted(range(len(names)), key=lambda one: _room(points, one)):
        boxes = {place: _box(points[at], names[at], side) for place, side in _PLACES.items()}
        others = [box for number, box in enumerate(taken) if number != at]
        found[at] = min(boxes, key=lambda place: sum(_overlap(boxes[place], one) for one in others))
        taken.append(boxes[found[at]])
    return [found[at] for at in range(len(names))]


def _spread(values: Sequence[float], size: int) -> list[float]:
    low, high = min(values), max(values)
    return [size * (one - low) / ((high - low) or 1.0) for one in values]


def _room(points: Sequence[tuple[float, float]], at: int) -> float:
    return min((math.dist(points[at], one) for number, one in enumerate(points) if number != at), default=0.0)


def _box(point: tuple[float, float], name: str, side: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a name beside a point, or of the point itself where there is no name."""
    wide, high = (_LETTER * len(name) / 2, _LINE / 2) if name else (_GAP / 2, _GAP / 2)
    middle = point[0] + side[0] * (wide + _GAP), point[1] + side[1] * (high + _GAP / 2)
    return middle[0] - wide, middle[1] - high, middle[0] + wide, middle[1] + high


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """The area that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)


def table_code() -> str:
    """Python for the bytes of `table`."""
    return (
        "import workbench as wb\n"
        "from workbench import zoo\n\n"
        "for name in zoo.available():\n"
        '    model = wb.load(f"zoo:{name}")\n'
        f"    tokens = model.to_tokens({TEXT!r})\n"
        "    short, long = model.prefill(tokens[:, :4]), model.prefill(tokens[:, :5])\n"
        "    growth = long.nbytes - short.nbytes  # bytes for each token\n"
        "    state = long.nbytes - 5 * growth  # bytes at any length\n"
        "    print(name, state, growth)\n"
    )
