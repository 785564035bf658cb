"""The tables of a store, made of what a pass has put on disk; each part is there in full or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.features.blocks import StoredCodes, Text, read_text
from workbench.saes.features.correlations import NeuronSums
from workbench.saes.features.directions import final_scale, logit_columns, nearest_columns
from workbench.saes.features.examples import example_columns
from workbench.saes.features.ledger import Ledger
from workbench.saes.features.options import FeatureOptions
from workbench.saes.features.parquet import write_parquet
from workbench.saes.features.partners import TABLE_NUMBERS, partner_columns
from workbench.saes.features.pieces import Pieces
from workbench.saes.features.room import Room
from workbench.saes.features.statistics import feature_columns, histogram_columns, token_columns

TABLES = (
    "rows", "codes", "features", "histograms", "top_tokens", "examples", "partners", "nearest", "logits", "neurons",
)  # fmt: skip
"""Folders of a store, each of Parquet files that make up a table."""

SCALE_ROWS = 8
"""Rows of the text on which the final norm's scale is read: it differs little from row to row."""


def write_tables(
    ledger: Ledger, model: HookedModel, sae: SparseAutoencoder, options: FeatureOptions, room: Room, progress: bool
) -> None:
    """Make what is missing of the tables, and note that the store is finished."""
    if ledger.info("finished"):
        return
    folder, shards = ledger.folder, ledger.shards()
    text = read_text(folder, shards)
    codes = StoredCodes(folder, shards, sae.cfg.d_sae, text.stride)
    counts = codes.counts()
    occurrences = np.bincount(text.ids[text.read], minlength=1)
    blocks, pieces = codes.blocks(counts), Pieces(model)
    for number, features in enumerate(tracked(blocks, progress, "ranking activations")):
        if not ledger.has("block", number):
            block = codes.read(features)
            for name, columns in {
                "features": feature_columns(block, text),
                "histograms": histogram_columns(block, options.bins),
                "top_tokens": token_columns(block, text, occurrences, options.top_tokens, pieces),
                "examples": example_columns(block, text, options),
            }.items():
                write_parquet(part(folder, name, number), columns, room=room)
            ledger.done("block", number)
    _write_partners(ledger, codes, text, counts, options, room, progress)
    if not ledger.has("nearest", 0):
        write_parquet(part(folder, "nearest", 0), nearest_columns(sae, options.neighbours), room=room)
        ledger.done("nearest", 0)
    logits, reason = logit_columns(model, sae, options.logits, pieces)
    write_parquet(part(folder, "logits", 0), logits, room=room)
    write_parquet(part(folder, "neurons", 0), _neuron_columns(ledger, len(blocks), text, options), room=room)
    scale = final_scale(model, [text.row(row) for row in range(min(text.rows, SCALE_ROWS))]) if reason is None else None
    dead = int((counts == 0).sum())
    ledger.note(finished=True, rows=text.rows, tokens=text.tokens, no_logits=reason, final_scale=scale, dead=dead)
    shutil.rmtree(folder / "sums", ignore_errors=True)


def part(folder: Path, table: str, number: int) -> Path:
    """Where a part of a table is."""
    return folder / table / f"{table}-{number:05d}.parquet"


def _write_partners(
    ledger: Ledger,
    codes: StoredCodes,
    text: Text,
    counts: np.ndarray,
    options: FeatureOptions,
    room: Room,
    progress: bool,
) -> None:
    at_once = max(1, TABLE_NUMBERS // codes.features)
    starts = range(0, codes.features, at_once)
    for number, start in enumerate(tracked(starts, progress, "counting what fires together")):
        if not ledger.has("partners", number):
            features = range(start, min(start + at_once, codes.features))
            columns = partner_columns(codes, text, counts, features, options.neighbours)
            write_parquet(part(ledger.folder, "partners", number), columns, room=room)
            ledger.done("partners", number)


def _neuron_columns(ledger: Ledger, blocks: int, text: Text, options: FeatureOptions) -> dict[str, Any]:
    """The table ``neurons``: the neurons with the largest correlation, of either sign, with each feature."""
    import pyarrow.parquet as pq

    if options.neurons is None:
        none = np.empty(0, dtype=np.int32)
        return {"feature": none, "rank": none, "neuron": none, "correlation": np.empty(0)}
    files = [part(ledger.folder, "features", number) for number in range(blocks)]
    tables = [pq.read_table(file, columns=["sum", "sum_squares"]) for file in files]
    sums, squares = (np.concatenate([one[name].to_numpy() for one in tables]) for name in ("sum", "sum_squares"))
    held = NeuronSums.of(ledger.folder, len(ledger.shards()) - 1)
    neuron, correlation = held.best(options.neighbours, text.tokens, sums, squares)
    features, count = neuron.shape
    known = ~np.isnan(correlation).ravel()
    return {
        "feature": np.repeat(np.arange(features, dtype=np.int32), count)[known],
        "rank": np.tile(np.arange(count, dtype=np.int32), features)[known],
        "neuron": neuron.ravel().astype(np.int32)[known],
        "correlation": correlation.ravel()[known],
    }
