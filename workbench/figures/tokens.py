"""Token text made visible and inert: what a reader must see, and what a browser must not obey."""

from __future__ import annotations

import html
import unicodedata

_MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\u2581": "·", "\u0120": "·", "\u010a": "↵"}
# Cc control, Cf format (zero-width and bidirectional controls), Co private, Cs surrogate, Cn unassigned, Zl and Zp
# line and paragraph separators: none of them can be told from nothing, and some reorder the text around them.
_INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


def visible_token(text: str) -> str:
    """Token text with everything invisible shown.

    Spaces become ``·``, newlines ``↵``, tabs ``⇥``; control, zero-width, bidirectional and unassigned characters become
    their code points (``U+200B``); an empty token becomes ``∅``. The result is plain text, not yet HTML.
    """
    if not text:
        return "∅"
    return "".join(_visible_character(character) for character in text)


def visible_text(text: str) -> str:
    """Running text with everything invisible shown as `visible_token` shows it, but for its spaces."""
    return " ".join(visible_token(word) if word else "" for word in text.split(" "))


def token_label(text: str, width: int = 14) -> str:
    """`visible_token`, cut to `width` characters and escaped: safe as a Plotly label and as HTML text."""
    shown = visible_token(text)
    if len(shown) > width:
        shown = shown[: width - 1] + "…"
    return escape_label(shown)


def escape_label(text: str) -> str:
    """Escape plain text for a Plotly label, and for HTML.

    Plotly knows numeric entities and few named ones (``&quot;`` it shows as it stands), and hands ``$...$`` to MathJax
    where a page has it, so quotes and the dollar sign are escaped by number.
    """
    escaped = html.escape(text, quote=False)
    return escaped.replace('"', "&#34;").replace("'", "&#39;").replace("$", "&#36;")


def _visible_character(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    category = unicodedata.category(character)
    if category in _INVISIBLE:
        return f"U+{ord(character):04X}"
    if category == "Zs":  # no-break space and its relatives look like a space and are none
        return f"U+{ord(character):04X}"
    return character
