"""One feature in numbers: how often and how strongly it fires, and which tokens it makes more and less likely."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from workbench.app.views.features.stores import OpenStore
from workbench.figures.tokens import visible_token
from workbench.saes.features import Label

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Facts:
    """What a store says of a feature.

    Attributes:
        label: None where it has none.
        count, tokens: tokens at which it fires, of so many; `density` is their share.
        rows: of the text in which it fires.
        most, mean: its largest activation, and the mean of those that are not zero.
        quartiles: of those that are not zero.
        dead: whether it fires nowhere.
    """

    feature: int
    label: Label | None
    count: int
    tokens: int
    density: float
    rows: int
    most: float
    mean: float
    quartiles: tuple[float, float, float]
    dead: bool

    def sentence(self) -> str:
        """All of it, for people."""
        if self.dead:
            return (
                f"Dead: it fires at none of the {self.tokens:,} tokens of this text. There are no examples; its "
                "direction can still be looked at, and another text may wake it."
            )
        low, middle, high = (self.of_largest(one) for one in self.quartiles)
        return (
            f"Fires at {self.count:,} of {self.tokens:,} tokens ({share(self.density)}). Where it fires, a quarter of "
            f"its activations lie below {low} of its largest one, half below {middle}, three quarters below {high}."
        )

    def of_largest(self, value: float) -> str:
        """An activation as a share of the feature's largest one in the store's text: that can be read in any unit."""
        return of_largest(value, self.most)


def facts_of(opened: OpenStore, feature: int) -> Facts:
    """What a store says of a feature. Raises InputError where there is no such feature."""
    row = opened.row(feature)
    return Facts(
        feature,
        opened.store.labels.get(feature),
        int(row["count"]),
        int(opened.info.tokens),
        float(row["density"]),
        int(row["rows"]),
        float(row["max"]),
        float(row["mean"]),
        (float(row["q25"]), float(row["q50"]), float(row["q75"])),
        bool(row["dead"]),
    )


def split_logits(logits: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tokens that a feature lowers, the lowest first, and those that it raises, the highest first.

    By rank, not by sign: a softmax does not see what is added to all logits alike.
    """
    raised = (len(logits) + 1) // 2
    return logits.iloc[raised:][::-1].reset_index(drop=True), logits.iloc[:raised].reset_index(drop=True)


def at_median(logits: pd.DataFrame, facts: Facts, scale: float | None) -> pd.DataFrame:
    """The effects in logits, as they are where the feature is at its median activation.

    Args:
        scale: by what the final norm divides; where it is not known the effects are relative to the largest.
    """
    if scale is None or facts.dead:
        return logits.assign(effect=logits["effect"] / (logits["effect"].abs().max() or 1.0))
    return logits.assign(effect=logits["effect"] * facts.quartiles[1] / scale)


def logits_caption(facts: Facts, scale: float | None) -> str:
    """What the numbers beside the tokens are."""
    if facts.dead or scale is None:
        why = "it never fires" if facts.dead else "an earlier version made this store, without the scale of logits"
        return f"The tokens that the feature makes less and more likely, relative to the one it changes most: {why}."
    times = facts.most / facts.quartiles[1]
    return (
        "The tokens that the feature makes less and more likely, in logits: what it adds where it is at its median "
        f"activation. At its largest it adds {times:.2g} times as much."
    )


def summed_tokens(top_tokens: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """The tokens on which activations add up to most, for `logit_bars`.

    Returns:
        ``token_id``, ``token`` and ``effect``: the part of all the feature's activation that is on this token.
    """
    whole = facts.count * facts.mean or 1.0
    return top_tokens.assign(effect=top_tokens["count"] * top_tokens["mean"] / whole)[["token_id", "token", "effect"]]


def logit_bars(table: pd.DataFrame, kind: str, largest: float, *, written: Callable[[float], str] | None = None) -> str:
    """Tokens with a bar each, as inert HTML.

    Args:
        kind: ``"down"`` or ``"up"``, which is its colour.
        largest: the effect that has the longest bar.
        written: how an effect is written; three digits with its sign by default.
    """
    lines = []
    for one in table.itertuples():
        effect = float(str(one.effect))
        width = 0 if largest <= 0 else round(100 * min(1.0, abs(effect) / largest))
        value = f"{effect:+.3g}" if written is None else written(effect)
        token = html.escape(visible_token(str(one.token)))
        lines.append(
            f'<div class="wb-effect wb-{kind}"><bdi class="wb-token">{token}</bdi>'
            f'<span class="wb-room"><span class="wb-bar" style="width:{width}%"></span></span>'
            f'<span class="wb-value">{value}</span></div>'
        )
    return "".join(lines)


def histogram_figure(table: pd.DataFrame, facts: Facts, *, log: bool) -> go.Figure:
    """How many tokens have which activation; zeros are left to the caption, since they would hide all else."""
    bounds = list(zip(table["low"], table["high"], strict=True))
    most = facts.most or 1.0
    width = [100 * (high - low) / most for low, high in bounds]
    middle = [50 * (low + high) / most for low, high in bounds]
    text = [
        f"{facts.of_largest(low)} to {facts.of_largest(high)}: {int(count):,} tokens<br>"
        f"activation {short(low)} to {short(high)}"
        for (low, high), count in zip(bounds, table["count"], strict=True)
    ]
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=table["count"],
            width=width,
            marker={"color": "#D55E00", "line": {"width": 0}},
            hovertext=text,
            hoverinfo="text",
        )
    )
    figure.update_layout(
        xaxis={"title": "activation, % of its largest", "range": [0, 100], "automargin": True, "nticks": 5},
        yaxis={"title": "tokens" + (" (log)" if log else ""), "type": "log" if log else "linear", "automargin": True},
        height=210,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        bargap=0,
        showlegend=False,
        dragmode=False,  # a finger that scrolls the page must not zoom the plot
    )
    return figure


def histogram_caption(facts: Facts) -> str:
    """How to read the histogram, zeros included."""
    zeros = facts.tokens - facts.count
    return (
        f"How many tokens have which activation. Not drawn: the {zeros:,} tokens ({share(1 - facts.density)}) at which "
        "it is 0."
    )


def short(value: Any) -> str:
    """A number in three digits; from a million on in millions (M) or billions (B), as plots write it."""
    number = float(value)
    if math.isnan(number):
        return "none"
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if size <= abs(number) < 1000 * size:
            return f"{number / size:.3g}{letter}"
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}"


def of_largest(value: float, most: float) -> str:
    """An activation as a share of the largest one; where that is 0, the feature fires only elsewhere."""
    return share(value / most) if most > 0 else "new"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.3g} %"
