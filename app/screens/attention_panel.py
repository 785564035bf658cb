"""One head of one model on the Attention page: strips, matrix, window, what an entry does, distances, links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from jaxtyping import Float

from workbench.app.components import Axis, keep, kept, matrix, token_strip
from workbench.app.components.rows import rows
from workbench.app.screens.attention_path import draw_path
from workbench.app.serving import Job, the_server
from workbench.app.shell import Asked, computed, foot
from workbench.app.views.attention import (
    HeadChoice,
    HeadView,
    Place,
    head_code,
    head_line,
    head_view,
    head_window,
    matching,
    token_spans,
)
from workbench.app.views.attention.head import WINDOW
from workbench.figures import plain_figure
from workbench.figures.colours import signed_limit, unsigned_limit
from workbench.figures.tokens import visible_token

SAID = {"weights": "weight", "share": "share of row", "written": "norm written"}
"""What an entry is called."""

UNITS = {
    "weights": "A[t, s], how much of token s's value reaches token t; no unit.",
    "share": "|A[t, s]| / sum over s of |A[t, s]|: between 0 and 1, signs removed.",
    "written": "The norm of what the entry writes into the residual stream: |A[t, s] v_s (times gate and norm scale) "
    "W_O|, in units of the stream. A large weight on a small value moves little (Kobayashi et al. 2020).",
}


@dataclass(frozen=True)
class Panel:
    """What a panel shows: model A or B, its mixer, and the choice of head."""

    letter: str
    source: str
    place: Place
    choice: HeadChoice

    @property
    def suffix(self) -> str:
        """Of keys in the link."""
        return "" if self.letter == "A" else "-b"

    def key(self, what: str, asked: Asked, *more: object) -> tuple[object, ...]:
        """Of a result."""
        return ("attention", what, self.source, asked.prompt_id, self.choice, *more)


def draw_panel(panel: Panel, asked: Asked) -> None:
    """Draw one model's part of the page."""

    def work(job: Job) -> HeadView:
        with the_server().models.lend(panel.source) as model:
            return head_view(model, asked.prompt, panel.choice)

    found = computed(f"reading {panel.choice.name} of {panel.source}", panel.key("head", asked), work)
    st.caption(f"{panel.choice.name}, {_kind(panel.place, panel.choice)}")
    fingerprint = f"{panel.source} {asked.prompt_id} {panel.choice}"
    token = _token(panel, asked, found)
    strongest = _strips(panel, asked, found, fingerprint, token)
    cell = _map(panel, asked, found, fingerprint, token)
    draw_path(panel.source, panel.choice, panel.letter, asked, found.tokens, cell or (token, strongest))
    _distances(panel, found)
    _links(panel, asked, found, fingerprint)


def _kind(place: Place, choice: HeadChoice) -> str:
    if place.softmax:
        return "softmax attention: a row of weights adds up to 1 (less where a model has a sink)."
    given = ", exact given the gates, which the past has set" if place.given_gates else ""
    sign = "an entry may be negative" if choice.measure == "weights" else "the signs are removed here"
    return f"{place.family}: implicit mixing, signed ({sign}){given}. Rows do not add up to 1."


def _token(panel: Panel, asked: Asked, found: HeadView) -> int:
    """The token whose row and column are shown: kept for model A, and found in B's text by its characters."""
    last = len(found.tokens) - 1
    if panel.letter == "A":
        at = kept("token", [len(found.tokens)])
        return last if at is None else at[0]
    ours = _tokens_of(asked.model, asked)
    at = kept("token", [len(ours)])
    if at is None:
        return last
    return matching(at[0], token_spans(ours, asked.prompt), token_spans(found.tokens, asked.prompt))


def _choose_token(panel: Panel, asked: Asked, found: HeadView, at: int) -> None:
    if panel.letter == "B":
        ours = _tokens_of(asked.model, asked)
        at = matching(at, token_spans(found.tokens, asked.prompt), token_spans(ours, asked.prompt))
    keep("token", [at])
    for key in ("cell", "cell-b"):
        keep(key, None)


def _tokens_of(source: str, asked: Asked) -> tuple[str, ...]:
    def work(job: Job) -> tuple[str, ...]:
        with the_server().models.lend(source) as model:
            return tuple(model.to_str_tokens(model.to_tokens(asked.prompt)[0]))

    return computed("reading the text", ("attention", "tokens", source, asked.prompt_id), work)


def _strips(panel: Panel, asked: Asked, found: HeadView, fingerprint: str, token: int) -> int:
    """The row and the column of a token as strips; the source that it reads most."""

    def work(job: Job) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
        with the_server().models.lend(panel.source) as model:
            return head_line(model, asked.prompt, panel.choice, token)

    if found.factor == 1:
        row, column = found.pixels[token], found.pixels[:, token]
    else:
        row, column = computed("reading a row and a column", panel.key("line", asked, token), work)
    limit = signed_limit(found.pixels)[0] if found.signed else unsigned_limit(found.pixels)
    positions = np.arange(len(found.tokens))
    shown = visible_token(found.tokens[token])
    for what, values, label in (
        ("from", np.where(positions <= token, row, np.nan), f"Token {token} “{shown}” reads from"),
        ("by", np.where(positions >= token, column, np.nan), f"Token {token} “{shown}” is read by"),
    ):
        st.text(label)
        token_strip(
            found.tokens,
            values,
            key=f"strip-{what}{panel.suffix}",
            fingerprint=fingerprint,
            signed=found.signed,
            limit=limit,
            selected=token,
            ids=found.ids,
            name=SAID[panel.choice.measure],
            label=label,
            on_choose=lambda at: _choose_token(panel, asked, found, at),
        )
    return int(np.abs(np.nan_to_num(row[: token + 1])).argmax())


def _map(panel: Panel, asked: Asked, found: HeadView, fingerprint: str, token: int) -> tuple[int, int] | None:
    """The matrix, pooled where it is long, and the exact window into it; the cell that is chosen."""
    time = len(found.tokens)
    key = f"cell{panel.suffix}"
    at = kept(key, (time, time))
    cell = None if at is None or at[1] > at[0] else (at[0], at[1])
    if found.factor == 1:
        _matrix(panel, asked, found, found.pixels, (0, 0), key, fingerprint, cell or (token, None))
    else:
        corner = _pooled(panel, found, fingerprint)
        _window(panel, asked, found, corner, key, fingerprint, cell)
    scope = "A times the values" if panel.choice.scope == "core" else "the matrix times the inputs, plus its constant"
    st.caption(
        f"Reconstruction error {found.error:.1e}: {scope}, against what the layer itself computed (largest difference "
        "over largest value)."
    )
    foot(
        f"attention-{panel.letter}-{panel.choice.name}",
        code=head_code(panel.source, asked.prompt, panel.choice),
        data={"values": found.pixels, "ids": np.asarray(found.ids), "profile": found.profile},
        method=f"{UNITS[panel.choice.measure]}\nReconstruction error: max |A v + constant - recorded| / max |recorded| "
        "over a sample of heads and rows.",
    )
    return cell


def _matrix(
    panel: Panel,
    asked: Asked,
    found: HeadView,
    values: Float[np.ndarray, "rows columns"],
    corner: tuple[int, int],
    key: str,
    fingerprint: str,
    selected: tuple[int, int | None] | None,
) -> None:
    """Exact entries from a corner on; a click chooses a cell, and its row as the token."""
    row, column = corner
    height, width = values.shape

    def chose(at: tuple[int, ...]) -> None:
        there = (row + at[0], column + at[1])
        if there[1] <= there[0]:
            _choose_token(panel, asked, found, there[0])
            keep(key, there)

    inside = None
    if selected is not None and 0 <= selected[0] - row < height:
        inside = (selected[0] - row, None if selected[1] is None else selected[1] - column)
        if inside[1] is not None and not 0 <= inside[1] < width:
            inside = None
    matrix(
        values,
        rows=Axis.of_tokens("reads", found.tokens[row : row + height], first=row),
        columns=Axis.of_tokens("is read", found.tokens[column : column + width], first=column),
        key=f"matrix{panel.suffix}",
        fingerprint=f"{fingerprint} {corner}",
        signed=found.signed,
        masked=np.arange(column, column + width) > np.arange(row, row + height)[:, None],
        square=True,
        selected=inside,
        name=SAID[panel.choice.measure],
        verb="reads",
        masked_note="Hatched: tokens that come later.",
        resting="Click a cell to see what it does; the arrow keys move, Enter chooses.",
        on_choose=chose,
    )


def _pooled(panel: Panel, found: HeadView, fingerprint: str) -> tuple[int, int]:
    """The overview of a long text; the corner of the window that is chosen."""
    shape, factor, time = found.pixels.shape, found.factor, len(found.tokens)
    key = f"window{panel.suffix}"
    at = kept(key, shape)
    pixel = (shape[0] - 1, shape[1] - 1) if at is None else (at[0], at[1])
    first, second = (int(min(max(0, (place + 0.5) * factor - WINDOW / 2), max(0, time - WINDOW))) for place in pixel)
    matrix(
        found.pixels,
        rows=Axis.of_tokens("reads", found.tokens, factor=factor),
        columns=Axis.of_tokens("is read", found.tokens, factor=factor),
        key=f"overview{panel.suffix}",
        fingerprint=fingerprint,
        signed=found.signed,
        masked=np.triu(np.ones(shape, dtype=bool), k=1),
        square=True,
        selected=pixel,
        name=SAID[panel.choice.measure],
        verb="reads",
        masked_note="Hatched: tokens that come later.",
        notes=[
            f"Pixel = {factor} × {factor} tokens: the largest entry by size"
            + (", with its sign." if found.signed else ".")
        ],
        resting="Click a pixel to see the entries around it exactly.",
        keep=key,
    )
    return first, second


def _window(
    panel: Panel,
    asked: Asked,
    found: HeadView,
    corner: tuple[int, int],
    key: str,
    fingerprint: str,
    cell: tuple[int, int] | None,
) -> None:
    def work(job: Job) -> Float[np.ndarray, "rows columns"]:
        with the_server().models.lend(panel.source) as model:
            return head_window(model, asked.prompt, panel.choice, *corner)

    values = computed("reading the window", panel.key("window", asked, corner), work)
    height, width = values.shape
    st.text(f"Exact: tokens {corner[0]} to {corner[0] + height - 1} read from {corner[1]} to {corner[1] + width - 1}.")
    _matrix(panel, asked, found, values, corner, key, fingerprint, cell)


def _distances(panel: Panel, found: HeadView) -> None:
    said = SAID[panel.choice.measure]
    figure = plain_figure("distance (tokens back)", f"mean {said}")
    count = len(found.profile)
    line = "lines" if count > 64 else "lines+markers"
    figure.add_trace(
        go.Scatter(
            x=list(range(count)),
            y=found.profile.tolist(),
            mode=line,
            line={"color": "#7F7F7F"},
            hovertemplate="%{x} back: %{y:.4g}<extra></extra>",
        )
    )
    figure.update_layout(height=220, showlegend=False)
    if count > 256:
        figure.update_xaxes(type="log")
    st.text("By distance")
    st.plotly_chart(figure, key=f"distance{panel.suffix}", config={"displayModeBar": False})
    st.caption(f"The mean {said} of all pairs of tokens that are so far apart; far ones are averages of few pairs.")


def _links(panel: Panel, asked: Asked, found: HeadView, fingerprint: str) -> None:
    def chose(number: int) -> None:
        link = found.links[number]
        _choose_token(panel, asked, found, link.row)
        keep(f"cell{panel.suffix}", (link.row, link.column))

    with st.expander(f"Strongest links between different tokens ({len(found.links)})"):
        rows(
            [
                (
                    at,
                    [
                        str(link.row),
                        visible_token(found.tokens[link.row]),
                        f"{link.column} {visible_token(found.tokens[link.column])}",
                        f"{link.value:.3g}",
                    ],
                )
                for at, link in enumerate(found.links)
            ],
            ["token", "reads", "from", SAID[panel.choice.measure]],
            key=f"links{panel.suffix}",
            fingerprint=fingerprint,
            chose=chose,
            label="Strongest links",
        )
