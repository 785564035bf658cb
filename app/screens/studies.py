"""Studies: those of the workspace, how far they are, what they found, two side by side."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import pandas as pd
import streamlit as st

from workbench.app.serving import the_server
from workbench.app.serving.study_runs import RUNS, StudyRuns
from workbench.app.shell import begin, choice, computed, foot, plain
from workbench.app.views.studies import (
    EXAMPLE,
    KEYS,
    Listed,
    compared,
    compared_code,
    files_of,
    found_code,
    found_in,
    runs_of,
    runs_table,
    stamp,
)
from workbench.errors import WorkbenchError
from workbench.report import Block, Code, Heading, Note, Paragraph, Plot, Table, write_atomically
from workbench.studies import read_study

POLL = 1.0
"""Seconds between two looks at runs that go on."""

TALL = 360
"""Pixels of a study's file that are seen at once, so that what follows is not pushed away."""

WIDTHS = {"run": 150, "question": 230, "models": 100, "state": 70, "units": 130, "started": 130, "versions": 90}
"""Pixels of the columns of the table of runs."""

NONE = "none"

FOLDED = "Coverage"
"""The heading of a report from which on it is folded away."""

STARTED = "studies-started"
"""In the session: the run that was started from here and is not listed yet."""

PUT = "studies-put"
"""In the session: the example that was put into the workspace from here."""

WHERE = (
    "YAML files of the workspace and of its folder studies/ that have two at least of the keys "
    f"{', '.join(KEYS[:-1])} and {KEYS[-1]}, the newest first."
)

ENDING = "studies-ending"
"""In the session: the run that was asked from here to end."""

REFUSED = "studies-refused"
"""In the session: why what was pressed last could not be done. It is said beside the page, of which parts are drawn
again every second."""

SO_FAR = "studies-so-far"
"""In the session: the run whose results were asked for while it goes on, and its `stamp` then."""


@lru_cache(maxsize=1)
def the_runs() -> StudyRuns:
    """What starts studies for this server."""
    return StudyRuns(the_server().workspace)


def draw() -> None:
    """Draw the page."""
    begin("Studies", "Many edits on many prompts, from one file: planned, run beside the app, kept in the workspace.")
    _say_why_not()
    runs = _runs()
    # What goes on, or would not, stands first: a study's file, which is long, would push it off the screen.
    first = st.container()
    with first:
        _watch_first(runs)
    _start(empty=not runs and STARTED not in st.session_state)
    if not runs:
        return
    st.subheader("Runs", anchor=False)
    _listing(runs)
    chosen = choice("Run", [run.name for run in runs], "run")
    run = next(one for one in runs if one.name == chosen)
    leads = run.going or the_runs().refused(_place(run))
    below = st.container()
    # A bar is taken away before another is drawn, not when all of the page is: else two would be seen.
    if not leads:
        first.empty()
    if run.going:
        st.empty()  # where the results of a run that has ended are waited for
    with first if leads else below:
        _state_of(run)
    if run.status is not None and run.going:
        _so_far(run)
    elif run.status is not None:
        _results(run, stamp(_place(run)))
        _comparison(run, runs)


def _runs() -> list[Listed]:
    return runs_of(the_server().workspace, the_runs().launched)


def _place(run: Listed) -> Path:
    return the_server().workspace.inside(Path(RUNS) / run.name)


def _listing(runs: list[Listed]) -> None:
    def listed() -> None:
        st.dataframe(
            runs_table(_runs()),
            hide_index=True,
            width="stretch",
            column_config={name: st.column_config.Column(width=width) for name, width in WIDTHS.items()},
        )

    st.fragment(listed, run_every=POLL if any(run.going for run in runs) else None)()
    st.caption(f"The folder {RUNS}/ of the workspace, the newest first. A unit is one edit on one prompt.")


# ---- starting and following


def _start(empty: bool) -> None:
    workspace = the_server().workspace
    files = files_of(workspace)
    if empty:
        st.info("There is no run in the workspace yet. Start a study file below, or save one on the page Ablate.")
    with st.expander("Start a study", expanded=empty):
        if not files:
            st.text(f"There is no study file yet. What is looked for: {WHERE}")
            st.button(
                "Put an example into studies/",
                help="Which heads does copying depend on? Sixteen heads, half a minute.",
                on_click=_told,
                args=(_put_example,),
            )
            return
        file = choice("Study file", files, "file", help=WHERE)
        if st.session_state.get(PUT) == file:
            st.text(f"{file} is in the workspace now, yours to change.")
        path = workspace.inside(file)
        try:
            study = read_study(path)
        except WorkbenchError as error:
            st.error(plain(str(error).replace(f"{path}", file)))
            return
        st.text(study.question or study.name)
        st.button(
            "Start",
            type="primary",
            help=f"Results go into {RUNS}/{study.name}",
            on_click=_told,
            args=(lambda: _begin(Path(file), study.name),),
        )
        st.code(path.read_text(encoding="utf-8"), language="yaml", wrap_lines=True, height=TALL)
        st.caption(f"In a terminal, in the workspace: workbench study run {plain(file)}")


def _begin(file: Path, name: str) -> None:
    the_runs().start(file, Path(RUNS) / name)
    st.session_state[STARTED] = name


def _put_example() -> None:
    folder = the_server().workspace.inside("studies")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "which-heads-copy.yaml", EXAMPLE)
    st.session_state[PUT] = "studies/which-heads-copy.yaml"


def _told(act: Callable[[], object]) -> None:
    try:
        act()
    except (WorkbenchError, OSError) as error:
        st.session_state[REFUSED] = str(error)


def _say_why_not() -> None:
    if REFUSED in st.session_state:
        st.toast(plain(st.session_state.pop(REFUSED)), icon=":material/error:", duration="long")


def _watch_first(runs: list[Listed]) -> None:
    """Until a run that was started here is there to be listed; then it is the one that is looked at."""
    name = st.session_state.get(STARTED)
    if name is None:
        return
    folder = Path(RUNS) / name
    if name in [run.name for run in runs]:
        st.session_state["run"] = st.session_state.pop(STARTED)
        return
    if not the_runs().starting(folder):
        if not the_runs().refused(folder):
            st.text(f"{name} was cancelled before anything was planned.")
            del st.session_state[STARTED]
            return
        st.error(f"{plain(name)} ended before it was planned.")
        st.code(the_runs().said(folder), language=None)
        return

    @st.fragment(run_every=POLL)
    def watched() -> None:
        if name in [run.name for run in _runs()] or not the_runs().starting(folder):
            st.rerun()
        st.progress(0.0, text=f"Starting {name}")
        if st.button("Cancel", key="cancel-first"):
            the_runs().stop(folder)

    watched()


def _state_of(run: Listed) -> None:
    folder = Path(RUNS) / run.name
    drawn = run.going, run.launched is not None, run.status is not None

    def shown() -> None:
        now = next((one for one in _runs() if one.name == run.name), run)
        if (now.going, now.launched is not None, now.status is not None) != drawn:
            st.rerun()  # of the whole page, which draws other things then, such as results
        _say_why_not()
        told = ": ".join(part for part in (now.state, now.progress) if part)
        if now.going:
            st.progress(now.share, text=told)
            st.button(
                "Cancel",
                key="cancel-run",
                help="As Ctrl-C: what is measured is kept",
                on_click=_told,
                args=(lambda: _ask_to_end(now),),
            )
            if st.session_state.get(ENDING) == run.name:
                st.text("Asked to end; the batch at hand is finished first.")
            return
        if st.session_state.get(ENDING) == run.name:
            del st.session_state[ENDING]
        st.text(f"{told[:1].upper()}{told[1:].rstrip('.')}.")
        if now.launched is not None:
            return  # its process is about to be gone, and only then another may begin
        unfinished = now.status is not None and not now.status.finished
        if unfinished:
            st.button(
                "Resume",
                key="resume-run",
                help="Go on with what is missing or failed",
                on_click=_told,
                args=(lambda: the_runs().resume(folder),),
            )
        if the_runs().refused(folder):
            changed = the_runs().changed(folder)
            if changed:
                st.warning("The study has changed since this run was planned. The run said:")
            else:
                st.error("The last process that was started for this run ended with an error. It said:")
            st.code(the_runs().said(folder), language=None, wrap_lines=True)
            if changed:
                st.button(
                    "Replan",
                    key="replan-run",
                    help="Go on with the changed study; what is in both is kept",
                    on_click=_told,
                    args=(lambda: the_runs().replan(folder),),
                )

    st.fragment(shown, run_every=POLL if run.going or run.launched is not None else None)()


def _ask_to_end(run: Listed) -> None:
    the_runs().stop(Path(RUNS) / run.name)
    st.session_state[ENDING] = run.name


# ---- what came out


def _so_far(run: Listed) -> None:
    """What a run that goes on has measured, as it was when somebody asked: it is another every second."""
    if st.button("Show what is measured so far", help="Press again for what has come since"):
        st.session_state[SO_FAR] = run.name, stamp(_place(run))
    name, then = st.session_state.get(SO_FAR, (None, ()))
    if name == run.name:
        _results(run, then)


def _results(run: Listed, then: tuple[int, ...]) -> None:
    folder = _place(run)
    found = computed("reading the results", ("studies", run.name, *then), lambda job: found_in(folder))
    st.subheader(plain(run.name), anchor=False)
    st.text(found.page.lead)
    _blocks(found.page.blocks, f"study-{run.name}")
    foot(
        f"study-{run.name}",
        code=found_code(f"{RUNS}/{run.name}"),
        data=found.effects,
        method=_METHOD,
    )
    with st.container(horizontal=True):
        st.download_button(
            "Effects (Parquet)", lambda: _parquet(found.effects), f"{run.name}.effects.parquet", key="effects-parquet"
        )
        st.download_button(
            "Every number (Parquet)", lambda: _parquet(found.units), f"{run.name}.units.parquet", key="units-parquet"
        )
        st.download_button(
            "Every number (CSV)",
            lambda: found.units.to_csv(index=False),
            f"{run.name}.units.csv",
            "text/csv",
            key="units-csv",
        )
    st.caption(f"As one page that opens anywhere: workbench study report {RUNS}/{run.name}")


_METHOD = (
    "An effect is the metric with the edit less without, prompt by prompt; what is shown is its mean over groups of "
    "prompts.\nIntervals are a bootstrap over groups, one by one; q is the false discovery rate (Benjamini and "
    "Hochberg) within a model, entry of edits and metric, from sign-flip tests.\nRandom controls are other components, "
    "as many and of the same kind; p among controls is (1 + controls that do as much) / (1 + controls).\nThe folder is "
    "opened to read only, and may be written to meanwhile."
)


def _comparison(run: Listed, runs: list[Listed]) -> None:
    others = [one.name for one in runs if one.name != run.name and one.status is not None]
    if not others:
        return
    st.subheader("Compare", anchor=False)
    other = choice("Compare with", [NONE, *others], "against")
    if other == NONE:
        st.caption("The same edits in two runs: how much more they do in one than in the other.")
        return
    workspace = the_server().workspace
    first, second = (workspace.inside(Path(RUNS) / name) for name in (run.name, other))
    found = computed(
        "comparing",
        ("studies-compare", run.name, other, *stamp(first), *stamp(second)),
        lambda job: compared(first, second),
    )
    st.text(found.page.lead)
    _blocks(found.page.blocks, f"compare-{run.name}-{other}")
    foot(
        f"compare-{run.name}-{other}",
        code=compared_code(f"{RUNS}/{run.name}", f"{RUNS}/{other}"),
        data=found.differences,
        method="A is the run above, B the one it is compared with; B - A. Where both were measured on the same prompts "
        "the difference is taken prompt by prompt and tested by flipping signs; else each is resampled on its own.",
    )


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _blocks(blocks: Iterable[Block], key: str) -> None:
    """The blocks of a report, on the page; from its coverage on, folded away."""
    listed = list(blocks)
    end = next((at for at, block in enumerate(listed) if isinstance(block, Heading) and block.text == FOLDED), None)
    _drawn(listed[:end], key)
    if end is not None:
        with st.expander("Coverage, runs, how the numbers were made, the study file"):
            _drawn(listed[end:], f"{key}-more")


def _drawn(blocks: list[Block], key: str) -> None:
    for number, block in enumerate(blocks):
        if isinstance(block, Heading):
            if block.level == 2:
                st.subheader(plain(block.text), anchor=False)
            else:
                st.markdown(f"**{plain(block.text)}**")
        elif isinstance(block, Paragraph):
            st.text(block.text)
        elif isinstance(block, Note):
            st.text(f"Note: {block.text}")
        elif isinstance(block, Code):
            st.code(block.text, language="yaml")
        elif isinstance(block, Plot):
            st.plotly_chart(block.figure, key=f"{key}-{number}")
            st.caption(plain(block.caption))
        elif isinstance(block, Table):
            rows = pd.DataFrame([list(row) for row in block.rows], columns=_apart(block.columns))
            st.dataframe(rows, hide_index=True, width="stretch", key=f"{key}-{number}")
            if block.caption:
                st.caption(plain(block.caption))


def _apart(names: Iterable[str]) -> list[str]:
    """Names of columns, told apart where two are alike."""
    found: list[str] = []
    for name in names:
        found.append(name if name not in found else f"{name} ({found.count(name) + 1})")
    return found
