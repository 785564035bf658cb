"""Errors of the workbench: one sentence that says what was wrong, where, and what would be right.

Every error a user can cause derives from `WorkbenchError`, so a script or the command line can catch one class and
print one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkbenchError(Exception):
    """Base of every error that bad input can cause."""


class LoadError(WorkbenchError):
    """A source could not be turned into a model: missing, corrupt, untrusted or unsupported."""


class UnsupportedFamilyError(LoadError):
    """The model's token mixer has no adapter; the message lists the families that have one."""


class FidelityError(LoadError):
    """The hooked forward pass differs from the stock one by more than the tolerance."""


class HookNameError(WorkbenchError, KeyError):
    """A hook name or filter matches no hook point; the message names the nearest ones."""

    def __str__(self) -> str:  # KeyError would print the repr of the sentence
        return str(self.args[0])


class HookNeverFiredError(WorkbenchError):
    """A hook was asked for and did not fire during the run."""


class HookEditError(WorkbenchError, ValueError):
    """A hook returned something that cannot replace the tensor it was given."""


class DivergenceError(WorkbenchError):
    """A training step's loss or gradient is not finite; the checkpoints before it are whole."""


class NotFiniteError(WorkbenchError, ArithmeticError):
    """A tensor of a forward pass holds NaN or an infinity; the message names the hook point, the layer and the step."""


class InputError(WorkbenchError, ValueError):
    """Tokens, text, layers, heads, positions or options outside what the model can take."""


FEW = 8
"""So many choices are read at a glance; of more, a refusal names the nearest ones."""


def offer(name: str, choices: Iterable[str], listing: str = "") -> str:
    """How the sentence that refuses a name goes on: all choices where they are few, else the nearest ones.

    Args:
        listing: where all of them are listed, such as ``"workbench task list"``.
    """
    listed = list(choices)
    if len(listed) <= FEW:
        return f"there is: {', '.join(listed)}"
    close = nearest(name, listed)
    if close:
        return f"nearest: {', '.join(close)}" + (f"; {listing} names all {len(listed)}" if listing else "")
    return f"{listing} names all {len(listed)}" if listing else f"there is: {', '.join(listed)}"


def nearest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The `count` choices closest to `name` in spelling, best first; may be empty."""
    return difflib.get_close_matches(name, list(choices), n=count, cutoff=0.4)
