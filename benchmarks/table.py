"""Rows as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.records import Row, Spread, Target

_UNITS = {"ratio": "x", "memory_ratio": "x", "seconds": " s", "extra_seconds": " s", "peak_extra_mb": " MB"}
_QUANTITIES = {
    "ratio": "time",
    "memory_ratio": "peak extra memory",
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
    yield "| side | time | ratio | CPU | extra memory | largest error | of the largest value | rounds |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for side in row.sides:
        cells = (
            side.name + (" (baseline)" if side.name == row.baseline and len(row.sides) > 1 else ""),
            seconds(side.seconds.median),
            spread(side.ratio),
            spread(side.cpu_ratio),
            megabytes(side.peak_extra_mb),
            "" if side.max_error is None else f"{side.max_error:.1e}",
            "" if side.relative_error is None else f"{side.relative_error:.1e}",
            str((side.ratio or side.seconds).n),
        )
        yield f"| {' | '.join(cells)} |"
    if row.comparisons:
        yield ""
        yield "| side | against | ratio | CPU |"
        yield "| --- | --- | ---: | ---: |"
        for comparison in row.comparisons:
            measured = f"{spread(comparison.ratio)} | {spread(comparison.cpu_ratio)}"
            yield f"| {comparison.side} | {comparison.against} | {measured} |"
    if row.targets:
        yield ""
        yield from (f"* Target: {promise(row, target)}: {verdict(row, target)}." for target in row.targets)
    if row.computed:
        yield ""
        yield from (f"* Computed, not measured: {what}: {number}." for what, number in row.computed.items())
    if row.beside:
        yield ""
        yield from (f"* Measured once: {what}: {number}." for what, number in row.beside.items())
    yield from beyond(row)
    yield from extrapolations(row)
    if row.left_out:
        yield ""
        yield from (f"* **{name}** is left out: {reason}" for name, reason in row.left_out.items())
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


def extrapolations(row: Row) -> Iterable[str]:
    """What the sides that ran at smaller shapes would take at the row's, a line each after an empty one."""
    grown = [side for side in row.sides if side.extrapolate != 1]
    if grown:
        yield ""
    for side in grown:
        memory = "" if side.peak_extra_mb is None else f" and {megabytes(side.peak_extra_mb * side.extrapolate)}"
        yield (
            f"* Extrapolated, not measured: **{side.name}** at the row's shapes, {side.extrapolate:.4g} times what "
            f"it ran: {seconds(side.seconds.median * side.extrapolate)}{memory}."
        )


def beyond(row: Row) -> Iterable[str]:
    """What each side takes beyond the part that all of them share, a line after an empty one."""
    if row.shared is None or row.shared not in {side.name for side in row.sides}:
        return
    part = row.side(row.shared).seconds.median
    rest = {side.name: side.seconds.median - part for side in row.sides if side.name != row.shared}
    own = rest[row.baseline]
    times = [
        f"{name} {seconds(value)}"
        + (f" ({value / own:.3g} times that of {row.baseline})" if name != row.baseline and own > 0 else "")
        for name, value in rest.items()
    ]
    yield ""
    yield f"Beyond {row.shared}, which every side spends (difference of medians): {', '.join(times)}."


def promise(row: Row, target: Target) -> str:
    """What a target says, in words."""
    bound = "at least" if target.at_least is not None else "at most"
    number = target.at_least if target.at_least is not None else target.at_most
    against = f" of {target.against or row.baseline}" if target.quantity in ("ratio", "memory_ratio") else ""
    return f"{target.side}: {_QUANTITIES[target.quantity]} {bound} {number:g}{_UNITS[target.quantity]}{against}"


def verdict(row: Row, target: Target) -> str:
    """Whether it was kept, and the number."""
    reached = row.reached(target)
    if reached is None:
        return "not measured"
    side = row.side(target.side)
    extrapolated = " (extrapolated)" if side.extrapolate != 1 and target.quantity in ("ratio", "memory_ratio") else ""
    return f"{'met' if target.met(reached) else '**missed**'}, {reached:.3g}{_UNITS[target.quantity]}{extrapolated}"


def seconds(value: float) -> str:
    """A time with its unit, three digits."""
    return f"{value:,.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def megabytes(value: float | None) -> str:
    """A size with its unit; nothing where it was not measured."""
    if value is None:
        return ""
    return f"{value:.0f} MB" if value < 10_000 else f"{value / 1000:,.0f} GB"


def spread(value: Spread | None) -> str:
    """A median with its quartiles."""
    if value is None:
        return ""
    return f"{_ratio(value.median)} [{_ratio(value.q1)}–{_ratio(value.q3)}]"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if 0.1 <= value < 10 else f"{value:.3g}"
