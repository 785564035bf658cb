"""``workbench dynamics``: where the state of a recurrent layer goes, and how fast neighbouring states part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.cli.probe_output import data_table
from workbench.cli.texts import given_text, spread
from workbench.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from torch import Tensor

    from workbench.model import HookedModel
    from workbench.probes.dynamics import FixedPoints


def dynamics(
    model: options.ModelArgument,
    prompt: options.PromptOrFile = None,
    text: options.TextInsteadOfPrompt = None,
    layer: options.Layer = 0,
    mixer: options.Mixer = 0,
    token: Annotated[
        str | None,
        typer.Option("--token", help="Token that is read over and over.", show_default="the text's commonest"),
    ] = None,
    starts: Annotated[
        int, typer.Option("--starts", min=1, help="Visited states that searches for fixed points start from.")
    ] = 16,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="Steps of each search.")] = 500,
    exponents: Annotated[int, typer.Option("--exponents", min=0, help="Lyapunov exponents, the largest first.")] = 4,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps that exponents are averaged over.")] = 100,
    settle: Annotated[int, typer.Option("--settle", min=0, help="Steps before, to get there.")] = 50,
    length: options.Length = 256,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: Annotated[
        options.Dtype, typer.Option("--dtype", help="Number format of the weights.")
    ] = options.Dtype.float64,
    revision: options.Revision = None,
    trust_pickle: options.TrustPickle = False,
) -> None:
    """Find the fixed points of a recurrent layer under one token, their spectra, and its Lyapunov exponents.

    Example: workbench dynamics zoo:gru "The state of the Union is strong and the people are free" --layer 0
    """
    output = Output(json_file, html_file)
    read = given_text(prompt, text)
    opened = open_model(output, model, options.Loading(device, dtype, revision, trust_pickle))
    from workbench.probes.dynamics import StateMap, find_fixed_points, lyapunov_exponents, principal_trajectories

    recurrence = StateMap(opened, layer, mixer)
    tokens = opened.to_tokens(read)[:, :length]
    chosen = _token(opened, token, tokens)
    called = _called(opened, chosen)
    step = recurrence.under_token(chosen)
    if exponents > recurrence.dim:
        raise InputError(f"The state has {recurrence.dim} numbers and as many exponents; --exponents is {exponents}.")
    visited = recurrence.trajectory(tokens)
    found = find_fixed_points(step, spread(visited[0], starts), iterations=iterations, progress=output.progress)
    paths = principal_trajectories(visited, min(3, *visited[0].shape))
    place = opened.mixer(layer, mixer).place
    title = f"{opened.cfg.model_name}: dynamics of {place}"
    lead = (
        f"A state of {recurrence.dim} numbers, which fills {paths.dimension:.1f} dimensions along {tokens.shape[1]} "
        f"tokens. Under {called!r} over and over, {int(found.starts.sum())} of {min(starts, tokens.shape[1])} searches "
        f"ended at {len(found.points)} fixed or slow points."
    )
    output.console.print(f"{title}\n{lead}", highlight=False, markup=False)
    points = found.table()
    if len(points):
        output.console.print(_points_table(points))
    else:
        output.console.print("No search came to rest; more --iterations or --starts may find where.", highlight=False)
    lyapunov: Any = None
    if exponents:
        lyapunov = lyapunov_exponents(
            step, visited[0, -1], steps=steps, settle=settle, count=exponents, seed=seed, progress=output.progress
        )
        output.console.print("Lyapunov exponents from the last state, in nats a step:", highlight=False)
        output.console.print(data_table(lyapunov.table()))
    output.save(
        {
            "model": summary(opened),
            "layer": layer,
            "mixer": mixer,
            "state": recurrence.dim,
            "token": called,
            "dimension": paths.dimension,
            "lost": found.lost,
            "points": records(points),
            "spectra": [[[value.real, value.imag] for value in row] for row in found.spectra.tolist()],
            "exponents": [] if lyapunov is None else records(lyapunov.table()),
        }
    )
    if html_file is not None:
        from workbench.probes.dynamics import trajectory_figure
        from workbench.report import Page, Plot, Table

        blocks: list[Any] = []
        if paths.projected.shape[2] > 1:
            caption = "The state along the text in its principal components, and the fixed and slow points."
            blocks.append(Plot(trajectory_figure(paths, points=found.points), caption, "wide"))
        if len(points):
            caption = "Eigenvalues of the Jacobian at each point: outside the circle a deviation grows, inside it dies."
            blocks.append(Plot(_spectrum(found), caption, "square"))
            blocks.append(Table([*points.columns], _text_rows(points), "Fixed and slow points, the slowest first"))
        if lyapunov is not None:
            table = lyapunov.table()
            blocks.append(Table([*table.columns], _text_rows(table), f"Lyapunov exponents over {steps} steps"))
        output.write_page(Page(title, lead, blocks, facts(Token=called)))


def _token(model: HookedModel, asked: str | None, tokens: Tensor) -> int:
    """The token that was asked for, or the commonest. Raises InputError where it is several."""
    if asked is None:
        return int(tokens[0].bincount().argmax())
    ids = model.to_tokens(asked, prepend_bos=False)[0]
    if len(ids) != 1:
        raise InputError(f"--token {asked!r} is {len(ids)} tokens; one is read over and over.")
    return int(ids[0])


def _called(model: HookedModel, token: int) -> str:
    import torch

    from workbench.figures import visible_token

    return visible_token(model.to_str_tokens(torch.tensor([token]))[0])


def _points_table(points: Any) -> Any:
    return data_table(points.assign(speed=[f"{value:.1e}" for value in points["speed"]]))


def _text_rows(table: Any) -> list[list[str]]:
    return [
        [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in records(table)
    ]


def _spectrum(found: FixedPoints) -> go.Figure:
    """Eigenvalues in the complex plane, a colour a point, and the unit circle."""
    import math

    import plotly.graph_objects as go

    from workbench.figures.colours import CONDITIONS
    from workbench.figures.maps import plain_layout

    turn = [2 * math.pi * at / 120 for at in range(121)]
    circle = go.Scatter(
        x=[math.cos(at) for at in turn],
        y=[math.sin(at) for at in turn],
        mode="lines",
        line={"color": "#8F8F8F", "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    figure = go.Figure([circle])
    for number, spectrum in enumerate(found.spectra[: len(CONDITIONS)]):
        figure.add_trace(
            go.Scatter(
                x=spectrum.real.tolist(),
                y=spectrum.imag.tolist(),
                mode="markers",
                marker={"size": 5, "color": CONDITIONS[number]},
                name=f"point {number}",
            )
        )
    axis = {"showgrid": False, "zeroline": True, "zerolinecolor": "rgba(128,128,128,0.5)", "automargin": True}
    figure.update_layout(
        xaxis={**axis, "title": "real part"},
        yaxis={**axis, "title": "imaginary part", "scaleanchor": "x"},
        **plain_layout(),
    )
    return figure
