"""The token whose row and column a panel shows: which one it is in both models, and its two strips."""

from __future__ import annotations

import numpy as np
import streamlit as st
from jaxtyping import Float

from workbench.app.components import keep, kept, token_strip
from workbench.app.screens.attention_borrowing import borrowed
from workbench.app.screens.attention_chosen import SAID, Panel
from workbench.app.serving import Job, the_server
from workbench.app.shell import Asked, computed
from workbench.app.views.attention import HeadView, head_line, matching, token_spans
from workbench.figures.colours import signed_limit, unsigned_limit
from workbench.figures.tokens import visible_token

OPENING = "The page opens on the token three quarters into the text, which reads and is read; click any other."


def chosen_token(panel: Panel, found: HeadView) -> int:
    """The token whose row and column are shown: kept for model A, and found in B's text by its characters."""
    if panel.letter == "A":
        return _kept_or_first(len(found.tokens))
    ours = _tokens_of(panel.asked)
    text = panel.asked.prompt
    return matching(_kept_or_first(len(ours)), token_spans(ours, text), token_spans(found.tokens, text))


def _kept_or_first(time: int) -> int:
    """The token in the link; else one that has much before it to read, and some after it that read it."""
    at = kept("token", [time])
    return 3 * time // 4 if at is None else at[0]


def choose_token(panel: Panel, found: HeadView, at: int, stays: bool = False) -> None:
    """Show another one, in both models; the cell that was chosen is no longer.

    Args:
        stays: the window into a long text stays where it is in this panel: the token was clicked in it.
    """
    if panel.letter == "B":
        text = panel.asked.prompt
        at = matching(at, token_spans(found.tokens, text), token_spans(_tokens_of(panel.asked), text))
    keep("token", [at])
    for key in ("cell", "cell-b", "window", "window-b"):
        if not (stays and key == f"window{panel.suffix}"):
            keep(key, None)


def draw_strips(panel: Panel, found: HeadView, token: int) -> int:
    """The row and the column of a token as strips; the source that it reads most."""

    def work(job: Job) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
        with borrowed(panel.source, panel.asked, panel.choice) as (model, reading):
            return head_line(model, reading, panel.choice, token)

    if found.factor == 1:
        row, column = found.pixels[token], found.pixels[:, token]
    else:
        row, column = computed("reading a row and a column", panel.key("line", token), work)
    limit = signed_limit(found.pixels)[0] if found.signed else unsigned_limit(found.pixels)
    if panel.letter == "A" and kept("token", [len(found.tokens)]) is None:
        st.caption(OPENING)
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
            fingerprint=panel.fingerprint,
            signed=found.signed,
            limit=limit,
            selected=token,
            ids=found.ids,
            name=SAID[panel.choice.measure],
            label=label,
            on_choose=lambda at: choose_token(panel, found, at),
        )
    return int(np.abs(np.nan_to_num(row[: token + 1])).argmax())


def _tokens_of(asked: Asked) -> tuple[str, ...]:
    """Model A's tokens."""

    def work(job: Job) -> tuple[str, ...]:
        with the_server().models.lend(asked.model) as model:
            return tuple(model.to_str_tokens(model.to_tokens(asked.prompt)[0]))

    return computed("reading the text", ("attention", "tokens", asked.model, asked.prompt_id), work)
