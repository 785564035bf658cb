"""What a store says of a feature: logits and histogram, examples, neighbours."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from workbench.app.components import rows
from workbench.app.screens.features.listing import go
from workbench.app.shell import foot, number, switch
from workbench.app.views.features import scripts
from workbench.app.views.features.examples import Band, bands_of, examples_html
from workbench.app.views.features.facts import (
    Facts,
    at_median,
    histogram_caption,
    histogram_figure,
    logit_bars,
    logits_caption,
    share,
    split_logits,
    summed_tokens,
)
from workbench.app.views.features.stores import OpenStore
from workbench.saes.features.batch import FeatureBatch


def _pictures(opened: OpenStore, facts: Facts, tables: FeatureBatch) -> None:
    """Logits and histogram, side by side."""
    logits, counts = tables.logits(facts.feature), tables.histogram(facts.feature)
    left, right = st.columns([1.3, 1], gap="medium")
    with left:
        if logits.empty:
            _no_logits(opened, facts, tables.top_tokens(facts.feature))
        else:
            _logits(at_median(logits, facts, opened.info.final_scale), logits_caption(facts, opened.info.final_scale))
    figure = None
    if not facts.dead:
        with right, st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**Activations**", width="content")
            log = switch("log axis", "log", help="Count tokens on a logarithmic axis.")
        figure = histogram_figure(counts, facts, log=log)
        right.plotly_chart(figure, key="histogram", config={"displayModeBar": False})
        right.caption(histogram_caption(facts))
    foot(
        f"feature-{facts.feature}",
        code=scripts.pictures_code(opened.folder, facts.feature)
        + ("" if facts.dead else f"\n{scripts.proposing_code(opened.folder, facts.feature)}"),
        data={
            **{f"logits_{name}": logits[name].to_numpy() for name in ("token_id", "effect")},
            **{f"histogram_{name}": counts[name].to_numpy() for name in counts},
        },
        method=(
            f"{_unit(opened, facts)} Logits: the feature's decoder direction times the unembedding, with the final "
            "norm's weight, times the feature's median activation where it fires, over the norm's scale in the middle "
            "of this text; at a token with another scale the numbers are all larger or smaller. It is the direct "
            "effect, past the layers after it; only differences between tokens count, since a softmax does not see "
            "what is added to all alike. Data holds them a unit of activation, before the scale. Activations: all that "
            "are above 0 in the text, in equal parts from 0 to the largest."
        ),
        figure=figure,
    )


def _unit(opened: OpenStore, facts: Facts) -> str:
    """The numbers of which the page shows shares."""
    if facts.dead:
        return "It never fires in this text."
    scale = opened.info.final_scale
    return (
        f"Its largest activation is {facts.most:.6g}, its median one {facts.quartiles[1]:.6g}: lengths along a "
        "direction of length 1, in the unit of the vectors that the autoencoder reads"
        + ("." if scale is None else f"; the final norm divides by {scale:.6g} in the middle.")
    )


def _no_logits(opened: OpenStore, facts: Facts, top_tokens: pd.DataFrame) -> None:
    """What it fires on, in the place of what it makes likelier, which cannot be said at this hook."""
    if not top_tokens.empty:
        table = summed_tokens(top_tokens, facts)
        st.markdown("**Top tokens**")
        st.html(logit_bars(table, "up", float(table["effect"].max()), written=share))
        st.caption("The tokens on which its activations add up to most, as shares of all its activation.")
    st.caption(f"No logits: {opened.info.no_logits or 'none were collected.'}")


def _logits(table: pd.DataFrame, caption: str) -> None:
    down, up = split_logits(table)
    largest = float(table["effect"].abs().max())
    sides = (("Negative logits", down, "down"), ("Positive logits", up, "up"))
    for half, (title, part, kind) in zip(st.columns(2, gap="small"), sides, strict=True):
        with half:
            st.markdown(f"**{title}**")
            st.html(logit_bars(part, kind, largest))
    st.caption(caption)


def examples_panel(opened: OpenStore, facts: Facts, tables: FeatureBatch) -> None:
    """Logits and histogram, and examples of all strengths."""
    _pictures(opened, facts, tables)
    if facts.dead:
        st.info("It fires nowhere in this text, so there is no example of it.")
        return
    said, count = st.columns([3, 1], vertical_alignment="bottom")
    said.caption(
        "The more vermillion a token, the stronger the feature is there. The peak is underlined; in front stands its "
        "activation, in percent of the feature's largest. Point at a token for its value."
    )
    with count:
        per_band = number("Examples each", 1, 20, "examples", default=4)
    for band in bands_of(opened.store.bands()):
        _band(band, facts, tables, per_band)
    found = tables.examples(facts.feature)
    foot(
        f"examples-{facts.feature}",
        code=scripts.examples_code(opened.folder, facts.feature, per_band),
        data=pd.DataFrame(
            {
                "band": [one.band for one in found],
                "row": [one.row for one in found],
                "position": [one.position for one in found],
                "value": [one.value for one in found],
                "text": [one.text for one in found],
            }
        ),
        method=(
            "Texts are windows of tokens. In each window in which the feature fires its highest token is found; "
            "windows are ranked by that, and some are drawn from each quarter of the ranks. Not only the strongest are "
            "shown, since these alone make features look clearer than they are."
        ),
    )


def _band(band: Band, facts: Facts, tables: FeatureBatch, per_band: int) -> None:
    some = tables.examples(facts.feature, band.names)[:per_band]
    if some:
        st.markdown(f"**{band.title}** :small[{band.sentence}]")
        st.html(examples_html(some, facts.most))


def neighbours_panel(opened: OpenStore, facts: Facts, tables: FeatureBatch) -> None:
    """Features that write or fire alike, and neurons."""
    near = opened.relabelled(tables.neighbours(facts.feature))
    together = opened.relabelled(tables.neighbours(facts.feature, "firing"))
    neurons = tables.neurons(facts.feature)
    names = opened.names(list(dict.fromkeys(map(int, [*near["feature"], *together["feature"]]))))
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**By direction**")
        _neighbour_rows(near, names, "cosine", "cosine", facts, "near")
        st.caption("Cosine between decoder directions. Near 1: the two write nearly the same. Click one to go there.")
    with right:
        st.markdown("**By firing together**")
        if together.empty:
            st.caption("None fires at the same tokens.")
        else:
            _neighbour_rows(together, names, "phi", "phi", facts, "together")
            st.caption("Phi: the correlation of firing or not, over all tokens. Near 1: both fire at the same tokens.")
    st.markdown("**Correlated neurons**")
    if neurons.empty:
        st.caption(
            "None were read along with this store. Stores that are built on this page read the MLP of the "
            "autoencoder's layer; `workbench sae features --neurons HOOK` reads any other."
        )
    else:
        pairs = zip(neurons["neuron"], neurons["correlation"], strict=True)
        said = ", ".join(f"{neuron} ({correlation:+.2f})" for neuron, correlation in pairs)
        st.caption(f"Of {opened.info.options['neurons']}, with Pearson's correlation over all tokens: {said}.")
    foot(
        f"neighbours-{facts.feature}",
        code=scripts.neighbours_code(opened.folder, facts.feature),
        data=pd.concat(
            [near.assign(by="decoder"), together.assign(by="firing")] if len(together) else [near.assign(by="decoder")]
        ),
        method=(
            "By direction: cosine of decoder rows. By firing: phi, Pearson's correlation of two features' being above "
            "0. Neurons: Pearson's correlation of the neuron's value with the feature's activation."
        ),
    )


def _neighbour_rows(table: pd.DataFrame, names: dict[int, str], column: str, head: str, facts: Facts, key: str) -> None:
    lines = [
        (int(one["feature"]), [str(one["feature"]), names[int(one["feature"])], f"{one[column]:.2f}"])
        for one in table.to_dict("records")
    ]
    rows(
        lines,
        ["feature", "label or words at its peaks", head],
        key=f"neighbours-{key}",
        fingerprint=f"{facts.feature} {key}",
        chose=go,
        soft=[int(one["feature"]) for one in table.to_dict("records") if not one["label"]],
        label=f"Features {head}; click one to go there",
    )
