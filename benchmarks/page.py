"""The tables of docs/what-it-costs.md, between two marks; what is around them is written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.records import Row
from benchmarks.table import beyond, extrapolations, megabytes, promise, seconds, spread, verdict

START = "<!-- What follows is written by `python -m benchmarks`. -->"
END = "<!-- What `python -m benchmarks` writes ends here. -->"


def filled(text: str, rows: Sequence[Row]) -> str:
    """The page with its tables replaced by those of the rows.

    Raises:
        ValueError: the marks are not in the page, once each and in their order.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or START in rest or END in after:
        raise ValueError(f"The page needs the lines {START!r} and {END!r}, once each.")
    return f"{before}{START}\n\n{tables(rows)}\n{END}{after}"


def tables(rows: Sequence[Row]) -> str:
    """What was promised and what was measured, then each row with its sides."""
    lines = ["| work | promise | measured |", "| --- | --- | --- |"]
    for row in rows:
        lines += [f"| {row.title} | {promise(row, target)} | {verdict(row, target)} |" for target in row.targets]
    for row in rows:
        lines += ["", *_row(row)]
    return "\n".join(lines) + "\n"


def _row(row: Row) -> Iterable[str]:
    yield f"### {row.title}"
    yield ""
    where = f"{row.setting.machine.threads} thread(s)" + (
        f", {device}" if (device := row.setting.machine.device) else ""
    )
    yield f"{'; '.join(part for part in (row.shapes, row.dtype, where) if part)}."
    yield ""
    yield "| side | time | ratio | extra memory | largest error |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for side in row.sides:
        error = "" if side.relative_error is None else f"{side.relative_error:.1e}"
        name = side.name + (" (baseline)" if side.name == row.baseline and len(row.sides) > 1 else "")
        cells = (name, seconds(side.seconds.median), spread(side.ratio), megabytes(side.peak_extra_mb), error)
        yield f"| {' | '.join(cells)} |"
    yield from beyond(row)
    yield from extrapolations(row)
    if row.left_out:
        yield ""
        yield from (f"* **{name}** is left out: {reason}" for name, reason in row.left_out.items())
