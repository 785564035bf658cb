"""Training a tuned lens: the authors' optimisation, resumable, on held memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import DivergenceError, InputError
from workbench.model import HookedModel
from workbench.notebook_bar import NotebookBar, in_notebook
from workbench.probes.lenses.objective import accumulate_gradients
from workbench.probes.lenses.published import load_tensors, save_tensors
from workbench.probes.lenses.residuals import residual_streams, sequences_at_once
from workbench.probes.lenses.tuned import TunedLens
from workbench.progress import PATIENCE, tell
from workbench.tokens import check_choice

FORMAT = "workbench tuned lens training 1"


@dataclass(frozen=True)
class TunedLensOptions:
    """How a tuned lens is trained.

    Attributes:
        steps: steps of the optimiser; the learning rate falls linearly to 0 over them.
        rows: rows of tokens a step (the authors' 2^18 tokens are 128 rows of 2048).
        optimizer: ``"sgd"`` with Nesterov momentum, as in the paper, or ``"adamw"``, which needs no tuning on small
            models and fewer steps.
        learning_rate: at the start; None for the authors' 1 with SGD, which is multiplied by ``1 - momentum`` as torch
            does not, and 1e-3 with AdamW.
        momentum: of SGD, and AdamW's first beta.
        weight_decay: towards the logit lens.
        warmup: steps over which the rate rises from 0; None for none with SGD, a fifth of all up to 1000 with AdamW.
        clip: largest norm of the gradient of all translators.
        bias: whether translators have biases.
        seed: of the order of the rows.
    """

    steps: int = 250
    rows: int = 16
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-3
    warmup: int | None = None
    clip: float = 1.0
    bias: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, ("sgd", "adamw"))
        for name in ("steps", "rows"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; at least one is needed.")
        if not 0 < self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}; a number between 0 and 1 is needed, such as 0.9.")
        if self.clip <= 0 or (self.learning_rate is not None and self.learning_rate <= 0) or self.weight_decay < 0:
            raise InputError("clip and learning_rate must be above 0, and weight_decay not below it.")

    def optimiser(self, lens: TunedLens) -> torch.optim.Optimizer:
        """The optimiser of a lens' translators, at its full learning rate."""
        parameters = list(lens.parameters())
        if self.optimizer == "sgd":
            # Torch adds up 1 / (1 - momentum) gradients in the long run, which the authors take back.
            rate = (self.learning_rate or 1.0) * (1 - self.momentum)
            return torch.optim.SGD(
                parameters, lr=rate, momentum=self.momentum, nesterov=True, weight_decay=self.weight_decay
            )
        return torch.optim.AdamW(
            parameters,
            lr=self.learning_rate or 1e-3,
            betas=(self.momentum, 0.999),
            weight_decay=self.weight_decay,
        )

    def share_of_rate(self, step: int) -> float:
        """What the learning rate of a step (from 0) is multiplied by."""
        warmup = self.warmup
        if warmup is None:
            warmup = 0 if self.optimizer == "sgd" else min(1000, self.steps // 5)
        if step < warmup:
            return step / warmup
        return (self.steps - step) / max(1, self.steps - warmup)


@dataclass(frozen=True)
class TunedLensTraining:
    """A trained lens, and how it came about.

    Attributes:
        lens: the lens.
        losses: divergence from the model on the rows of each step, before the step, a depth each; nats.
        options: how it was trained.
    """

    lens: TunedLens
    losses: Float[Tensor, "steps layers"]
    options: TunedLensOptions

    def table(self) -> pd.DataFrame:
        """One row a step and depth: ``step``, ``depth``, ``kl`` (nats)."""
        steps, layers = self.losses.shape
        return pd.DataFrame(
            {
                "step": torch.arange(steps).repeat_interleave(layers).numpy(),
                "depth": torch.arange(layers).repeat(steps).numpy(),
                "kl": self.losses.flatten().numpy(),
            }
        )


@checked_call
def train_tuned_lens(
    model: HookedModel,
    tokens: Int[Tensor, "windows length"],
    options: TunedLensOptions | None = None,
    *,
    checkpoint: Path | str | None = None,
    every: int = 25,
    resume: bool = False,
    progress: bool = False,
) -> TunedLensTraining:
    """Train a translator for every depth to minimise ``KL(model || lens)`` (Belrose et al. 2023, section 3).

    A pass of the model gives the residual streams of all depths; the divergences are worked on a few positions of one
    depth at a time. Beside the model, that takes the translators, their gradient and the optimiser's moments, and less
    than a gigabyte.

    Args:
        model: stays as it is.
        tokens: rows to train on, without padding (`text_windows`); each is seen once before any is seen again.
        options: by default those of the paper but for the number of tokens.
        checkpoint: a file for everything that a cut-off training goes on from; None for none.
        every: steps between checkpoints; there is one at the end in any case.
        resume: go on from `checkpoint` where it exists; the result is that of a training that was not cut off.
        progress: show a progress bar.

    Raises:
        InputError: rows or options out of range, or a checkpoint of another training.
        DivergenceError: a loss is not finite; the latest checkpoint is from before.
    """
    options = options or TunedLensOptions()
    if tokens.dim() != 2 or len(tokens) == 0:
        raise InputError("There are no rows of tokens to train on.")
    if resume and checkpoint is None:
        raise InputError("resume needs the checkpoint to go on from.")
    if every < 1:
        raise InputError(f"every is {every}; at least one step lies between checkpoints.")
    file = None if checkpoint is None else Path(checkpoint)
    lens = TunedLens(model, bias=options.bias)
    optimiser = options.optimiser(lens)
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    identity = _identity(lens, tokens, options)
    losses = torch.zeros(options.steps, lens.n_layers, dtype=torch.float64)
    done = 0
    if file is not None and resume and file.exists():
        done = _restore(file, identity, lens, optimiser, losses)
    tell("tuning the lens", 0, options.steps)
    with _steps(done, options.steps, progress) as advance:
        for step in range(done, options.steps):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * options.share_of_rate(step)
            optimiser.zero_grad(set_to_none=False)
            losses[step] = _gradients(lens, _rows(tokens, step, options))
            if not bool(losses[step].isfinite().all()):
                raise DivergenceError(f"The lens' loss is not finite at step {step}; take a smaller learning rate.")
            torch.nn.utils.clip_grad_norm_(lens.parameters(), options.clip)
            optimiser.step()
            if file is not None and ((step + 1) % every == 0 or step + 1 == options.steps):
                _store(file, identity, lens, optimiser, losses, step + 1)
            advance(float(losses[step].mean()))
            tell("tuning the lens", step + 1, options.steps)
    lens.zero_grad(set_to_none=True)
    return TunedLensTraining(lens.requires_grad_(False), losses, options)


def _gradients(lens: TunedLens, rows: Int[Tensor, "rows length"]) -> Float[Tensor, " layers"]:
    """Mean divergence of each depth over the rows; the gradient of their sum goes to the translators."""
    total = torch.zeros(lens.n_layers, dtype=torch.float64)
    for part in rows.split(sequences_at_once(lens.model, rows.shape[1])):
        streams = residual_streams(lens.model, part).flatten(1, 2)
        total += accumulate_gradients(lens, streams, 1 / rows.numel())
    return total / rows.numel()


def _rows(tokens: Int[Tensor, "windows length"], step: int, options: TunedLensOptions) -> Int[Tensor, "rows length"]:
    """The rows of a step: a new order for each time all have been seen, which depends on nothing but the seed."""
    windows = len(tokens)
    chosen = []
    for place in range(step * options.rows, (step + 1) * options.rows):
        round_, at = divmod(place, windows)
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + round_)
        chosen.append(int(torch.randperm(windows, generator=generator)[at]))
    return tokens[chosen]


def _identity(lens: TunedLens, tokens: Tensor, options: TunedLensOptions) -> dict[str, Any]:
    """What has to be the same for a training to go on: plain values."""
    return {
        **asdict(options),
        "unembedding": lens.unembedding.hash,
        "layers": lens.n_layers,
        "rows of tokens": hashlib.sha256(tokens.cpu().long().numpy().tobytes()).hexdigest(),
    }


def _store(
    file: Path,
    identity: dict[str, Any],
    lens: TunedLens,
    optimiser: torch.optim.Optimizer,
    losses: Tensor,
    step: int,
) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(
            {
                "format": FORMAT,
                "identity": identity,
                "step": step,
                "translators": lens.translators.state_dict(),
                "optimiser": optimiser.state_dict(),
                "losses": losses[:step].clone(),
            },
            file,
        )
    except OSError as error:
        raise InputError(f"The checkpoint {file} cannot be written: {error.strerror}.") from error


def _restore(
    file: Path, identity: dict[str, Any], lens: TunedLens, optimiser: torch.optim.Optimizer, losses: Tensor
) -> int:
    held = load_tensors(file)
    if held.get("format") != FORMAT:
        raise InputError(f"{file} is no checkpoint of a lens' training.")
    differing = [key for key, value in identity.items() if held["identity"].get(key) != value]
    if differing:
        raise InputError(
            f"{file} belongs to another training: {', '.join(differing)} differ. Give the same options, or leave out "
            "resume to start again."
        )
    lens.translators.load_state_dict(held["translators"])
    optimiser.load_state_dict(held["optimiser"])
    step = int(held["step"])
    losses[:step] = held["losses"]
    return step


@contextmanager
def _steps(done: int, steps: int, show: bool) -> Iterator[Callable[[float], None]]:
    """A progress bar with the latest loss."""
    if not show:
        yield lambda loss: None
        return
    if in_notebook():
        with NotebookBar("tuning the lens", steps, PATIENCE) as line:
            line.done = done
            yield lambda loss: line.advance(1, f"tuning the lens, KL {loss:.3f}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("tuning the lens", total=steps, completed=done)
        yield lambda loss: bar.update(task, advance=1, description=f"tuning the lens, KL {loss:.3f}")
