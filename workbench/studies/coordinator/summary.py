"""What a run of a study came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.studies.store.coverage import Coverage


@dataclass(frozen=True)
class Verification:
    """Units that were computed a second time, one at a time and from the first layer on.

    Attributes:
        units: how many.
        largest: difference from what is stored, of any metric, in its own units; NaN against a number is infinite.
        where: the unit and metric of the largest difference.
    """

    units: int
    largest: float
    where: str


@dataclass(frozen=True)
class Summary:
    """A run's end; `run_study` returns it.

    Attributes:
        ended: ``done``, or ``stopped`` where Ctrl-C ended it.
        coverage: of the study, all runs together.
        chunks: that this run did; `units` that were in them.
        seconds: that it took.
        differing: measurements that were stored before with another value.
        verification: None where none was asked for.
        notes: sentences a user should read, such as that the study file has changed meanwhile.
    """

    folder: Path
    ended: str
    coverage: Coverage
    chunks: int
    units: int
    seconds: float
    differing: int
    verification: Verification | None
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every unit is done."""
        return self.ended == "done" and self.coverage.done == self.coverage.planned

    def text(self) -> str:
        """Everything, for people."""
        of = self.coverage
        ended = "Done" if self.complete else "Stopped" if self.ended == "stopped" else "Ended"
        lines = [
            f"{ended}: {of.done:,} of {of.planned:,} units are measured; "
            f"this run did {self.units:,} in {self.seconds:.1f} s. Results are in {self.folder}."
        ]
        if of.pending:
            lines.append(f"{of.pending:,} units are left; run it again to go on.")
        lines += [f"{count:,} units failed: {reason}" for reason, count in of.reasons.items()]
        lines += [f"{metric}: {count:,} results are not finite" for metric, count in of.not_finite.items()]
        if self.differing:
            lines.append(f"{self.differing:,} results came twice with different values; the first are kept.")
        if self.verification is not None:
            checked = self.verification
            at = f" ({checked.where})" if checked.where else ""
            lines.append(
                f"Verified: {checked.units:,} units computed plainly differ by at most {checked.largest:.2g}{at}."
            )
        return "\n".join([*lines, *self.notes])
