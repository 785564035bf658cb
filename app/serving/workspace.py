"""The folder the app works in: nothing outside it is listed, opened or written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from workbench.errors import InputError
from workbench.report.files import write_atomically

OWN = ".workbench"
"""The app's own folder in the workspace: prompts by their ids, labels, notes."""

LONGEST_PROMPT = 200_000
"""Characters of a prompt."""


class Workspace:
    """A folder with study runs, feature stores and the app's own notes."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def inside(self, path: str | Path) -> Path:
        """A path of the workspace, resolved.

        Raises:
            InputError: it lies outside, perhaps by way of a link.
        """
        try:
            found = (self.root / path).resolve()
            found.exists()  # a name may be too long to be looked for
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, with a null in it, a link to itself
            raise InputError(f"{str(path)[:80]!r} is no path: {error}.") from error
        if not found.is_relative_to(self.root):
            raise InputError(f"{path} lies outside the workspace {self.root}; start the app with another --workspace.")
        return found

    # ---- prompts: a link holds an id, never the text

    def keep_prompt(self, text: str) -> str:
        """Keep a prompt; its id, which is the same for the same text.

        Raises:
            InputError: it is longer than `LONGEST_PROMPT`.
        """
        if len(text) > LONGEST_PROMPT:
            raise InputError(f"The prompt has {len(text):,} characters; at most {LONGEST_PROMPT:,} are taken.")
        prompt_id = hashlib.sha256(text.encode()).hexdigest()[:12]
        file = self._prompt(prompt_id)
        if not file.exists():
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(file, text)
            except OSError as error:
                raise InputError(
                    f"The workspace {self.root} cannot be written to ({error.strerror}); "
                    "start the app with another --workspace."
                ) from error
        return prompt_id

    def prompt(self, prompt_id: str) -> str | None:
        """The prompt of an id, or None where there is none."""
        if not (len(prompt_id) == 12 and set(prompt_id) <= set("0123456789abcdef")):
            return None
        file = self._prompt(prompt_id)
        return file.read_bytes().decode() if file.is_file() else None

    def _prompt(self, prompt_id: str) -> Path:
        return self.root / OWN / "prompts" / f"{prompt_id}.txt"
