"""The Typer application: which commands there are, and the one place where errors become sentences."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from workbench import __version__
from workbench.cli import (
    ablate,
    attention,
    compiling,
    demo,
    dynamics,
    explorer,
    heads,
    info,
    lens,
    logits,
    memory,
    patch,
    probe,
    replicate,
    sae,
    steer,
    study,
    task,
    weights,
)
from workbench.cli.commands import Commands
from workbench.errors import WorkbenchError

BAD_INPUT = 2
# What the parser raises for arguments that it cannot read: typer exports only its children.
UsageError: Any = typer.BadParameter.__bases__[0]


class OneSentenceErrors(TyperGroup):
    """Prints what a user got wrong as one sentence and ends with code 2; everything else keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _note
                return super().invoke(ctx)
        except WorkbenchError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error
        except UsageError as error:
            # A group without a command prints its help by such an error.
            if error.ctx is None or type(error).__name__ == "NoArgsIsHelpError":
                raise
            said = error.format_message().replace("Value error, ", "").rstrip(".")
            print(f"Error: {said}; see {error.ctx.command_path} --help.", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error


def _note(message: Warning | str, *where: Any, **more: Any) -> None:
    """Print a warning as the sentence it is: the line of code it came from says nothing to a user."""
    print(f"Note: {message}", file=sys.stderr)


app = Commands(
    name="workbench",
    cls=OneSentenceErrors,
    help="Open a language model, see how its tokens read each other, find the heads that copy, prove it by ablation."
    "\n\nStart with: workbench demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"workbench {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of ``workbench`` itself."""


app.command("demo")(demo.demo)
app.command("app")(explorer.app)
app.command("info")(info.info)
app.command("heads")(heads.heads)
app.command("ablate")(ablate.ablate)
app.command("attention")(attention.attention)
app.command("compile")(compiling.compile_kernels)
app.command("logits")(logits.logits)
app.command("patch")(patch.patch)
app.command("steer")(steer.steer)
app.command("dynamics")(dynamics.dynamics)
app.command("weights")(weights.weights)
app.command("memory")(memory.memory)
app.command("replicate")(replicate.replicate)
app.add_typer(lens.lens, name="lens")
app.add_typer(task.task, name="task")
app.add_typer(probe.probe, name="probe")
app.add_typer(sae.sae, name="sae")
app.add_typer(study.study, name="study")


def main() -> None:
    """Entry point of the ``workbench`` command."""
    app()
