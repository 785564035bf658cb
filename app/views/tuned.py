"""Tuned lenses of the workspace: which there are, what they can be trained on, training one."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Int
from torch import Tensor

from workbench.app.serving.workspace import OWN, Workspace
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import lenses
from workbench.report.files import write_atomically
from workbench.texts import read_utf8

ROWS, LENGTH = 8, 128
"""Windows a step, and tokens of each."""

HELD_OUT = 0.1
"""Share of the windows, at the end of the text, that a lens is judged on."""

JUDGED = 16
"""Windows it is judged on at most."""

EVERY = 25
"""Steps between checkpoints, from which a training that was cancelled goes on."""

TIMED = 3
"""Steps that are timed before a training is offered."""

MOST_TEXTS = 60
"""Text files that are offered."""

ABOUT = "about.json"

SHIPPED = Path(__file__).resolve().parents[2] / "studies" / "texts"
"""The text of the repository, where the explorer runs from one."""


@dataclass(frozen=True)
class Tuned:
    """A tuned lens, and how good it is on text that it was not trained on.

    Attributes:
        model: source of the model it was trained for.
        text: name of what it was trained on.
        steps: of the optimiser.
        tokens: a step.
        windows: held-out windows of `LENGTH` tokens that it was judged on.
        logit, tuned: mean KL to the model at each depth, in nats.
    """

    model: str
    text: str
    steps: int
    tokens: int
    windows: int
    logit: tuple[float, ...]
    tuned: tuple[float, ...]

    def __str__(self) -> str:
        middle = len(self.tuned) // 2
        return (
            f"Trained on {self.text}, {self.steps} steps of {self.tokens:,} tokens. On {self.windows} held-out windows "
            f"its KL to the model at depth {middle} is {self.tuned[middle]:.2f} nats; the logit lens has "
            f"{self.logit[middle]:.2f}."
        )


def lens_folder(workspace: Workspace, source: str) -> Path:
    """Where the workspace keeps the tuned lens of a model; a source may be a path, so its hash is part of the name."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", source).strip("-")[-40:]
    return workspace.inside(f"{OWN}/lenses/{readable}-{hashlib.sha256(source.encode()).hexdigest()[:8]}")


def saved_lens(workspace: Workspace, source: str) -> Tuned | None:
    """What is known of the tuned lens of a model, or None where there is none."""
    folder = lens_folder(workspace, source)
    if not (folder / ABOUT).is_file():
        return None
    try:
        held = json.loads(read_utf8(folder / ABOUT))
        return Tuned(**{**held, "logit": tuple(held["logit"]), "tuned": tuple(held["tuned"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder / ABOUT} is damaged ({error}); delete the folder, then train again.") from error


def texts_of(workspace: Workspace) -> dict[str, Path]:
    """Text files that a lens can be trained on: of the workspace, two folders deep, then the repository's."""
    found: dict[str, Path] = {}
    for pattern in ("*.txt", "*/*.txt", "*/*/*.txt"):
        for file in sorted(workspace.root.glob(pattern)):
            name = file.relative_to(workspace.root)
            inside = file.resolve().is_relative_to(workspace.root) and file.is_file()
            if inside and not any(part.startswith(".") for part in name.parts) and len(found) < MOST_TEXTS:
                found[str(name)] = file
    here = {file.resolve() for file in found.values()}
    for file in sorted(SHIPPED.glob("*.txt")):
        if file.resolve() not in here:
            found[f"{file.name} (of the repository)"] = file
    return found


def step_seconds(model: HookedModel, text: Path) -> float:
    """How long a step of `train_lens` takes, in seconds, from three that are timed now.

    They come after one that is not timed: the first of a process takes as long as ten others.
    """
    windows = _windows(model, text)[0]
    for steps in (1, TIMED):
        with TemporaryDirectory() as scratch:
            began = time.perf_counter()
            lenses.train_tuned_lens(model, windows, _options(steps), checkpoint=Path(scratch) / "training.pt")
    return (time.perf_counter() - began) / TIMED


def train_lens(model: HookedModel, source: str, text: Path, name: str, steps: int, folder: Path) -> Tuned:
    """Train a tuned lens, judge it on text it has not seen, and save both; what was cancelled goes on.

    Raises:
        InputError: the text is too short for the model's tokens, or is no text.
    """
    windows, test = _windows(model, text)
    # Named by what it depends on, so that another text or length begins anew.
    identity = hashlib.sha256(f"{name} {steps} {len(windows)}".encode()).hexdigest()[:8]
    checkpoint = folder / f"training-{identity}.pt"
    training = lenses.train_tuned_lens(
        model, windows, _options(steps), checkpoint=checkpoint, every=EVERY, resume=checkpoint.exists()
    )
    table = lenses.evaluate_lenses([lenses.LogitLens(training.lens.unembedding), training.lens], test[:JUDGED])
    by_lens = {str(lens): rows.sort_values("depth")["kl"].tolist() for lens, rows in table.groupby("lens")}
    lenses.save_tuned_lens(training.lens, folder)
    about = Tuned(
        source,
        name,
        steps,
        ROWS * LENGTH,
        min(len(test), JUDGED),
        tuple(by_lens["logit lens"]),
        tuple(by_lens["tuned lens"]),
    )
    write_atomically(folder / ABOUT, json.dumps(asdict(about), indent=2) + "\n")
    checkpoint.unlink(missing_ok=True)
    return about


def training_code(source: str, text: Path, steps: int, folder: Path) -> str:
    """Python for `train_lens`, without its checkpoints."""
    return (
        "from pathlib import Path\n\n"
        "import workbench as wb\n"
        "from workbench.probes import lenses\n\n"
        f"model = wb.load({source!r})\n"
        f"text = Path({str(text)!r}).read_text()\n"
        f"windows, test = lenses.split_windows(lenses.text_windows(model, text, {LENGTH}), {HELD_OUT})\n"
        f'options = lenses.TunedLensOptions(steps={steps}, rows={ROWS}, optimizer="adamw")\n'
        "training = lenses.train_tuned_lens(model, windows, options, progress=True)\n"
        f"lenses.save_tuned_lens(training.lens, {str(folder)!r})\n"
        "both = [lenses.LogitLens(training.lens.unembedding), training.lens]\n"
        f"table = lenses.evaluate_lenses(both, test[:{JUDGED}])\n"
        'print(table[["lens", "depth", "kl"]])\n'
    )


def _windows(model: HookedModel, text: Path) -> tuple[Int[Tensor, "train length"], Int[Tensor, "test length"]]:
    return lenses.split_windows(lenses.text_windows(model, read_utf8(text), LENGTH), HELD_OUT)


def _options(steps: int) -> lenses.TunedLensOptions:
    return lenses.TunedLensOptions(steps=steps, rows=ROWS, optimizer="adamw")
