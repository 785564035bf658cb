"""``workbench study plan``, ``run`` and ``resume``."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from workbench.cli import options
from workbench.cli.models import silence_libraries
from workbench.cli.output import Output
from workbench.cli.study.opening import Opened, open_folder, open_study
from workbench.cli.study.options import UNCHANGED, Changes, DryRun, Files, Folder, Out, Replan, TrustPython
from workbench.errors import InputError, WorkbenchError

if TYPE_CHECKING:
    from workbench.studies.coordinator import Summary

INCOMPLETE, BAD_INPUT, STOPPED = 1, 2, 130
"""Exit status: units failed; nothing was run for bad input; Ctrl-C (128 + SIGINT, as shells have it)."""

Found = dict[str, Any]


def plan(
    files: Files,
    changes: Changes = UNCHANGED,
    out: Out = None,
    dry_run: DryRun = False,
    trust_python: TrustPython = False,
    json_file: options.JsonFile = None,
) -> None:
    """Say what studies would run: units, forward passes, time and memory (one batch is tried), disk, warnings.

    Example: workbench study plan studies/induction-heads.yaml
    """
    output = Output(json_file)
    runner = _Runner(output, files, lambda file: open_study(file, changes.overrides, out, len(files) > 1, trust_python))
    runner.end(lambda opened: (_planned(output, opened, write=not dry_run), 0))


def run(
    files: Files,
    changes: Changes = UNCHANGED,
    out: Out = None,
    dry_run: DryRun = False,
    replan: Replan = False,
    trust_python: TrustPython = False,
    json_file: options.JsonFile = None,
) -> None:
    """Run studies one after the other. What is measured already is kept, so a run may be stopped, killed and repeated.

    Example: workbench study run studies/*.yaml --workers 2
    """
    output = Output(json_file)
    runner = _Runner(output, files, lambda file: open_study(file, changes.overrides, out, len(files) > 1, trust_python))
    if dry_run:
        runner.end(lambda opened: (_planned(output, opened, write=False), 0))
    else:
        runner.end(lambda opened: _run(output, opened, replan))


def resume(
    folder: Folder,
    changes: Changes = UNCHANGED,
    replan: Replan = False,
    json_file: options.JsonFile = None,
) -> None:
    """Go on with the study of a folder; what failed is tried again.

    Example: workbench study resume study-runs/induction-heads
    """
    output = Output(json_file)
    runner = _Runner(output, [folder], lambda place: open_folder(place, changes.overrides))
    runner.end(lambda opened: _run(output, opened, replan))


class _Runner:
    """Does one thing to several studies: after one that fails, the next; after Ctrl-C, none.

    Args:
        open_one: reads a study from its file or folder.
    """

    def __init__(self, output: Output, files: list[Path], open_one: Callable[[Path], Opened]) -> None:
        self._output, self._files, self._open = output, files, open_one
        self._names: dict[Path, Path] = {}

    def end(self, act: Callable[[Opened], tuple[Found, int]]) -> None:
        """Do it to all of them, write the JSON that was asked for, and end the command with the worst status."""
        silence_libraries()
        found: list[Found] = []
        worst = 0
        for number, file in enumerate(self._files, 1):
            if len(self._files) > 1:
                head = f"{'' if number == 1 else chr(10)}{file} ({number} of {len(self._files)})"
                self._output.errors.print(head, style="bold", highlight=False, markup=False, soft_wrap=True)
            result, status = self._one(file, act)
            found.append({"file": str(file), **result})
            worst = max(worst, status)
            if status == STOPPED:
                break
        self._output.save({"studies": found})
        raise typer.Exit(worst)

    def _one(self, file: Path, act: Callable[[Opened], tuple[Found, int]]) -> tuple[Found, int]:
        opened = None
        try:
            opened = self._open(file)
            self._apart(opened)
            return act(opened)
        except KeyboardInterrupt:
            print(f"Stopped. {_how_to_go_on(opened)}", file=sys.stderr)
            return {"ended": "stopped"}, STOPPED
        except WorkbenchError as error:
            # What is wrong with a file names it already.
            said = str(error) if opened is None else f"{opened.source}: {error}"
            if len(self._files) == 1:
                raise InputError(said) from error
            print(f"Error: {said}", file=sys.stderr)
            return {"ended": "refused", "error": said}, BAD_INPUT
        except Exception as error:
            # A fault of ours in one study is no reason to lose the night for the others.
            if len(self._files) == 1:
                raise
            traceback.print_exc()
            return {"ended": "crashed", "error": repr(error)}, INCOMPLETE

    def _apart(self, opened: Opened) -> None:
        other = self._names.setdefault(opened.folder.absolute(), opened.source)
        if other is not opened.source:
            raise InputError(f"{opened.source} has the folder of {other}, {opened.folder}; give it another name.")


def _planned(output: Output, opened: Opened, write: bool) -> Found:
    from workbench.studies.planning import plan_study

    made = plan_study(
        opened.study, opened.folder, base=opened.base, calibrate=write, progress=output.progress, write=write
    )
    output.console.print(made.text(), highlight=False, markup=False, soft_wrap=True)
    return made.as_json()


def _run(output: Output, opened: Opened, replan: bool) -> tuple[Found, int]:
    from workbench.studies.coordinator import run_study

    summary = run_study(
        opened.study,
        opened.folder,
        base=opened.base,
        progress=output.progress,
        replan=replan,
        source=opened.source,
    )
    found = _found(summary)
    if summary.ended == "stopped":
        print(f"Stopped. {_how_to_go_on(opened)}", file=sys.stderr)
        return found, STOPPED
    output.console.print(summary.text(), highlight=False, markup=False, soft_wrap=True)
    if summary.coverage.done:
        output.note(f"What it found: workbench study report {opened.folder}")
    return found, 0 if summary.complete else INCOMPLETE


def _found(summary: Summary) -> Found:
    found = asdict(summary)
    return {**found, "folder": str(summary.folder), "coverage": dict(summary.coverage), "complete": summary.complete}


def _how_to_go_on(opened: Opened | None) -> str:
    """What to type after Ctrl-C."""
    if opened is None:  # nothing may be imported here: Ctrl-C may have come in the middle of an import
        return "Nothing was measured yet; the same command begins again."
    from workbench.studies.store.schema import JOURNAL

    if not (opened.folder / JOURNAL).is_file():
        return "Nothing was measured yet; the same command begins again."
    return f"What was measured is kept; go on with: workbench study resume {opened.folder}"
