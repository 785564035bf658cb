"""The foot of a panel: the code that reproduces it, its data and figure to keep, and how it was made."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st


def foot(
    name: str,
    *,
    code: str,
    data: pd.DataFrame | Mapping[str, np.ndarray],
    method: str,
    figure: go.Figure | None = None,
) -> None:
    """Draw the foot of a panel.

    Args:
        name: of the files that are saved: ``"attention-L2H3"``.
        code: Python that makes the same numbers, and runs as pasted.
        data: what is shown: a table (saved as CSV) or arrays by name (saved as NPZ).
        method: how it is made: the formula and the units, in a few sentences.
        figure: the picture, saved as an HTML page that opens offline.
    """
    with st.container(horizontal=True):
        with st.popover("Code", help="Python that makes these numbers"):
            st.code(code, language="python")
        with st.popover("Data", help="The numbers and the figure, to keep"):
            if isinstance(data, pd.DataFrame):
                st.download_button(
                    "Table (CSV)", lambda: data.to_csv(index=False), f"{name}.csv", "text/csv", key=f"csv-{name}"
                )
            else:
                st.download_button(
                    "Arrays (NPZ)", lambda: _npz(data), f"{name}.npz", "application/octet-stream", key=f"npz-{name}"
                )
            if figure is not None:
                st.download_button(
                    "Figure (HTML)",
                    lambda: figure.to_html(include_plotlyjs=True),
                    f"{name}.html",
                    "text/html",
                    key=f"html-{name}",
                )
        with st.popover("Method", help="How these numbers are made"):
            st.text(method)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()
