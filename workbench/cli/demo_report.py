"""What the demo says: a table a member on the terminal, and one page for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.cli import sections
from workbench.cli.findings import BLOCK, TEXT, Finding, Findings
from workbench.cli.output import records
from workbench.cli.pictures import view
from workbench.cli.tables import layer_cell
from workbench.report import Block, Code, Heading, Page, Paragraph, Table

if TYPE_CHECKING:
    from rich.table import Table as TerminalTable


def member_lines(findings: Findings) -> tuple[str, str]:
    """What stands before and after a member's table."""
    model = findings.model
    base = _by_condition(findings.induction)["baseline"]
    heads = len(findings.induction.table)
    worst = max(max(row["check_core"], row["check_mixer"]) for row in findings.checks)
    before = (
        f"{model['model']}: {model['layers']} layers, {heads} {findings.unit}s, {model['parameters'] / 1e6:.2f} M "
        f"parameters. On {BLOCK} random tokens repeated, the second copy is predicted with accuracy "
        f"{base['accuracy_second']:.2f} and a loss of {base['loss_second']:.2f} nats."
    )
    after = (
        "Implicit attention times values reproduces the output of every layer, in both scopes, with a relative error "
        f"of at most {worst:.0e}."
    )
    return before, after


def member_table(findings: Findings) -> TerminalTable:
    """Best heads of each kind, and what ablating the best does to the second copy, against random others."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("kind", "best") else "right")
    for finding in findings.kinds:
        table.add_row(*_cells(finding, "\n"))
    return table


def page(found: Mapping[str, Findings], repeat: Mapping[str, str]) -> Page:
    """The report of the demo."""
    blocks: list[Block] = [
        Table(
            (
                "model",
                "parameters",
                "copies",
                "best induction head",
                "score",
                "without those found",
                "without random others",
            ),
            [_summary_row(findings) for findings in found.values()],
            f"Copies: accuracy on the second copy of {BLOCK} random tokens, 1 is perfect; then without the "
            "induction heads that were found, and without as many random others.",
            frozenset({1, 2, 4, 5, 6}),
        ),
        Paragraph(
            "An induction head looks back to where the current token stood before and reads the token after it, so "
            "that it can be said again. In an attention layer the weights are probabilities; in a recurrent layer they "
            "are the layer's implicit attention, a matrix of signed weights that reproduces the layer's output exactly."
        ),
    ]
    for findings in found.values():
        blocks += _member(findings)
    blocks += [Heading("What to type next"), Code("\n".join(next_commands(found)))]
    return Page("Heads that copy", _lead(found), blocks, repeat)


def next_commands(found: Mapping[str, Findings]) -> list[str]:
    """Commands that go on from here, with the names that were found."""
    name, findings = list(found.items())[-1]
    best = findings.induction.table.iloc[0]
    where = f"--layer {best['layer']}" + (f" --mixer {best['mixer']}" if best["mixer"] else "")
    return [
        f"workbench info zoo:{name}",
        f"workbench heads zoo:{name} --kind induction --out heads.html",
        f"workbench ablate zoo:{name} --sites {best['site']} --out ablation.html",
        f'workbench attention zoo:{name} "any text, any text" {where} --out attention.html',
        "workbench heads path/to/model.gguf --kind induction",
    ]


def _member(findings: Findings) -> list[Block]:
    finding = findings.induction
    best = finding.table.iloc[0]
    before, after = member_lines(findings)
    what = f"the best {finding.ablated} of {len(finding.table)} {findings.unit}s"
    blocks: list[Block] = [
        Heading(str(findings.model["model"])),
        Paragraph(before),
        Table(
            COLUMNS,
            [_cells(each, "; ") for each in findings.kinds],
            "Score of the best head with its 95 % interval; the null is the 95 % quantile of the same score at nearby "
            "positions that mean nothing. Found are heads clearly above it that score at least half of the best. "
            "Accuracy and loss are those of the second copy, without all that were found and without as many random "
            "others: of the same layers where there are enough, and clearly of no other kind. Where none was found, "
            "the best sixteenth was ablated.",
            frozenset({2, 3}),
        ),
        Heading(f"Where {best['site']}, the best induction {findings.unit}, reads", 3),
        view(findings.pictures, findings.tokens),
        Paragraph(
            f"The text is {TEXT!r}. Follow the last token to the one after its first occurrence. The matrix reproduces "
            f"the layer's output with a relative error of {findings.picture_check:.0e}."
        ),
        Heading("What the best induction heads do", 3),
        *sections.ablation(finding.ablation, what, finding.notes),
        Paragraph(sections.verdict(finding.ablation)),
    ]
    for each in findings.kinds:
        blocks += [
            Heading(f"All {each.kind.replace('_', '-')} scores", 3),
            sections.scores_plot(each.table, each.kind, findings.unit),
        ]
    rows = [
        (layer_cell(row), row["family"], f"{row['check_core']:.1e}", f"{row['check_mixer']:.1e}")
        for row in findings.checks
    ]
    blocks += [
        Heading("How exact the implicit attention is", 3),
        Paragraph(after),
        Table(("layer", "family", "core", "mixer"), rows, "Relative error of A v", frozenset({2, 3})),
    ]
    return blocks


COLUMNS = ("kind", "best", "score", "null", "without those", "without random others")


def _cells(finding: Finding, separator: str) -> list[str]:
    best = records(finding.table.head(3))
    by = _by_condition(finding)
    top, random = by["top"], by["random"]
    first = best[0]
    how_many = f"{finding.found or 'none'} found"
    return [
        f"{finding.kind.replace('_token', '')}{separator}{how_many}",
        separator.join(str(row["site"]) for row in best),
        f"{first['score']:.3f}{separator}{first['low']:.3f}–{first['high']:.3f}",
        f"{first['null']:.3f}",
        f"accuracy {top['accuracy_second']:.2f}{separator}loss {top['loss_second']:.2f}",
        f"{_spread(random, 'accuracy_second')}{separator}{_spread(random, 'loss_second')}",
    ]


def _spread(row: dict[str, Any], measure: str) -> str:
    return f"{row[measure]:.2f} ({row[f'{measure}_low']:.2f}–{row[f'{measure}_high']:.2f})"


def _summary_row(findings: Findings) -> tuple[str, ...]:
    by = _by_condition(findings.induction)
    best = findings.induction.table.iloc[0]
    return (
        str(findings.model["model"]),
        f"{findings.model['parameters'] / 1e6:.2f} M",
        f"{by['baseline']['accuracy_second']:.2f}",
        str(best["site"]),
        f"{best['score']:.2f}",
        f"{by['top']['accuracy_second']:.2f}",
        f"{by['random']['accuracy_second']:.2f}",
    )


def _lead(found: Mapping[str, Findings]) -> str:
    """What was found, in one sentence that holds whatever was found."""
    parts = []
    for name, findings in found.items():
        by = _by_condition(findings.induction)
        parts.append(
            f"{name} {by['baseline']['accuracy_second']:.0%} → {by['top']['accuracy_second']:.0%} "
            f"(random others: {by['random']['accuracy_second']:.0%})"
        )
    return f"Copy accuracy before and after ablating the induction heads that were found: {'; '.join(parts)}."


def _by_condition(finding: Finding) -> dict[str, dict[str, Any]]:
    return {row["condition"]: row for row in records(finding.ablation)}
