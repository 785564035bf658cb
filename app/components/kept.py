"""What was chosen in a picture, kept in the link: a cell as ``?cell=3.7``, a token as ``?token=3``."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def kept(name: str, shape: Sequence[int]) -> tuple[int, ...] | None:
    """The choice of a name in the link, or None where there is none or it does not fit.

    Args:
        name: the key in the link.
        shape: how many choices there are along each axis.
    """
    parts = st.query_params.get(name, "").split(".")
    if len(parts) != len(shape) or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    found = tuple(int(part) for part in parts)
    return found if all(at < count for at, count in zip(found, shape, strict=True)) else None


def keep(name: str, chosen: Sequence[int] | None) -> None:
    """Write a choice into the link, or take it out."""
    if chosen is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = ".".join(str(at) for at in chosen)
