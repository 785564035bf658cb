"""A study's results as files that everything reads: Parquet and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import InputError
from workbench.report.files import check_writable, replacing
from workbench.studies.store.results import read_results

if TYPE_CHECKING:
    import pandas as pd


def export_results(folder: Path, destination: Path) -> list[Path]:
    """Write the results of a study's folder, long form, one row a unit and metric, with the attempts beside them.

    Args:
        destination: a ``.parquet`` or ``.csv`` file for the results alone; a folder, made where it is not there, for
            ``results.parquet``, ``results.csv`` and ``attempts.csv``.

    Returns:
        The files that were written, each whole.

    Raises:
        InputError: the folder holds no study, or the destination cannot be written.
    """
    results = read_results(folder)
    if destination.suffix in (".parquet", ".csv") and not destination.is_dir():
        files = {destination: results.frame}
    else:
        try:
            destination.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {destination} cannot be made: {error.strerror or error}.") from error
        files = {
            destination / "results.parquet": results.frame,
            destination / "results.csv": results.frame,
            destination / "attempts.csv": results.attempts,
        }
    for path, table in files.items():
        check_writable(path)
        write_table(table, path)
    return list(files)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as its file's suffix says, Parquet or CSV, in full or not at all.

    Raises:
        InputError: it cannot be written; what was at `path` before is still there.
    """
    try:
        with replacing(path) as temporary:
            if path.suffix == ".parquet":
                table.to_parquet(temporary, engine="pyarrow", index=False)
            else:
                table.to_csv(temporary, index=False)
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror or error}.") from error
