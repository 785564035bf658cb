"""Tables on disk that are there in full or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError

ROW_GROUP = 2**17
"""Rows that are found and read together: few enough that one feature's are read in milliseconds."""


def write_parquet(file: Path, columns: Mapping[str, Any], *, sorted_numbers: tuple[str, ...] = ()) -> None:
    """Write columns (arrays or pyarrow arrays of one length) through a temporary file, flushed and renamed.

    Args:
        sorted_numbers: whole numbers in rising order, or nearly: their differences are stored, which are small.

    Raises:
        InputError: the disk is full or the file cannot be written; what was done before is kept.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(dict(columns))
    encoding = dict.fromkeys(sorted_numbers, "DELTA_BINARY_PACKED")
    plain = [name for name in table.column_names if name not in encoding]
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as sink:
            pq.write_table(
                table,
                sink,
                row_group_size=ROW_GROUP,
                compression="none" if encoding else "zstd",
                use_dictionary=[] if encoding else plain,
                column_encoding=encoding or None,
            )
            sink.flush()
            os.fsync(sink.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp makes private files
        Path(temporary).replace(file)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(unwritten(file, error)) from error
        raise


def unwritten(file: Path, error: BaseException) -> str:
    """The sentence for a file that could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return (
        f"{file} could not be written ({reason}); what was done before is kept, and the same call goes on from there."
    )
