"""A feature store as one HTML file: searched, sorted and read in a browser, with no server and no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from workbench.errors import InputError
from workbench.figures.tokens import visible_text, visible_token
from workbench.progress import tracked
from workbench.report.files import check_writable, write_atomically
from workbench.report.page import inert_json, policy_hash, templates
from workbench.saes.export.bands import band_order, band_words
from workbench.saes.export.reader import FeatureReader, FeatureTables, chosen_features, with_tables

BUDGET = 16_000_000
"""Bytes a page has by default: what a browser opens at once, and what mail and chat take."""


@dataclass(frozen=True)
class ExportedDashboard:
    """What was written.

    Attributes:
        path: the file.
        features: how many features it shows.
        left_out: how many the store has besides.
        size: bytes of the file.
    """

    path: Path
    features: int
    left_out: int
    size: int


def export_dashboard(
    store: FeatureReader,
    path: Path | str,
    features: Sequence[int] | None = None,
    *,
    title: str | None = None,
    per_band: int = 5,
    budget: int = BUDGET,
    progress: bool = False,
) -> ExportedDashboard:
    """Write a standalone page: a list of features to search, filter and sort, and a panel of each.

    A panel has the label, the tokens that the feature makes more and less likely, the histogram of its activations,
    examples of every band with each token coloured by activation, and the features nearest to it.

    Args:
        store: a feature store.
        path: the file; written all at once or not at all.
        features: their numbers; None for as many as the budget takes: labelled ones first, then by how often they fire.
        title: heading of the page.
        per_band: examples of each band.
        budget: bytes that the file may have.

    Raises:
        InputError: a feature that is not there, chosen features that the budget does not take, or a file that cannot be
            written.
    """
    path = Path(path)
    check_writable(path)
    if per_band < 1:
        raise InputError(f"per_band is {per_band}; a panel shows at least one example of each band.")
    table = store.features()
    wanted = chosen_features(table, features)
    pieces = _Pieces()
    head = len(_page(store, title, [], pieces, 0).encode())
    spent, shown = head, list[dict[str, Any]]()
    known: list[Any] = list(wanted.itertuples())
    for row, tables in tracked(with_tables(store, known), progress, "exporting features", len(known)):
        before = pieces.size
        panel = _panel(tables, row, per_band, pieces)
        spent += len(inert_json(panel)) + 1 + pieces.size - before
        if spent > budget:
            if features is not None or not shown:
                fitting = f"{len(shown)} of them do" if shown else "not even one does"
                raise InputError(
                    f"The {len(wanted)} features do not fit into {budget} bytes, {fitting}; choose fewer, fewer "
                    "examples, or a larger budget."
                )
            break
        shown.append(panel)
    text = _page(store, title, shown, pieces, len(table) - len(shown))
    write_atomically(path, text)
    return ExportedDashboard(path, len(shown), len(table) - len(shown), len(text.encode("utf-8", "backslashreplace")))


class _Pieces:
    """Token texts as they are shown, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.size = 0
        self._numbers: dict[str, int] = {}
        self._known: dict[str, int] = {}

    def number(self, token: str) -> int:
        """Of a token's text; what is invisible is made visible (`visible_token`)."""
        if token not in self._known:
            self._known[token] = self._number(visible_token(token))
        return self._known[token]

    def _number(self, shown: str) -> int:
        if shown not in self._numbers:
            self._numbers[shown] = len(self.texts)
            self.texts.append(shown)
            self.size += len(inert_json(shown)) + 1
        return self._numbers[shown]


def _panel(tables: FeatureTables, row: Any, per_band: int, pieces: _Pieces) -> dict[str, Any]:
    feature, top = int(row.feature), _number(row.max) or 0.0
    logits = tables.logits(feature)
    effects = [(pieces.number(str(one.token)), _number(one.effect)) for one in logits.itertuples()]
    # By rank, not by sign: a softmax does not see what is added to all logits alike.
    raised = (len(effects) + 1) // 2
    alive = int(row.count) > 0
    return {
        "i": feature,
        "label": "" if _missing(row.label) else visible_text(str(row.label)),
        "source": "" if _missing(row.source) else visible_text(str(row.source)),
        "density": _number(row.density) or 0.0,
        "count": int(row.count),
        "max": top,
        "mean": _number(row.mean),
        "up": effects[:raised],
        "down": effects[raised:][::-1],
        "histogram": [
            [_number(one["low"]), _number(one["high"]), int(one["count"])]
            for one in (tables.histogram(feature).to_dict("records") if alive else ())
        ],
        "examples": _examples(tables, feature, top, per_band, pieces) if alive else [],
        "near": _near(tables, feature, "decoder", "cosine"),
        "with": _near(tables, feature, "firing", "phi") if alive else [],
    }


def _examples(tables: FeatureTables, feature: int, top: float, per_band: int, pieces: _Pieces) -> list[dict[str, Any]]:
    found = []
    examples = tables.examples(feature, limit=per_band)
    for example in sorted(examples, key=lambda one: (band_order(one.band), one.rank)):
        # Thousandths of the feature's largest activation; most tokens are at zero and left out.
        levels = [round(1000 * float(value) / top) if top else 0 for value in example.activations]
        found.append(
            {
                "b": example.band,
                "v": _number(example.value),
                "r": int(example.row),
                "p": int(example.position),
                "k": int(example.position) - int(example.start),
                "t": [pieces.number(token) for token in example.tokens],
                "a": [entry for place, level in enumerate(levels) if level for entry in (place, level)],
                "n": [place for place, token in enumerate(example.tokens) if "\n" in token],
            }
        )
    return found


def _near(
    tables: FeatureTables, feature: int, by: Literal["decoder", "firing"], column: str
) -> list[tuple[int, float | None]]:
    table = tables.neighbours(feature, by)
    return [(int(other), _number(value)) for other, value in zip(table["feature"], table[column], strict=True)]


def _page(store: FeatureReader, title: str | None, shown: list[dict[str, Any]], pieces: _Pieces, left_out: int) -> str:
    info = store.info
    static = files("workbench.saes.export").joinpath("static")
    shared = files("workbench.report").joinpath("static")
    base = "\n".join(shared.joinpath(f"{part}.css").read_text("utf-8") for part in ("page", "strip"))
    style = base + static.joinpath("dashboard.css").read_text("utf-8")
    script = static.joinpath("dashboard.js").read_text("utf-8")
    model, hook = visible_text(str(info.model)), visible_text(str(info.hook))
    dead = sum(not panel["count"] for panel in shown)
    truncated = (
        f"Truncated to {len(shown)} of {len(shown) + left_out} features, by the file's size budget or by choice; "
        "a budget is spent on labelled features first, then on the most frequent."
    )
    bands = {example["b"]: band_words(example["b"]) for panel in shown for example in panel["examples"]}
    data = {"features": shown, "pieces": pieces.texts, "tokens": int(info.tokens), "bands": bands}
    page = templates("workbench.saes.export").get_template("dashboard.html")
    return page.render(
        title=visible_text(title) if title is not None else f"Features of {model} at {hook}",
        lead=f"{len(shown)} features of a sparse autoencoder with {int(info.d_sae)}, read on {int(info.tokens)} tokens"
        + (f"; {dead} of them never fired." if dead else "."),
        truncated=truncated if left_out else "",
        facts={"Model": model, "Hook": hook, "Tokens": str(int(info.tokens))},
        style=style,
        script=script,
        style_source=policy_hash(style),
        script_source=policy_hash(script),
        data=inert_json(data),
    )


def _number(value: Any) -> float | None:
    """Four digits of a number, which is what a page shows; None where there is none."""
    number = float(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
