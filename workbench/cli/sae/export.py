"""``workbench sae export``: a feature store as one HTML file, or as Neuronpedia's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.output import Output
from workbench.errors import InputError


def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a feature store.", show_default=False)],
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE.html", help="Write one page to search and read features in, offline."),
    ] = None,
    neuronpedia: Annotated[
        Path | None, typer.Option("--neuronpedia", metavar="DIR", help="Write the files that Neuronpedia imports.")
    ] = None,
    feature: Annotated[
        list[int] | None,
        typer.Option("--feature", min=0, help="Only this feature; may be given again.", show_default="as many as fit"),
    ] = None,
    per_band: Annotated[int, typer.Option("--per-band", min=1, help="Examples of each band, on the page.")] = 5,
    budget: Annotated[float, typer.Option("--budget", help="Megabytes that the page may have.")] = 16.0,
    title: Annotated[
        str | None, typer.Option("--title", help="Heading of the page.", show_default="model and hook")
    ] = None,
    release: Annotated[str, typer.Option("--release", help="Name of the release, on Neuronpedia.")] = "workbench",
    source_set: Annotated[str, typer.Option("--source-set", help="Name of the source set, on Neuronpedia.")] = "sae",
    creator: Annotated[str, typer.Option("--creator", help="Who it is by, on Neuronpedia.")] = "workbench",
    json_file: options.JsonFile = None,
) -> None:
    """Export features with their labels, logits, histograms, examples and neighbours.

    Example: workbench sae export features/mamba --html mamba.html
    """
    if html_file is None and neuronpedia is None:
        raise InputError("Say what to write: --html FILE.html, --neuronpedia DIR, or both.")
    output = Output(json_file, html_file)
    from workbench.saes import FeatureStore, export_dashboard, export_neuronpedia

    opened = FeatureStore(store)
    found: dict[str, Any] = {}
    if html_file is not None:
        page = export_dashboard(
            opened,
            html_file,
            feature,
            title=title,
            per_band=per_band,
            budget=int(budget * 1e6),
            progress=output.progress,
        )
        left = f"; {page.left_out} left out" if page.left_out else ""
        said = f"{page.features} features in {page.size / 1e6:.1f} MB{left}."
        output.console.print(said, highlight=False, markup=False)
        output.wrote(html_file)
        found["html"] = {
            "path": str(page.path),
            "features": page.features,
            "left_out": page.left_out,
            "bytes": page.size,
        }
    if neuronpedia is not None:
        written = export_neuronpedia(
            opened,
            neuronpedia,
            feature,
            release=release,
            source_set=source_set,
            creator=creator,
            progress=output.progress,
        )
        said = f"{written.features} features, {written.activations} activations, {written.explanations} explanations."
        output.console.print(said, highlight=False, markup=False)
        output.wrote(written.folder)
        found["neuronpedia"] = {
            "path": str(written.folder),
            "model": written.model_id,
            "source": written.source_id,
            "features": written.features,
            "activations": written.activations,
            "explanations": written.explanations,
        }
    output.save({"store": str(store), **found})
