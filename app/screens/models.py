"""Models: what there is to open."""

from __future__ import annotations

from functools import partial

import streamlit as st

from workbench.app.navigation import ENTRIES
from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import begin, computed, foot, view_link
from workbench.app.views.models import (
    Facts,
    carried,
    facts,
    heads,
    memory_figure,
    support,
    table,
    table_code,
    zoo_facts,
)

COLUMNS = 3
METHOD = """State: bytes of all that a model needs to go on (recurrent states, convolution windows, keys and values), \
from model.prefill of 4 and of 5 tokens; the difference is what each token adds.
Bits a byte: cross-entropy on held-out English over its bytes. Lower is better.
Copying: share of the second copy of 32 random tokens that is the model's first choice."""


def draw() -> None:
    asked = begin(
        "Models",
        "Small models that differ in how they carry information from token to token, ready to open. In the sidebar "
        "any hub id, or a directory or .gguf file of the workspace, can be typed as well.",
    )

    def read_zoo(job: Job) -> list[Facts]:
        return zoo_facts()

    found = computed("reading the zoo", ("models", "zoo"), read_zoo)
    for source in asked.models:
        if not source.startswith("zoo:"):
            found = [computed(f"opening {called(source)}", ("models", source), partial(_opened, source)), *found]
    pages = [(entry.name, entry.title) for entry in ENTRIES if entry.section != "Keep" and entry.name != "models"]
    for begins in range(0, len(found), COLUMNS):
        for column, one in zip(st.columns(COLUMNS), found[begins : begins + COLUMNS], strict=False):
            with column.container(border=True):
                _card(one, one.source in asked.models, pages, asked.prompt_id)
    st.subheader("Memory and prediction", anchor=False)
    st.caption(
        "Each point is a model of the zoo. Further left: less is carried along; further down: text is predicted "
        "better; colour: how well it copies. All were trained on the same text for the same number of steps."
    )
    figure = memory_figure(found)
    st.plotly_chart(figure, key="memory")
    foot("models", code=table_code(), data=table(found), method=METHOD, figure=figure)
    st.subheader("Which page shows what", anchor=False)
    st.dataframe(support(found, pages), hide_index=True)


def _card(one: Facts, chosen: bool, pages: list[tuple[str, str]], prompt_id: str) -> None:
    if one.source.startswith("zoo:"):
        st.markdown(f"**{one.source}**" + (" · chosen" if chosen else ""))
    else:  # typed by somebody: no Markdown
        st.text(called(one.source) + (" · chosen" if chosen else ""))
    lines = [
        f"{one.parameters / 1e6:.1f} M parameters · {one.layers} layers × {one.width}",
        f"{', '.join(one.mixers)} · {heads(one)}",
        f"carries {carried(one)}",
        f"vocabulary {one.vocabulary:,}" + ("" if one.tokenizer else " · no tokenizer"),
        f"runs on {one.where} · {one.licence}",
    ]
    if one.bits is not None and one.copying is not None:
        lines.insert(3, f"{one.bits:.2f} bits a byte · copies {one.copying:.0%} of 32 tokens")
    if one.autoencoders:
        lines.append(f"comes with {len(one.autoencoders)} autoencoder{'s' if len(one.autoencoders) > 1 else ''}")
    st.text("\n".join(lines))
    with st.container(horizontal=True):
        for name, title in pages[:1] + [item for item in pages[1:] if item[0] == "features" and one.autoencoders]:
            view_link(name, title, model=one.source, prompt=prompt_id)


def _opened(source: str, job: Job) -> Facts:
    with the_server().models.lend(source) as model:
        return facts(model, source)
