"""The part of a page that its own controls change, drawn again without the sidebar and the frame around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from workbench.app.shell.asking import renew_link
from workbench.app.shell.status import renew_status

P = ParamSpec("P")


def part(draw: Callable[P, None]) -> Callable[P, None]:
    """Make a function that draws all of a page below its title a part that is drawn again alone.

    A control in it, or a click, then costs what the part costs; the sidebar's form is a third of a page. What the
    sidebar says about the view follows all the same. One part a page: whatever its controls change lies in it.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        renew_status()
        try:
            draw(*args, **kwargs)
        finally:  # also where it ends early because it waits
            renew_link()

    return st.fragment(drawn)
