"""``workbench sae steer``: a model writes with features held up, beside what it writes without."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.models import open_model, summary
from workbench.cli.output import Output, facts, records
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.saes import SparseAutoencoder


class How(StrEnum):
    """What is done to the features."""

    clamp = "clamp"
    add = "add"


def steer(
    model: options.ModelArgument,
    sae: Annotated[Path, typer.Argument(metavar="SAE", help="Folder of an autoencoder.", show_default=False)],
    prompt: options.PromptArgument,
    feature: Annotated[
        list[str],
        typer.Option(
            "--feature",
            metavar="N=VALUE",
            help="A feature and its value, in units of activation (of its maximum with --store); may be given again.",
            show_default=False,
        ),
    ],
    strength: Annotated[
        list[float] | None,
        typer.Option("--strength", help="Factor of all values; repeat; below 0 away.", show_default="1"),
    ] = None,
    how: Annotated[How, typer.Option("--how", help="clamp: held at the value; add: raised by it.")] = How.clamp,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="DIR", help="A feature store: values then count in each feature's maximum."),
    ] = None,
    text: options.TextInsteadOfPrompt = None,
    new_tokens: Annotated[int, typer.Option("--new-tokens", min=1, help="Tokens to go on with.")] = 30,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 takes the likeliest token.")] = 0.0,
    html_file: options.HtmlFile = None,
    json_file: options.JsonFile = None,
    seed: options.Seed = 0,
    loading: options.Loading = options.AS_STORED,
) -> None:
    """Generate with features of an autoencoder clamped, or raised, beside the same generation without.

    With --text, what that costs is measured there, and not on what the model itself wrote.

    Example: workbench sae steer zoo:mamba sae/mamba "The state of the Union is" --feature 12=8 --strength 1
    """
    output = Output(json_file, html_file)
    values = dict(_feature(one) for one in feature)
    if len(values) < len(feature):
        raise InputError(f"--feature names a feature twice: {', '.join(feature)}.")
    if not prompt:
        raise InputError("The PROMPT is empty.")
    judged = None if text is None else _beginning(text)
    opened = open_model(output, model, loading)
    from workbench.saes import load_sae, steer_features

    loaded = load_sae(sae, model=opened, device=opened.cfg.device)
    found = steer_features(
        opened,
        loaded,
        prompt,
        values,
        strengths=strength or [1.0],
        how=how.value,
        maxima=None if store is None else _maxima(store, loaded),
        text=None if judged is None else opened.to_tokens(judged)[:, : opened.cfg.n_ctx or 1024],
        max_new_tokens=new_tokens,
        temperature=temperature,
        seed=seed,
        progress=output.progress,
    )
    told = ", ".join(f"{number} = {value:.4g}" for number, value in found.features.items())
    verb = "clamped" if how is How.clamp else "added"
    title = f"{opened.cfg.model_name}: features {verb}: {told}"
    output.console.print(title, highlight=False, markup=False)
    table = found.table()
    for row in table.itertuples():
        head = "\nunsteered" if row.strength == 0 else f"\nstrength {row.strength:g}"
        cost = f"KL {row.kl:.3f}, loss {row.loss:.3f} ({row.loss_increase:+.3f}), repetition {row.repetition:.2f}"
        output.console.print(f"{head}: {cost}", style="bold", highlight=False)
        output.console.print(str(row.text), highlight=False, markup=False)
    said = (
        "KL and loss in nats a token, on the unsteered text"
        if judged is None
        else "KL and loss in nats a token, on the text of --text"
    ) + "; repetition is the share of 4-grams that were written before."
    output.console.print(f"\n{said}", highlight=False, markup=False)
    output.save(
        {
            "model": summary(opened),
            "sae": str(sae),
            "prompt": found.prompt,
            "features": {str(number): value for number, value in found.features.items()},
            "how": how.value,
            "generations": records(table),
        }
    )
    if html_file is not None:
        from workbench.report import Block, Code, Heading, Page, Table

        cells = [
            (
                "unsteered" if row.strength == 0 else f"{row.strength:g}",
                str(row.text),
                f"{row.kl:.3f}",
                f"{row.loss_increase:+.3f}",
                f"{row.repetition:.2f}",
            )
            for row in table.itertuples()
        ]
        columns = ("strength", "goes on with", "KL", "loss", "repetition")
        blocks: list[Block] = [Heading("Prompt"), Code(found.prompt), Table(columns, cells, said, frozenset({2, 3, 4}))]
        sampled = f"seed {seed}, temperature {temperature:g}"
        output.write_page(Page(title, "The same seed with and without.", blocks, facts(Sampling=sampled)))


def _feature(spelled: str) -> tuple[int, float]:
    """``12=8`` as 12 and 8.0. Raises InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+)\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", spelled)
    if found is None:
        raise InputError(f"--feature {spelled!r} is no feature and value; write 12=8.")
    return int(found[1]), float(found[2])


def _beginning(text: Path) -> str:
    from workbench.cli.texts import read_texts

    return read_texts(text)[0][:20_000]


def _maxima(store: Path, sae: SparseAutoencoder) -> dict[int, float]:
    """The largest activation of every feature. Raises InputError for a store of another autoencoder."""
    from workbench.saes import FeatureStore

    opened: Any = FeatureStore(store)
    table = opened.features()
    if len(table) != sae.cfg.d_sae:
        raise InputError(f"{store} is of an autoencoder with {len(table)} features, and this one has {sae.cfg.d_sae}.")
    return dict(zip(table["feature"].tolist(), table["max"].tolist(), strict=True))
