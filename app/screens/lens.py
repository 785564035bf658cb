"""Lens: what the model would say if it stopped at an earlier layer."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from workbench.app.components import Axis, canvas_matrix, kept, matrix
from workbench.app.screens.lens_training import draw_training
from workbench.app.serving import Job, the_server
from workbench.app.serving.sources import called
from workbench.app.shell import Asked, begin, choice, computed, foot, number
from workbench.app.views.lens import (
    CURVES,
    MEASURES,
    Cell,
    Grid,
    cell_code,
    curves_code,
    depth_names,
    described,
    grid_code,
    read_cell,
    read_grid,
)
from workbench.app.views.lens_figures import depth_curve
from workbench.app.views.tuned import Tuned, lens_folder, saved_lens
from workbench.errors import InputError
from workbench.figures.tokens import visible_token
from workbench.model import HookedModel
from workbench.probes import lenses
from workbench.probes.lenses import Lens

CHOICES = ("logit", "tuned", "both")

SHORT = {"probability": "top token", "entropy": "entropy", "kl": "KL to the end", "loss": "loss"}
"""The measures where there is little room; a caption has them in full."""

MOST = 128
"""Tokens of a window: more columns of words than that nobody reads."""

METHODS = {
    "logit": "Logit lens: the residual stream at a depth goes through the model's own final norm and unembedding, as "
    "if it were the last one (nostalgebraist 2020).",
    "tuned": "Tuned lens: an affine map of each depth, trained so that what is read off it agrees with the model's "
    "final prediction, then the model's own final norm and unembedding (Belrose et al. 2023).",
}


@dataclass(frozen=True)
class Source:
    """One lens of one model, as results are kept by it.

    Attributes:
        model: its source.
        kind: ``"logit"`` or ``"tuned"``.
        folder: of a tuned lens.
        version: changes when the tuned lens is trained anew.
    """

    model: str
    kind: str
    folder: str | None = None
    version: int = 0

    def of(self, model: HookedModel) -> Lens:
        """The lens of a model."""
        return lenses.LogitLens(model) if self.folder is None else lenses.load_tuned_lens(self.folder, model)


def draw() -> None:
    """Draw the page."""
    asked = begin(
        "Lens",
        "What the model would say if it stopped earlier: read a column upwards, from the embedding to its own answer.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = choice("Lens", CHOICES, "lens", help="Both: the one below the other.")
        measure = choice("Colour", tuple(MEASURES), "colour", show=SHORT.__getitem__)
        first = number("From token", 0, 1_000_000, "from", help="Position of the first token shown, from 0.")
        count = number("Tokens shown", 2, MOST, "count", default=32)
    for letter, model in zip("AB", asked.models, strict=False):
        if len(asked.models) > 1:
            st.header(f"{letter} · {called(model)}", anchor=False)
        _model(asked, model, letter, kind, measure, first, count)


def _model(asked: Asked, model: str, letter: str, kind: str, measure: str, first: int, count: int) -> None:
    wanted = [Source(model, "logit")] if kind != "tuned" else []
    tuned = _tuned(model) if kind != "logit" else None
    if tuned is not None:
        wanted.append(tuned[0])
    grids = {source.kind: _read(asked, source, first, count) for source in wanted}
    at = None
    for source in wanted:
        at = _grid(asked, source, grids[source.kind], letter, measure)
    if tuned is not None:
        st.caption(str(tuned[1]))
    elif kind != "logit":
        draw_training(model, letter)
    if wanted and at is not None:
        _cells(asked, wanted, letter, at, grids)
        _curves(asked, wanted, letter, at, grids)


def _tuned(model: str) -> tuple[Source, Tuned] | None:
    """The tuned lens of a model in the workspace."""
    workspace = the_server().workspace
    try:
        known = saved_lens(workspace, model)
    except InputError as error:
        st.error(str(error))
        return None
    if known is None:
        return None
    folder = lens_folder(workspace, model)
    return Source(model, "tuned", str(folder), (folder / "params.pt").stat().st_mtime_ns), known


def _read(asked: Asked, source: Source, first: int, count: int) -> Grid:
    def work(job: Job) -> Grid:
        with the_server().models.lend(source.model) as model:
            return read_grid(source.of(model), asked.prompt, first, count)

    key = ("lens", source, asked.prompt_id, first, count)
    return computed(f"reading with the {source.kind} lens", key, work)


def _grid(asked: Asked, source: Source, grid: Grid, letter: str, measure: str) -> tuple[int, int]:
    """Draw one grid; the cell that is looked at, the same one in every grid of a model."""
    shown = grid.shown
    values = grid.values(measure)
    name = "cell" if letter == "A" else "cell-b"
    place = kept(name, values.shape)
    # The middle depth of the last token but one, whose next token is known: a guess that is not yet the answer.
    at = (grid.depths // 2, max(0, values.shape[1] - 2)) if place is None else (place[0], place[1])
    st.subheader(f"{source.kind.capitalize()} lens", anchor=False)
    drawn = canvas_matrix(
        values,
        rows=Axis("depth", *depth_names(grid.depths)),
        columns=Axis.of_tokens("token read", shown.tokens, first=shown.first),
        signed=False,
        texts=shown.words,
        upward=True,
        selected=at,
        name=MEASURES[measure],
        notes=_notes(grid, measure),
    )
    matrix(
        drawn,
        key=f"grid-{letter}-{source.kind}",
        fingerprint=f"{source} {asked.prompt_id} {shown.first} {len(shown.tokens)}",
        keep=name,
    )
    st.caption(
        "A cell holds the likeliest next token at that depth. Depth 0 (bottom) is the embedding; the row marked final "
        f"is the model itself. Colour: {MEASURES[measure]}."
    )
    foot(
        f"lens-{source.kind}-{letter}",
        code=grid_code(source.model, asked.prompt, source.folder, shown.first, len(shown.tokens), measure),
        data=shown.table(),
        method=f"{METHODS[source.kind]} Depth l is what block l reads. KL is KL(model || lens), in nats.",
        figure=shown.figure("probability") if measure == "probability" else None,
    )
    return at


def _notes(grid: Grid, measure: str) -> list[str]:
    shown = len(grid.shown.tokens)
    notes = []
    if shown < grid.total:
        last = grid.shown.first + shown - 1
        notes.append(f"Tokens {grid.shown.first} to {last} of {grid.total}; the model has read all before them.")
    if measure == "loss" and grid.shown.first + shown == grid.total:
        notes.append("The last token has no next one, so no loss.")
    return notes


def _cells(asked: Asked, wanted: list[Source], letter: str, at: tuple[int, int], grids: dict[str, Grid]) -> None:
    st.subheader("One cell", anchor=False)
    depth, position = at[0], at[1] + grids[wanted[0].kind].shown.first
    for source, column in zip(wanted, st.columns(len(wanted)), strict=True):

        def work(job: Job, source: Source = source) -> Cell:
            with the_server().models.lend(source.model) as model:
                return read_cell(source.of(model), asked.prompt, depth, position)

        cell = computed("reading a cell", ("lens-cell", source, asked.prompt_id, depth, position), work)
        table = pd.DataFrame(
            {
                "token": [visible_token(word) for word in cell.words],
                "id": cell.ids,
                "probability": cell.probabilities,
                "the model's own": cell.final,
            }
        )
        with column:
            st.text(f"{source.kind.capitalize()} lens. {described(cell)}")
            st.dataframe(table, hide_index=True, column_config=_BARS, key=f"top-{letter}-{source.kind}", height=388)
            st.caption(
                f"The {len(table)} likeliest next tokens at this depth, and what the model gives each in the end."
            )
            foot(
                f"lens-cell-{source.kind}-{letter}",
                code=cell_code(source.model, asked.prompt, source.folder, depth, position),
                data=table.assign(position=position, depth=depth),
                method=f"{METHODS[source.kind]} Rank 1 is the likeliest token of the whole vocabulary.",
            )


_BARS = {
    "probability": st.column_config.ProgressColumn("probability", format="%.3f", min_value=0, max_value=1),
    "the model's own": st.column_config.ProgressColumn("in the end", format="%.3f", min_value=0, max_value=1),
}


def _curves(asked: Asked, wanted: list[Source], letter: str, at: tuple[int, int], grids: dict[str, Grid]) -> None:
    st.subheader("Over depth", anchor=False)
    shown = grids[wanted[0].kind].shown
    listed = [grids[source.kind] for source in wanted]
    for measure, column in zip(CURVES, st.columns(len(CURVES)), strict=True):
        with column:
            figure = depth_curve(listed, measure, at[1] + shown.first)
            st.plotly_chart(figure, key=f"{measure}-{letter}")
    st.caption(
        f"Means over the {len(shown.tokens)} tokens shown, in nats; dotted, the selected position. "
        "KL falls to 0 at the last depth, where every lens is the model."
    )
    foot(
        f"lens-depth-{letter}",
        code=curves_code(
            wanted[0].model,
            asked.prompt,
            {f"by_{source.kind}": source.folder for source in wanted},
            shown.first,
            len(shown.tokens),
        ),
        data=pd.concat([grid.shown.table().assign(lens=grid.shown.lens) for grid in listed]),
        method="Entropy of the lens' distribution, KL(model || lens) and the negative log-probability of the text's "
        "next token, each averaged over the positions shown. For intervals, see evaluate_lenses.",
        figure=figure,
    )
