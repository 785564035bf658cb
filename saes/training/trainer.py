"""The training itself: SAELens' trainer, step by step, on vectors from anywhere."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from workbench.errors import DivergenceError, InputError, NotFiniteError
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.files import load_sae, save_sae
from workbench.saes.files.tensors import make_folder, read_json, write_json
from workbench.saes.training import checkpoint
from workbench.saes.training.classes import learnt, training_sae
from workbench.saes.training.history import History
from workbench.saes.training.options import SaeTrainingOptions
from workbench.saes.training.watching import watching

if TYPE_CHECKING:
    import pandas as pd

Batch: TypeAlias = "Tensor | tuple[Tensor, ...] | list[Tensor]"

PATIENCE = 120.0
"""Seconds between checkpoints, where nobody says how many steps."""

ABOUT = "training.json"


class SaeTraining:
    """One training of an autoencoder or transcoder, which a folder keeps whatever happens to the process.

    The steps are those of sae-lens' `SAETrainer`; the data come from any iterator. A training that was killed and is
    run again with the same options and data ends with the same weights, to the last bit on the same machine.

    Args:
        options: see `SaeTrainingOptions`.
        d_in: width of the vectors that are read.
        d_out: width of those that are predicted, for a transcoder; None for an autoencoder.
        folder: where checkpoints, the history and in the end the autoencoder go; None keeps it all in memory.
        origin: fields of `SaeConfig` that say where the vectors come from: ``hook``, ``every``, ``model_name``, ....
        basis: the subspace they are read in; see `VectorSite`.
        checkpoint_steps: steps between checkpoints; None for two minutes.
        log_steps: steps between measures.
        progress: show a bar where it takes long.

    Raises:
        InputError: options that do not fit together.
    """

    def __init__(
        self,
        options: SaeTrainingOptions,
        d_in: int,
        *,
        d_out: int | None = None,
        folder: Path | str | None = None,
        origin: Mapping[str, Any] | None = None,
        basis: Tensor | None = None,
        checkpoint_steps: int | None = None,
        log_steps: int = 10,
        progress: bool = True,
    ) -> None:
        for name, steps in (("checkpoint_steps", checkpoint_steps), ("log_steps", log_steps)):
            if steps is not None and steps < 1:
                raise InputError(f"{name} is {steps}; at least one step lies between.")
        self.options, self.d_in, self.d_out = options, d_in, d_out
        self.folder = None if folder is None else Path(folder)
        self.origin, self.basis = dict(origin or {}), basis
        self.checkpoint_steps, self.log_steps, self.progress = checkpoint_steps, log_steps, progress
        self.scales: tuple[float, float] | None = None if options.scales else (1.0, 1.0)
        self.trainer = _trainer(options, training_sae(options, d_in, d_out))
        self.history = History(self.folder)
        self._noted = (time.monotonic(), 0)

    @property
    def step(self) -> int:
        """Steps done so far, before a resumption, too."""
        return int(self.trainer.n_training_steps)

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be the same for a training to go on."""
        origin = {name: value for name, value in self.origin.items() if name != "details"}
        return {**self.options.plain(), "d_in": self.d_in, "d_out": self.d_out, **origin}

    def sae(self) -> SparseAutoencoder:
        """What has been learnt so far."""
        told = {"training": self.options.plain(), "vectors": int(self.trainer.n_training_samples)}
        if self.history.rows:
            last = self.history.rows[-1]
            told |= {name: last[name] for name in ("l0", "explained_variance", "dead")}
        details = {
            **self.origin.get("details", {}),
            "training_architecture": self.options.architecture,
            "trained": told,
        }
        origin = {**self.origin, "details": details}
        return learnt(self.trainer.sae, self.options, self.scales or (1.0, 1.0), origin, self.basis)

    def run(self, batches: Iterable[Batch], resume: bool = True) -> SparseAutoencoder:
        """Train, from where the folder's checkpoint is if there is one.

        Args:
            batches: ``[batch, d_in]`` each, or for a transcoder pairs of that and ``[batch, d_out]``. What has
                ``state()`` and ``resume(state)``, as the streams of `workbench.saes` do, is set to where it was; of
                anything else as many batches are skipped as were trained on, so it has to begin anew.
            resume: False to begin anew, over what is there.

        Raises:
            NotFiniteError: a vector holds NaN or an infinity; the sentence names the step and the row, and the latest
                checkpoint is kept.
            DivergenceError: the loss or a weight is not finite; the same.
            InputError: batches of another shape, none at all, a folder with another training, a disk that is full.
        """
        if self.folder is not None:
            make_folder(self.folder)
            if resume and self._finished(self.folder):
                return load_sae(self.folder)
        source = self._begin(batches, resume)
        steps = self.options.steps
        saved = time.monotonic()
        self._noted = (saved, self.step)
        with watching(self.progress, self.options.tokens) as tell:
            while self.step < steps:
                batch = next(source, None)
                if batch is None:
                    break
                row = self.advance(batch, getattr(batches, "where", None))
                tell(int(self.trainer.n_training_samples), row)
                if self.folder is not None and self.step < steps and self._due(saved):
                    checkpoint.store(self.folder, self.trainer, self.identity, self._scales(), _state(batches))
                    saved = time.monotonic()
        if not self.step:
            raise InputError("There is not a single batch of vectors to train on.")
        if self.step < steps:
            warnings.warn(
                f"The vectors ended after {self.step:,} of {steps:,} steps, before the learning rate came down; give "
                "more text, more epochs of it, or fewer tokens.",
                stacklevel=2,
            )
        return self._end()

    def table(self) -> pd.DataFrame:
        """Measures so far; columns as in `training_history`."""
        import pandas as pd

        return pd.DataFrame(self.history.rows)

    def _finished(self, folder: Path) -> bool:
        if not (folder / ABOUT).is_file():
            return False
        about = read_json(folder / ABOUT)
        checkpoint.check_identity(folder, about.get("identity", {}), self.identity)
        return bool(about.get("finished"))

    def _begin(self, batches: Iterable[Batch], resume: bool) -> Iterator[Batch]:
        source = iter(batches)
        if self.folder is None:
            return source
        if resume and (self.folder / checkpoint.FILE).is_file():
            self.scales, state = checkpoint.restore(self.folder, self.trainer, self.identity)
            if state is not None and hasattr(batches, "resume"):
                batches.resume(state)
            else:
                for _ in range(self.step):
                    next(source, None)
        else:
            (self.folder / checkpoint.FILE).unlink(missing_ok=True)
        self.history.back_to(self.step)
        write_json(self.folder / ABOUT, {"identity": self.identity, "finished": False})
        return source

    def advance(self, batch: Batch, where: str | None = None) -> dict[str, Any] | None:
        """One step, without checkpoints; gives the measures of every `log_steps`-th.

        Args:
            batch: see `run`.
            where: which vectors these are, for messages.

        Raises:
            InputError, NotFiniteError, DivergenceError: see `run`.
        """
        x, y = self._checked(batch, where)
        if self.scales is None or (self.options.centre and not self.step):
            self._start(x, x if y is None else y)
        into, out = self._scales()
        given = x * into if into != 1 else x
        if y is not None:
            given = torch.cat([given, y * out], dim=-1)
        trainer = self.trainer
        trainer.maybe_reset_sparsity()
        with torch.enable_grad():
            output = trainer.step(given)
        if not math.isfinite(float(output.loss.detach())):
            raise DivergenceError(
                f"The loss is not finite at step {self.step}; take a smaller learning rate than {self.options.rate:g}. "
                + self._kept()
            )
        trainer.n_training_steps += 1
        if self.step % self.log_steps and self.step != self.options.steps:
            return None
        row = self._measures(output)
        self.history.add(row)
        return row

    def _start(self, x: Tensor, y: Tensor) -> None:
        """Scales, and where the decoder's bias begins, from the first vectors: those read and those predicted."""
        centre = self.options.centre
        if self.options.scales:
            self.scales = (_scale(x, centre), _scale(y, centre))
        if not centre:
            return
        sae, (into, out) = self.trainer.sae, self._scales()
        with torch.no_grad():
            sae.b_dec.copy_(y.mean(0) * out)
            if not sae.cfg.apply_b_dec_to_input and isinstance(getattr(sae, "b_enc", None), torch.nn.Parameter):
                # What is not subtracted from the vectors is taken out of what the encoder makes of them.
                sae.b_enc.sub_((x.mean(0) * into) @ sae.W_enc)

    def _checked(self, batch: Batch, where: str | None) -> tuple[Tensor, Tensor | None]:
        given = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        widths = (self.d_in,) if self.d_out is None else (self.d_in, self.d_out)
        shapes = [tuple(tensor.shape) for tensor in given]
        if [shape[1:] for shape in shapes] != [(width,) for width in widths] or len({shape[0] for shape in shapes}) > 1:
            wanted = " and ".join(f"[batch, {width}]" for width in widths)
            raise InputError(
                f"The vectors of step {self.step} have shape {' and '.join(str([*s]) for s in shapes)}; {wanted} is "
                "needed."
            )
        moved = []
        for tensor in given:
            tensor = tensor.detach().to(self.options.device, self.options.torch_dtype)
            good = tensor.isfinite().all(-1)
            if not bool(good.all()):
                row = int((~good).nonzero()[0, 0])
                of = f", {where}" if where else ""
                raise NotFiniteError(
                    f"The vectors of step {self.step} hold NaN or an infinity in row {row} of {len(tensor)}{of}. "
                    + self._kept()
                )
            moved.append(tensor)
        return moved[0], moved[1] if len(moved) > 1 else None

    def _kept(self) -> str:
        there = self.folder is not None and (self.folder / checkpoint.FILE).is_file()
        return f"The last good checkpoint is in {self.folder}." if there else "There is no checkpoint yet."

    def _measures(self, output: Any) -> dict[str, Any]:
        found = self.trainer.build_train_step_log_dict(output, self.trainer.n_training_samples)
        now, (before, step) = time.monotonic(), self._noted
        self._noted = (now, self.step)
        taken = max(now - before, 1e-9)
        row = {
            "step": self.step,
            "vectors": int(self.trainer.n_training_samples),
            "loss": found["losses/overall_loss"],
            "explained_variance": found["metrics/explained_variance"],
            "l0": found["metrics/l0"],
            "dead": int(found["sparsity/dead_features"]),
            "learning_rate": found["details/current_learning_rate"],
            "vectors_per_second": round((self.step - step) * self.options.batch / taken, 1),
        }
        parts = {name.removeprefix("losses/"): value for name, value in found.items() if name.startswith("losses/")}
        return row | {name: value for name, value in parts.items() if name != "overall_loss"}

    def _due(self, saved: float) -> bool:
        if self.checkpoint_steps is None:
            return time.monotonic() - saved >= PATIENCE
        return self.step % self.checkpoint_steps == 0

    def _scales(self) -> tuple[float, float]:
        assert self.scales is not None  # set by the first step
        return self.scales

    def _end(self) -> SparseAutoencoder:
        sae = self.sae()
        if self.folder is not None:
            save_sae(sae, self.folder)
            write_json(self.folder / ABOUT, {"identity": self.identity, "finished": True})
            (self.folder / checkpoint.FILE).unlink(missing_ok=True)
        return sae


def _trainer(options: SaeTrainingOptions, sae: Any) -> Any:
    """SAELens' trainer with the optimiser's fused loop where there is one."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    trainer: Any = SAETrainer(
        SAETrainerConfig(
            total_training_samples=options.steps * options.batch,
            train_batch_size_samples=options.batch,
            lr=options.rate,
            lr_end=options.rate / 10,
            lr_warm_up_steps=options.warm_up_steps,
            lr_decay_steps=options.decay_steps,
            device=options.device,
            dead_feature_window=options.window,
        ),
        sae,
        data_provider=iter(()),
    )
    if torch.device(options.device).type in ("cpu", "cuda"):
        for group in trainer.optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
    return trainer


def _scale(vectors: Tensor, centre: bool) -> float:
    """What makes the vectors' mean norm, from their mean if they are centred, sqrt(width)."""
    norm = float((vectors - vectors.mean(0) if centre else vectors).norm(dim=-1).mean())
    if norm == 0:
        raise InputError("All vectors are equal; there is nothing to learn at this hook.")
    return math.sqrt(vectors.shape[-1]) / norm


def _state(batches: Any) -> Mapping[str, Any] | None:
    """Where a stream is; None for what cannot tell."""
    return batches.state() if hasattr(batches, "state") and hasattr(batches, "resume") else None
