"""A shipped autoencoder's card (README.md), written from its evaluation: no number on it is typed by hand."""

from __future__ import annotations

from typing import Any

from workbench.saes.shipped.members import Member
from workbench.zoo.recipe.corpus import HELD_OUT_EVERY, SOURCES

COLUMNS = {
    "loss": "loss (nats)",
    "loss_recovered": "loss recovered",
    "explained_variance": "variance explained",
    "l0": "L0",
    "dead": "dead",
}
NAMES = {"sae": "**this one**", "pca": "PCA, as many components a vector", "random": "random directions"}
NAMES |= {"neurons": "the vector's own largest numbers", "model": "the model itself"}


def write_card(member: Member, report: dict[str, Any]) -> str:
    """Markdown with what it reads, how it was trained and what it is worth."""
    settings, trained = report["settings"], report["trained"]
    read = f"`{member.hook}` of `zoo:{member.model}`"
    if member.every > 1:
        read += f", one token in {member.every}"
    if member.rank is not None:
        read += (
            f", in the {member.rank} directions in which the state differs most (principal components of a sample of "
            f"the training text; `basis.safetensors`)"
        )
    lines = [
        f"# {member.name}",
        "",
        f"A sparse autoencoder on {read}: TopK (Gao et al. 2024, arXiv:2406.04093), {member.d_sae} features, "
        f"{member.k} of them a vector. Files are in SAELens' layout.",
        "",
        "```python",
        "import workbench as wb",
        "",
        f'model = wb.load("zoo:{member.model}")',
        f'sae = wb.saes.load_sae("{member.name}", model=model)',
        "```",
        "",
        "## On held-out text",
        "",
        _told(report["judged"]),
        "",
        "Each is spliced into the model, which goes on with the reconstruction. Loss recovered is the share of what "
        "setting the place to zero costs that is not lost. Baselines use as many numbers a vector and were fitted to "
        "training text. 95 % intervals over windows of text.",
        "",
        *_table(report["judged"]),
        "",
        "## How it was trained",
        "",
        f"On {settings['vectors']:,} vectors of windows of {settings['length']} tokens, {settings['batch']} a step, "
        f"seed {settings['seed']}; at the end {trained['dead']:.0f} features counted as dead. One seed; sizes and "
        f"rates were not tuned. Text: {'; '.join(f'{source.what} ({source.licence})' for source in SOURCES)}. Of the "
        f"speeches one in {HELD_OUT_EVERY} is held out, as in the model's own training. No text is in these files.",
        "",
        "`python -m workbench.saes.shipped.recipe --runs runs` trains it again and writes this card.",
    ]
    return "\n".join(lines) + "\n"


def _told(judged: list[dict[str, Any]]) -> str:
    rows = next(row for row in judged if row["autoencoder"] == "sae")
    return (
        f"{int(rows['rows'])} windows. It explains {rows['explained_variance']:.1%} of the variance and keeps "
        f"{rows['loss_recovered']:.1%} of what zeroing the place would cost."
    )


def _table(judged: list[dict[str, Any]]) -> list[str]:
    table = ["| | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for row in judged:
        cells = [_cell(row, column) for column in COLUMNS]
        table.append(f"| {NAMES.get(row['autoencoder'], row['autoencoder'])} | " + " | ".join(cells) + " |")
    return table


def _cell(row: dict[str, Any], column: str) -> str:
    value, low, high = (row.get(name) for name in (column, f"{column}_low", f"{column}_high"))
    if value is None:
        return ""
    if low is None or high is None or low == high:
        return f"{value:.3g}"
    return f"{value:.3g} ({low:.3g}–{high:.3g})"
