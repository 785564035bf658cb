"""Python that makes the numbers of the Heads page."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.app.views.heads import DRAWS, SEQUENCES, Scores, options_of


def scores_code(scores: Scores, by: str, haystack: str) -> str:
    """Python for the table of scores and its map."""
    return (
        "import workbench as wb\n"
        "from workbench.probes import find_heads\n"
        "from workbench.probes.heads.figures import heads_map\n\n"
        f"model = wb.load({scores.model!r})\n"
        f"table = find_heads(model, {_asked(scores, haystack)})\n"
        f'table = table.sort_values("{by}", ascending=False, ignore_index=True)\n'
        "print(table.head(20))\n"
        f'figure = heads_map(table, by="{by}", unit="{scores.unit}")  # figure.show()\n'
    )


def against_null_code(several: Sequence[Scores], haystack: str) -> str:
    """Python for scores beside their nulls, and the measures that compare models."""
    fewest = min(len(scores.table) for scores in several)
    return (
        "import workbench as wb\n"
        "from workbench.probes import find_heads\n"
        "from workbench.probes.heads.table import above_null, expected_best\n\n"
        "tables = {}\n"
        f"for source in {[scores.model for scores in several]!r}:\n"
        f"    table = find_heads(wb.load(source), {_asked(several[0], haystack)})\n"
        "    print(source, len(table), above_null(table) / len(table))  # share above their null\n"
        '    print(table["excess"].median(), expected_best(table, '
        f"{fewest}))  # the best of as many as the smallest model has\n"
        '    print(table.groupby("layer")[["score", "null"]].describe())\n'
        "    tables[source] = table\n"
    )


def check_code(scores: Scores, k: int, by: str, method: str, haystack: str) -> str:
    """Python for the causal check."""
    more = "".join(f", {name}={value!r}" for name, value in options_of(scores.kind, haystack).items())
    return (
        "import workbench as wb\n"
        "from workbench.probes import ablate_top_k, find_heads\n\n"
        f"model = wb.load({scores.model!r})\n"
        f"table = find_heads(model, {_asked(scores, haystack)})\n"
        f'effect = ablate_top_k(model, table, k={k}, by="{by}", method="{method}", '
        f"draws={DRAWS}, batch={SEQUENCES}{more})\n"
        "print(effect.T)\n"
    )


def _asked(scores: Scores, haystack: str) -> str:
    """What `find_heads` was asked for beside the model."""
    looked = [] if scores.looked is None else [f"layers={list(scores.looked)}"]
    options = [f"{name}={value!r}" for name, value in options_of(scores.kind, haystack).items()]
    return ", ".join([repr(scores.kind), *options, *looked])
