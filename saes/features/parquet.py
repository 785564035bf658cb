"""Tables on disk that are there in full or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.report.files import replacing
from workbench.saes.features.room import Room

ROW_GROUP = 2**17
"""Rows that are found and read together: few enough that one feature's are read in milliseconds."""


def write_parquet(
    file: Path, columns: Mapping[str, Any], *, sorted_numbers: tuple[str, ...] = (), room: Room | None = None
) -> None:
    """Write columns (arrays or pyarrow arrays of one length), in full or not at all.

    Args:
        sorted_numbers: whole numbers in rising order, or nearly: their differences are stored, which are small.
        room: what the folder may take.

    Raises:
        InputError: the disk is full, the file cannot be written, or there is no room for it; what was done before is
            kept.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(dict(columns))
    encoding = dict.fromkeys(sorted_numbers, "DELTA_BINARY_PACKED")
    plain = [name for name in table.column_names if name not in encoding]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, temporary.open("wb") as sink:
            pq.write_table(
                table,
                sink if room is None else room.limited(sink, file.name),
                row_group_size=ROW_GROUP,
                compression="none" if encoding else "zstd",
                use_dictionary=[] if encoding else plain,
                column_encoding=encoding or None,
            )
    except OSError as error:
        raise InputError(unwritten(file, error)) from error


def unwritten(file: Path, error: BaseException) -> str:
    """The sentence for a file that could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return (
        f"{file} could not be written ({reason}); what was done before is kept, and the same call goes on from there."
    )
