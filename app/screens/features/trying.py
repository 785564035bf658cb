"""Try a text: this feature at each of its tokens, and all that fire at a token that is clicked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from workbench.app.components import kept, rows, token_strip
from workbench.app.screens.features.listing import go
from workbench.app.screens.features.own_text import tried_text
from workbench.app.serving import Job, the_server
from workbench.app.shell import asked, computed, foot, plain
from workbench.app.views.features import scripts
from workbench.app.views.features.facts import Facts, of_largest
from workbench.app.views.features.stores import OpenStore
from workbench.app.views.features.trying import LONGEST, TextFeatures, text_features
from workbench.figures.tokens import visible_token
from workbench.saes.features.batch import FeatureBatch


def trying_panel(opened: OpenStore, facts: Facts, tables: FeatureBatch) -> None:
    """Draw the panel."""
    model = asked().model
    if not is_its_model(opened, model):
        return
    text, text_id = tried_text()

    def work(job: Job) -> TextFeatures:
        with the_server().models.lend(model) as lent:
            return text_features(lent, opened, text)

    found = computed("reading the features of the text", ("features", "text", model, str(opened.folder), text_id), work)
    values = found.of(facts.feature)
    if found.whole > len(found.tokens):
        st.caption(f"Truncated to the first {len(found.tokens):,} of {found.whole:,} tokens.")
    if len(found.read) < len(found.tokens):
        st.caption(f"The autoencoder reads {len(found.read):,} of these {len(found.tokens):,} tokens.")
    token_strip(
        found.tokens,
        values / facts.most if facts.most > 0 else values,
        key="try-strip",
        fingerprint=f"{opened.folder} {text_id} {facts.feature}",
        signed=False,
        ids=found.ids,
        name="of its largest activation" if facts.most > 0 else "activation",
        limit=1.0 if facts.most > 0 else None,
        label=f"Feature {facts.feature} at each token of the text",
        resting="Click a token to see all features that fire there.",
        keep="token",
    )
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    st.caption(_how_strong(facts, highest))
    at = kept("token", [len(found.tokens)])
    _fire_there(opened, found, None if at is None else at[0], text_id)
    read = found.read
    foot(
        f"text-{facts.feature}",
        code=scripts.trying_code(model, opened.folder, facts.feature, text, LONGEST),
        data=pd.DataFrame(
            {"position": read, "token": [found.tokens[place] for place in read], "activation": values[read]}
        ),
        method=(
            "The text goes through the model, and what passes at the autoencoder's hook through its encoder. "
            "Activations are shown as parts of the feature's largest one in the store's text, which has the full "
            f"colour and is {facts.most:.6g} in the autoencoder's unit, in which Data holds them. Features are listed "
            "by this part: with the activation itself, those that fire everywhere would always lead."
        ),
    )


def is_its_model(opened: OpenStore, model: str) -> bool:
    """Whether the sidebar's model is the store's; says so where it is not."""
    name = str(opened.info.model)
    if name.rsplit("/", 1)[-1] == model.rstrip("/").rsplit("/", 1)[-1]:
        return True
    st.info(f"This store is of {plain(name)}; choose it as model A in the sidebar to run it.")
    return False


def _how_strong(facts: Facts, highest: float) -> str:
    if highest <= 0:
        return f"Feature {facts.feature} does not fire in this text."
    if facts.most <= 0:
        return "It fires here, though it fires nowhere in the store's text."
    return f"At most {facts.of_largest(highest)} here of its largest activation in the store's text."


def _fire_there(opened: OpenStore, found: TextFeatures, at: int | None, text_id: str) -> None:
    """The features of a token, or of the whole text."""
    largest = opened.largest
    if at is None:
        st.markdown("**Strongest features of the whole text**")
        listed = [
            (feature, value, visible_token(found.tokens[place])) for feature, value, place in found.strongest(largest)
        ]
        heads = ["feature", "label or words at its peaks", "at token", "of its largest"]
    else:
        st.markdown(f"**Features that fire at token {at}**")
        listed = [(feature, value, "") for feature, value in found.at(at, largest)]
        heads = ["feature", "label or words at its peaks", "of its largest"]
        st.button("Whole text", on_click=_forget_token, key="try-whole")
    if not listed:
        read = at is None or at in found.read
        st.caption("No feature fires there." if read else "The autoencoder does not read this token.")
        return
    features = [feature for feature, _, _ in listed]
    table, names = opened.rows(features).to_dict("records"), opened.names(features)
    lines = []
    for feature, value, token in listed:
        name, strong = names[feature], of_largest(value, float(largest[feature]))
        lines.append((feature, [str(feature), name, token, strong] if at is None else [str(feature), name, strong]))
    rows(
        lines,
        heads,
        key="try-rows",
        fingerprint=f"{opened.folder} {text_id} {at}",
        chose=go,
        chosen=int(st.session_state["feature"]),
        soft=[int(one["feature"]) for one in table if not one["label"]],
        label="Features that fire; click one to go there",
        height=320,
    )


def _forget_token() -> None:
    st.query_params.pop("token", None)
