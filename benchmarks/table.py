"""Rows as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.records import Row, Spread, Target

_UNITS = {"ratio": "x", "seconds": " s", "extra_seconds": " s", "peak_extra_mb": " MB"}
_QUANTITIES = {
    "ratio": "time",
    "seconds": "seconds",
    "extra_seconds": "seconds more",
    "peak_extra_mb": "peak extra memory",
}


def render(rows: Sequence[Row]) -> str:
    """The table of all rows, with the commands that made them."""
    commands = sorted({row.command for row in rows})
    lines = ["# Benchmarks", "", "Made by", ""]
    lines += [f"    {command}" for command in commands]
    lines += [
        "",
        "A ratio is a side's time over the mean of the baseline runs just before and after it: median [quartiles] over",
        "the rounds. CPU is the same ratio of processor time, which does not see who else uses the machine. Memory is",
        "the peak resident set of a process of its own during one call, less what it held before the call.",
    ]
    for row in rows:
        lines += ["", *_section(row)]
    return "\n".join(lines) + "\n"


def _section(row: Row) -> Iterable[str]:
    yield f"## {row.title}"
    yield ""
    yield f"{row.shapes}; {row.dtype}; `{row.name}.json`."
    yield ""
    yield "| side | time | ratio | CPU | extra memory | largest error | rounds |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for side in row.sides:
        cells = (
            side.name + (" (baseline)" if side.name == row.baseline and len(row.sides) > 1 else ""),
            _seconds(side.seconds.median),
            _spread(side.ratio),
            _spread(side.cpu_ratio),
            "" if side.peak_extra_mb is None else f"{side.peak_extra_mb:.0f} MB",
            "" if side.max_error is None else f"{side.max_error:.1e}",
            str((side.ratio or side.seconds).n),
        )
        yield f"| {' | '.join(cells)} |"
    if row.comparisons:
        yield ""
        yield "| side | against | ratio | CPU |"
        yield "| --- | --- | ---: | ---: |"
        for comparison in row.comparisons:
            measured = f"{_spread(comparison.ratio)} | {_spread(comparison.cpu_ratio)}"
            yield f"| {comparison.side} | {comparison.against} | {measured} |"
    if row.targets:
        yield ""
        yield from (_verdict(row, target) for target in row.targets)
    if row.computed:
        yield ""
        yield from (f"* Computed, not measured: {what}: {number}." for what, number in row.computed.items())
    yield ""
    yield "What runs:"
    yield ""
    yield from (f"* **{side.name}**: {side.what}" for side in row.sides)
    yield ""
    if row.notes:
        yield row.notes
    versions = ", ".join(f"{name} {version}" for name, version in row.setting.versions.items())
    yield (
        f"Errors are against {row.error_against}. {row.setting.machine.line()}; {versions}; commit {row.commit}, "
        f"{row.measured_at}, load {row.load_average:.1f}."
    )


def _verdict(row: Row, target: Target) -> str:
    reached = row.reached(target)
    unit = _UNITS[target.quantity]
    against = f" of {target.against or row.baseline}" if target.quantity == "ratio" else ""
    wanted = f"{target.side}: {_QUANTITIES[target.quantity]} at most {target.at_most:g}{unit}{against}"
    if reached is None:
        return f"* Target: {wanted}: not measured."
    return f"* Target: {wanted}: {'met' if reached <= target.at_most else '**missed**'}, {reached:.3g}{unit}."


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.median:.3f} [{spread.q1:.3f}–{spread.q3:.3f}]"
