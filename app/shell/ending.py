"""The end of a page that cannot be drawn further yet."""

from __future__ import annotations

from typing import NoReturn

from streamlit.runtime.scriptrunner import StopException


def end_page() -> NoReturn:
    """Draw nothing more of the page, and answer what was clicked meanwhile.

    Streamlit's own `st.stop` tells the session to stop as well, and with that throws away what it was still asked:
    a button in a part that is drawn alone (`st.fragment`) that was pressed while the page was being drawn did nothing.
    """
    raise StopException
