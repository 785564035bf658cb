"""A training cut off at any moment goes on as if it had not been: one file with everything, and no pickle.

``training.safetensors`` holds weights, the optimiser's moments, the trainer's counts and the stream's tensors; plain
values are JSON in its header. One file is renamed into its place at once, so what it holds is of one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import DivergenceError, InputError, LoadError
from workbench.saes.files.tensors import read_tensors, write_tensors

FILE = "training.safetensors"
FORMAT = "workbench.saes.training 1"
_TENSOR = "a tensor of this file"
_COUNTS = ("n_training_samples", "n_training_steps", "n_frac_active_samples")
_TRACES = ("act_freq_scores", "n_forward_passes_since_fired")


def store(
    folder: Path,
    trainer: Any,
    identity: Mapping[str, Any],
    scales: tuple[float, float],
    stream: Mapping[str, Any] | None,
) -> None:
    """Write the state after a step.

    Args:
        trainer: SAELens' `SAETrainer`.
        identity: what has to be the same for a training to go on.
        stream: the state of what the vectors come from, plain values and tensors, nested; None where it has none.

    Raises:
        DivergenceError: a weight is not finite; the file is that of the last good step.
        InputError: the disk is full or the file cannot be written.
    """
    tensors = {f"sae.{name}": tensor for name, tensor in trainer.sae.state_dict().items()}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise DivergenceError(
                f"{name.removeprefix('sae.')} is not finite after step {trainer.n_training_steps}; take a smaller "
                f"learning rate. The last good checkpoint in {folder} is untouched."
            )
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {f"trainer.{name}": getattr(trainer, name) for name in _TRACES}
    plain = {
        "format": FORMAT,
        "identity": identity,
        "scales": scales,
        "counts": {name: getattr(trainer, name) for name in _COUNTS},
        "rate": trainer.optimizer.param_groups[0]["lr"],
        "schedule": trainer.lr_scheduler.state_dict(),
        "coefficients": {name: one.state_dict() for name, one in trainer.coefficient_schedulers.items()},
        "stream": None if stream is None else _without_tensors(stream, tensors),
    }
    write_tensors(folder / FILE, tensors, {"training": json.dumps(plain)})


def restore(folder: Path, trainer: Any, identity: Mapping[str, Any]) -> tuple[tuple[float, float], Any]:
    """Put a stored state into a trainer that was made alike; returns the scales and the stream's state.

    Raises:
        LoadError: the file is damaged, or no checkpoint of a training.
        InputError: it is a checkpoint of a training with other options or data; the sentence names what differs.
    """
    tensors, header = read_tensors(folder / FILE)
    try:
        plain = json.loads(header.get("training", ""))
    except ValueError as error:
        raise LoadError(f"{folder / FILE} is no checkpoint of a training.") from error
    if plain.get("format") != FORMAT:
        raise LoadError(f"{folder / FILE} has the format {plain.get('format')!r}; {FORMAT!r} is read.")
    check_identity(folder, plain["identity"], identity)
    trainer.sae.load_state_dict(_under("sae.", tensors))
    optimiser = trainer.optimizer.state_dict()
    optimiser["state"] = {
        index: _under(f"optimiser.{index}.", tensors) for index in optimiser["param_groups"][0]["params"]
    }
    if tensors.keys() & {"optimiser.0.step"}:
        trainer.optimizer.load_state_dict(optimiser)
    trainer.lr_scheduler.load_state_dict(plain["schedule"])
    for group in trainer.optimizer.param_groups:
        group["lr"] = plain["rate"]
    for name, state in plain["coefficients"].items():
        trainer.coefficient_schedulers[name].load_state_dict(state)
    for name, value in plain["counts"].items():
        setattr(trainer, name, value)
    for name in _TRACES:
        setattr(trainer, name, tensors[f"trainer.{name}"].to(trainer.sae.device))
    into, out = plain["scales"]
    return (into, out), _with_tensors(plain["stream"], tensors)


def check_identity(folder: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to go on with other options. Raises InputError that names the first of them."""
    wanted = json.loads(json.dumps(wanted))
    for name in {**held, **wanted}:
        if held.get(name) != wanted.get(name):
            raise InputError(
                f"The training in {folder} has {name} {held.get(name)!r} and not {wanted.get(name)!r}; choose another "
                "folder, or the same options to go on."
            )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The same value with tensors put among the others, and their names in their places."""
    if isinstance(value, Tensor):
        name = f"stream.{sum(held.startswith('stream.') for held in tensors)}"
        tensors[name] = value.clone()  # safetensors refuses two tensors that share memory
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {str(key): _without_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, tensors) for item in value]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Mapping):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
