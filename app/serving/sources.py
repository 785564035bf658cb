"""Which models may be opened: a rule for what is typed into the sidebar or stands in a link."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from workbench.app.serving.workspace import Workspace
from workbench.errors import InputError, offer

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LONGEST = 500


def called(source: str) -> str:
    """A source for people: of a path its last part, so that a sentence does not carry a folder."""
    return Path(source).name if Path(source).is_absolute() else source


class Sources:
    """Models of the zoo, of the hub, in the workspace, and those that the app was started with; no other file.

    Args:
        workspace: directories and ``.gguf`` files in it may be opened by their path in it.
        named: sources that the app was started with (``--model``), which may lie anywhere.
    """

    def __init__(self, workspace: Workspace, named: Sequence[str] = ()) -> None:
        self.named = tuple(named)
        self._workspace = workspace

    def offered(self) -> tuple[str, ...]:
        """What a list of models offers: those the app was started with, then the zoo's."""
        from workbench import zoo

        members = sorted(zoo.available(), key=lambda name: (name != "attention", name))
        return (*self.named, *(f"zoo:{name}" for name in members))

    def checked(self, asked: str) -> str:
        """A source as `workbench.load` takes it; of a file in the workspace, its whole path.

        Raises:
            InputError: it is a path outside the workspace that the app was not started with, or no source at all.
        """
        text = asked.strip()
        if text in self.named:
            return text
        if text.startswith("zoo:"):
            if text not in self.offered():
                members = [name for name in self.offered() if name.startswith("zoo:")]
                raise InputError(f"The zoo has no {text[:80]!r}; {offer(text, members, 'the page Models')}.")
            return text
        if not text or len(text) > _LONGEST:
            raise InputError("Name a model: zoo:NAME, a hub id such as gpt2, or a path in the workspace.")
        try:
            inside = self._workspace.inside(text)
        except InputError as error:
            raise self._refusal(text) from error
        if inside.exists():
            return str(self._whole(inside, text))
        # What lies in the current folder is a file to `workbench.load`, whatever it is here.
        if _HUB_ID.fullmatch(text) and not text.endswith(".gguf") and not Path(text).exists():
            return text
        raise self._refusal(text)

    def at_hub(self, source: str) -> bool:
        """Whether a source that was `checked` is a hub id, and none that the app was started with."""
        return source not in self.offered() and not Path(source).is_absolute()

    def _whole(self, found: Path, text: str) -> Path:
        """A file or directory, none of whose files is a link out of the workspace."""
        for part in found.rglob("*") if found.is_dir() else ():
            if not part.resolve().is_relative_to(self._workspace.root):
                raise InputError(f"{text!r} holds a link out of the workspace, {part.name}; copy the file there.")
        return found

    def _refusal(self, text: str) -> InputError:
        return InputError(
            f"{text!r} is no model in the workspace {self._workspace.root}. Files elsewhere are opened only if the app "
            "is started with them: workbench app --model PATH."
        )
