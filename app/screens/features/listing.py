"""The left third: search, filters, order, and the list in which a feature is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Int

from workbench.app.components import rows
from workbench.app.shell import choice, foot, text
from workbench.app.views.features.facts import share
from workbench.app.views.features.scripts import list_code
from workbench.app.views.features.stores import TOGETHER, OpenStore
from workbench.figures.tokens import visible_token
from workbench.saes.features import FeatureQuery

FEATURE = "feature"
"""The feature that is shown: in the session and in the link."""

PAGE = 50

_ORDERS = {
    "best match, most telling": ("match", False),
    "number": ("feature", False),
    "density, most often first": ("density", True),
    "density, least often first": ("density", False),
    "largest activation first": ("max", True),
    "label, A to Z": ("label", False),
}
_SAID = {
    ("feature", False): "in the order of their numbers",
    ("density", True): "those that fire most often first",
    ("density", False): "those that fire least often first",
    ("max", True): "the largest activation first",
    ("label", False): "in the order of their labels, those without at the end",
}
_DENSITIES = {
    "any density": (0.0, 1.0),
    "below 0.1 %": (0.0, 0.001),
    "0.1 to 1 %": (0.001, 0.01),
    "1 to 10 %": (0.01, 0.1),
    "above 10 %": (0.1, 1.0),
}
_LABELLED = {"labelled or not": None, "labelled": True, "not labelled": False}
_DEAD = {"dead or not": None, "alive": False, "dead": True}

_TURNED, _SEARCHED = "features-page", "features-searched"


@dataclass(frozen=True)
class Order:
    """The features of the list, in its order."""

    features: Int[np.ndarray, " found"]

    def place(self, feature: int) -> int | None:
        """Where a feature is in the list; None where it is not in it."""
        found = np.flatnonzero(self.features == feature)
        return int(found[0]) if len(found) else None

    def beside(self, feature: int, step: int) -> int | None:
        """The feature so many places further; None beyond the ends. From outside the list, its first."""
        at = self.place(feature)
        if at is None:
            return int(self.features[0]) if len(self.features) else None
        return int(self.features[at + step]) if 0 <= at + step < len(self.features) else None

    def near(self, feature: int) -> Sequence[int]:
        """The features that are likely to be looked at next: mostly those after it, and some before."""
        at = self.place(feature)
        if at is None:
            return []
        return [
            *self.features[at + 1 : at + 3 * TOGETHER // 4].tolist(),
            *self.features[max(0, at - TOGETHER) : at][::-1].tolist(),
        ]


def go(feature: int) -> None:
    """Show a feature: called by a click, before the page is drawn again."""
    st.session_state[FEATURE] = feature
    st.session_state.pop(_TURNED, None)


def feature_list(opened: OpenStore) -> Order:
    """Draw the left third."""
    _first_feature(opened)
    said = text("Search", "q", placeholder="a label or a token", help="In labels and top tokens; press Enter.")
    with st.popover("Filter and sort", width="stretch"):
        by, descending = _ORDERS[choice("Order", list(_ORDERS), "sort")]
        least, most = _DENSITIES[choice("Fires at", list(_DENSITIES), "density")]
        labelled = _LABELLED[choice("Labels", list(_LABELLED), "labelled")]
        dead = _DEAD[choice("Dead", list(_DEAD), "dead", help="A dead feature fires at no token of the text.")]
    # What the list shows for a space can be typed for one.
    query = FeatureQuery(said.replace("·", " "), least, most, labelled, dead, by, descending)
    order = Order(opened.features(query))
    count = len(order.features)
    if said != st.session_state.setdefault(_SEARCHED, said):
        st.session_state[_SEARCHED] = said
        if count and order.place(int(st.session_state[FEATURE])) is None:
            _show(int(order.features[0]))  # what was searched for, not what was looked at before
    page = _page(order)
    shown = opened.rows(order.features[page * PAGE : (page + 1) * PAGE].tolist())
    _say_how_many(opened, count, query)
    if count:
        _rows(opened, query, shown)
        _turn(page, count)
    foot(
        "features",
        code=list_code(opened.folder, query),
        data=shown.assign(tokens=[" ".join(map(visible_token, one)) for one in shown["tokens"]]),
        method=(
            "Density is the share of the text's tokens at which a feature is above 0. Most telling: features that fire "
            "at 20 tokens or more and at less than 1 % of them, the strongest first; then the others. Search looks for "
            "the text, as it stands, in labels and in the ten tokens on which a feature's activations add up to most. "
            "Without a label a row shows the words of its strongest examples in which it is highest. Data holds the "
            "rows of this page of the list, with the first four of these tokens."
        ),
    )
    return order


def _rows(opened: OpenStore, query: FeatureQuery, shown: pd.DataFrame) -> None:
    lines, names = [], opened.names(shown["feature"].tolist())
    for one in shown.to_dict("records"):
        name = names[int(one["feature"])]
        often = "dead" if one["dead"] else share(one["density"])
        lines.append((int(one["feature"]), [str(one["feature"]), name, often]))
    rows(
        lines,
        ["feature", "label or words at its peaks", "density"],
        key="feature-list",
        fingerprint=f"{opened.folder} {query} {lines[0][0]} {len(lines)}",
        chose=go,
        chosen=int(st.session_state[FEATURE]),
        soft=[int(one["feature"]) for one in shown.to_dict("records") if not one["label"]],
        label="Features; click one, or go there with the arrow keys and press Enter",
        height=560,
    )


def _first_feature(opened: OpenStore) -> None:
    """Set which feature is shown where nobody has said, or where this store has not so many."""
    here = str(opened.folder)
    changed = st.session_state.get("features-store") not in (None, here)
    st.session_state["features-store"] = here
    last = opened.info.d_sae - 1
    said = st.session_state.get(FEATURE)
    if said is None:
        linked = st.query_params.get(FEATURE, "")
        said = int(linked) if linked.isascii() and linked.isdigit() else None
        if said is not None and said > last:
            st.caption(f"The link asked for feature {said}; there is 0 to {last}.")
    if said is None or said > last or changed:
        said = opened.telling
    _show(said)


def _show(feature: int) -> None:
    st.session_state[FEATURE] = feature
    st.query_params[FEATURE] = str(feature)


def _page(order: Order) -> int:
    last = max(0, (len(order.features) - 1) // PAGE)
    turned = st.session_state.get(_TURNED)
    if turned is not None:
        return min(int(turned), last)
    at = order.place(int(st.session_state[FEATURE]))
    return 0 if at is None else at // PAGE


def _turn(page: int, count: int) -> None:
    last = (count - 1) // PAGE
    if last == 0:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, label, to in (("back", "←", page - 1), ("forth", "→", page + 1)):
            st.button(
                label,
                key=f"list-{name}",
                disabled=not 0 <= to <= last,
                help="The features before these" if to < page else "The features after these",
                on_click=st.session_state.update,
                args=({_TURNED: to},),
            )
        st.caption(f"{page * PAGE + 1:,} to {min(count, (page + 1) * PAGE):,} of {count:,}")


def _say_how_many(opened: OpenStore, count: int, query: FeatureQuery) -> None:
    """How many there are, in which order."""
    whole = opened.info.d_sae
    filtered = query != FeatureQuery(by=query.by, descending=query.descending)
    if count == 0:
        st.info(
            "No feature is like that. Search looks in labels and top tokens, which may be pieces of a word; try fewer "
            "letters, or fewer filters."
        )
    else:
        many = f"{count:,} of {whole:,}" if filtered else f"{whole:,}"
        st.caption(f"{many} features, {_order_said(query)}.")


def _order_said(query: FeatureQuery) -> str:
    if query.by != "match":
        return _SAID[query.by, query.descending]
    if query.text:
        return "the best matches first, then the most telling"
    return "the most telling first: strong, but at less than 1 % of the tokens (and at 20 or more)"
