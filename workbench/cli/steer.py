"""``workbench steer``: a direction from contrasting prompts, and what a model says when it is pushed along it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts
from workbench.cli.texts import given_prompts
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.interventions import SteeringVector
    from workbench.model import HookedModel


class Norm(StrEnum):
    """How long the vector is that is added."""

    raw = "raw"
    unit = "unit"
    matched = "matched"


def steer(
    model: options.ModelArgument,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="A text that the model goes on with.", show_default=False)
    ] = None,
    towards: Annotated[
        list[str] | None,
        typer.Option("--towards", metavar="TEXT", help="Prompt that has it; repeat, or @FILE with one a line."),
    ] = None,
    away: Annotated[
        list[str] | None,
        typer.Option("--away", metavar="TEXT", help="Prompt that lacks it, as many; repeat, or @FILE."),
    ] = None,
    vector_file: Annotated[
        Path | None, typer.Option("--vector", metavar="FILE", help="A saved vector, instead of prompts.")
    ] = None,
    hook: options.Hook = "resid_post",
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Layer, from 0; -1 is the last.", show_default="the middle one"),
    ] = None,
    position: options.Position = -1,
    strengths: Annotated[
        list[float] | None,
        typer.Option("--strength", help="How often the vector is added; repeat; below 0 away.", show_default="1, 2, 4"),
    ] = None,
    norm: Annotated[
        Norm,
        typer.Option("--norm", help="raw: the vector as it is; unit: of norm 1; matched: as long as what is there."),
    ] = Norm.raw,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, help="Tokens to go on with.")] = 30,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 takes the likeliest token.")] = 0.0,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Keep the vector for --vector.")] = None,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Make a steering vector from contrasting prompts, or load one, and generate with it beside the plain text.

    Example: workbench steer zoo:mamba2 "The state of the Union is" --towards "We love peace" --away "We love war"
    """
    output = Output(json_file, html_file)
    contrast = _contrast(towards, away, vector_file)
    if prompt is None and save is None:
        raise InputError("Give a PROMPT to go on with, or --save FILE to keep the vector.")
    if prompt is not None and not prompt:
        raise InputError("The PROMPT is empty.")
    if save is not None:
        _check_place(save)
    opened = open_model(output, model, loading)
    from workbench.interventions import SteeringVector

    if vector_file is not None:
        vector = SteeringVector.load(vector_file)
        vector.check_fits(opened)
    else:
        vector = _made(opened, contrast, hook, layer, position)
    norms = ", ".join(f"{name} (norm {value:.3g})" for name, value in vector.norms.items())
    if save is not None:
        vector.save(save)
        for file in _files(save):
            output.wrote(file)
    rows: list[dict[str, Any]] = []
    if prompt is not None:
        asked = strengths if strengths else [1.0, 2.0, 4.0]
        rows = _generated(opened, prompt, vector, asked, norm.value, new_tokens, temperature, seed, output)
    title = f"{opened.cfg.model_name}: steered at {norms}"
    output.console.print(title, highlight=False, markup=False)
    for row in rows:
        output.console.print(f"\n{_label(row)}, {row['loss']:.2f} nats a token", style="bold", highlight=False)
        output.console.print(row["text"], highlight=False, markup=False)
    said = "Nats a token: how unlikely the plain model finds what was written."
    if rows:
        output.console.print(f"\n{said}", highlight=False)
    output.save(
        {
            "model": summary(opened),
            "prompt": prompt,
            "vector": {"norms": vector.norms, "model": vector.model_name, **vector.details},
            "norm": norm.value,
            "generations": rows,
        }
    )
    if html_file is not None:
        from workbench.report import Block, Code, Heading, Page, Table

        cells = [(_label(row), row["text"], f"{row['loss']:.2f}") for row in rows]
        blocks: list[Block] = [
            Heading("Prompt"),
            Code(prompt or ""),
            Table(("strength", "goes on with", "nats a token"), cells, said, frozenset({2})),
        ]
        sampled = f"seed {seed}, temperature {temperature:g}"
        output.write_page(Page(title, _lead(vector), blocks, facts(Sampling=sampled)))


def _contrast(
    towards: list[str] | None, away: list[str] | None, vector_file: Path | None
) -> tuple[list[str], list[str]] | None:
    """Both sets of prompts, None where a vector is loaded. Raises InputError where there is neither, or both."""
    if vector_file is not None:
        if towards or away:
            raise InputError("A vector is either loaded with --vector or made from --towards and --away.")
        return None
    if not towards or not away:
        raise InputError("A vector is made from prompts: give --towards and --away, or load one with --vector.")
    return given_prompts("--towards", towards), given_prompts("--away", away)


def _check_place(file: Path) -> None:
    """Refuse a place that could not be written to, before the work. Raises InputError."""
    from workbench.report import check_writable

    for one in _files(file):
        check_writable(one)


def _files(file: Path) -> list[Path]:
    """Where a vector is kept, whichever ending was typed."""
    stem = file.with_suffix("") if file.suffix in (".safetensors", ".json") else file
    return [stem.with_name(stem.name + ending) for ending in (".safetensors", ".json")]


def _made(
    model: HookedModel,
    contrast: tuple[list[str], list[str]] | None,
    hook: str,
    layer: int | None,
    position: int,
) -> SteeringVector:
    from workbench.probes.linear import places
    from workbench.probes.steering import contrastive_vector

    assert contrast is not None  # _contrast asks for prompts otherwise
    whole = hook.startswith(("blocks.", "hook_embed"))
    number = model.layer_index(model.cfg.n_layers // 2 if layer is None else layer)
    names = [place.name for place in places(model, hook, None if whole else [number])]
    return contrastive_vector(model, *contrast, names, positions=position)


def _generated(
    model: HookedModel,
    prompt: str,
    vector: SteeringVector,
    strengths: list[float],
    norm: str,
    new_tokens: int,
    temperature: float,
    seed: int,
    output: Output,
) -> list[dict[str, Any]]:
    """The plain continuation and one of each strength, all with one seed."""
    import torch

    from workbench.interventions import Steer
    from workbench.progress import tracked

    tokens = model.to_tokens(prompt)
    rows = []
    for strength in tracked([0.0, *strengths], output.progress, "generating"):
        hooks = Steer(vector, alpha=strength, norm=norm).hooks(model, tokens) if strength else []
        with model.hooks(fwd_hooks=hooks):
            whole = model.generate(tokens, new_tokens, temperature=temperature, seed=seed, return_type="tokens")
        with torch.no_grad():
            loss = model(whole, return_type="loss", loss_per_token=True)[0, tokens.shape[1] - 1 :]
        text = str(model.to_string(whole[0, tokens.shape[1] :]))
        rows.append({"strength": strength, "text": text, "loss": float(loss.double().mean())})
    return rows


def _label(row: dict[str, Any]) -> str:
    return f"strength {row['strength']:g}" if row["strength"] else "unsteered"


def _lead(vector: SteeringVector) -> str:
    if "pairs" in vector.details:
        return f"The vector is the mean difference over {vector.details['pairs']} pairs of prompts."
    return f"The vector was made of {vector.model_name}."
