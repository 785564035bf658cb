"""The causal check of the Heads page: does losing the best heads hurt more than losing as many others?"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import Asked, choice, computed, foot, number, switch, view_link
from workbench.app.views.head_figures import CALLED, check_figure
from workbench.app.views.head_scripts import check_code
from workbench.app.views.heads import DRAWS, METHODS, SEQUENCES, Check, Scores, best_sites, check_heads


def draw_check(asked: Asked, several: Sequence[Scores], by: str, haystack: str) -> None:
    """Draw the part of the page that ablates; it computes when its switch is on."""
    scores = several[0]
    st.subheader("What is lost without them", anchor=False)
    st.caption(
        f"The best {scores.unit}s are taken out together, then {DRAWS} random sets of as many in the same layers. "
        "Heads that matter cost more than the others."
    )
    most = max(1, min(len(each.table) for each in several) // 2)
    if int(st.session_state.get("k", 1)) > most:
        st.session_state["k"] = most
    with st.container(horizontal=True, vertical_alignment="bottom"):
        k = number(f"How many {scores.unit}s", 1, most, "k", default=min(most, max(1, scores.clear)))
        method = choice("In their place", METHODS, "method", help="mean and resample: from the same texts, intact.")
    for one in several:
        sites = best_sites(one, k, by)
        view_link(
            "ablate",
            f"Send {_listed(sites)} to Ablate",
            model=one.model,
            prompt=asked.prompt_id,
            sites=",".join(sites),
        )
    if not switch("Run the causal check", "check", help="Takes a forward pass of 8 sequences for each random set."):
        return
    for letter, one in zip("AB", several, strict=False):
        _checked(letter, one, k, by, method, haystack)


def _listed(sites: Sequence[str]) -> str:
    return ", ".join(sites[:4]) + (f" and {len(sites) - 4} more" if len(sites) > 4 else "")


def _checked(letter: str, scores: Scores, k: int, by: str, method: str, haystack: str) -> None:
    def work(job: Job) -> Check:
        with the_server().models.lend(scores.model) as model:
            return check_heads(model, scores, k, by, method, haystack)

    key = ("heads-check", scores.model, scores.kind, haystack, scores.looked, k, by, method)
    check = computed(f"ablating {k} {scores.unit}s of {called(scores.model)}", key, work)
    figure = check_figure(check)
    st.plotly_chart(figure, key=f"check-{letter}")
    top = check.table.set_index("condition").loc["top"]
    measure, _, label = check.decisive.partition("_")
    where = {"second": " on the second copy of the repeated tokens", "": ""}.get(
        label, f" at positions labelled {label}"
    )
    st.caption(
        f"{called(scores.model)} without {_listed(str(top['heads']).split())}: bars are means over {SEQUENCES} "
        "sequences with 95 % intervals; for random sets the interval is over the sets. "
        f"p = {top[f'p_{check.decisive}']:.3f} "
        f"(it could be {top['p_least']:.3f} at least): the share of sets, this one counted, that do as much harm to "
        f"the {measure}{where}."
    )
    for note in check.notes:
        st.warning(note)
    foot(
        f"heads-check-{scores.kind}-{letter}",
        code=check_code(scores, k, by, method, haystack),
        data=check.table,
        method=f"ablate_top_k: {CALLED['top']} are the {k} first by {by}; each random set has as many in every layer. "
        "The tokens are drawn with another seed than the finder's: what is confirmed is not what was selected on. "
        "Loss in nats, accuracy from 0 to 1. Random sets may hold heads of other kinds that the task needs, too.",
        figure=figure,
    )
