"""A fitted linear probe: its direction, what it predicts, and the file it is kept in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from workbench.errors import InputError, LoadError

FORMAT = "workbench-probe-1"


@dataclass(frozen=True, eq=False)
class Probe:
    """``weight x + bias``, in the activation's own space: what was standardised for the fit is folded back.

    Attributes:
        kind: how it was fitted: ``ridge``, ``logistic``, ``mass_mean``, ``ccs`` or ``difference_pca``.
        weight, bias: one row an output: a regression's outputs, a class each, or one row for two classes.
        classes: of a classifier, in the order of its outputs (two classes share one output, high for the second).
        hook: canonical name of the hook point that it reads, empty where it was fitted on bare arrays.
        model_name: of the model that the activations come from, for people.
        units: of a k-sparse probe, the features whose weights may differ from 0, best first.
    """

    kind: str
    weight: Float[np.ndarray, "outputs features"]
    bias: Float[np.ndarray, " outputs"]
    classes: tuple[Any, ...] = ()
    hook: str = ""
    model_name: str = ""
    units: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        outputs, features = self.weight.shape
        return f"Probe({self.kind} at {self.hook or 'arrays'}: {features} features, {outputs} outputs)"

    @property
    def directions(self) -> Float[np.ndarray, "outputs features"]:
        """A unit vector an output: where the output grows fastest. Raises InputError where a weight is 0 throughout."""
        norms = np.linalg.norm(self.weight, axis=1, keepdims=True)
        if not norms.all():
            raise InputError(f"{self!r} has no direction: an output's weights are all 0.")
        unit: Float[np.ndarray, "outputs features"] = self.weight / norms
        return unit

    @property
    def direction(self) -> Float[np.ndarray, " features"]:
        """The unit vector along which the only output grows fastest: what to steer by.

        Raises:
            InputError: several outputs have several `directions`.
        """
        if len(self.weight) != 1:
            raise InputError(f"{self!r} has {len(self.weight)} directions; choose one of .directions.")
        only: Float[np.ndarray, " features"] = self.directions[0]
        return only

    def scores(self, values: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows outputs"]:
        """``weight x + bias``: predicted numbers, or logits of classes.

        Raises:
            InputError: activations of another width.
        """
        if values.ndim != 2 or values.shape[1] != self.weight.shape[1]:
            raise InputError(f"{self!r} reads rows of {self.weight.shape[1]} features, not {[*values.shape]}.")
        found: Float[np.ndarray, "rows outputs"] = values.astype(np.float64) @ self.weight.T + self.bias
        return found

    def probabilities(self, values: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows classes"]:
        """Probability of each class. Raises InputError for a regression."""
        if not self.classes:
            raise InputError(f"{self!r} predicts numbers, not classes.")
        logits = self.scores(values)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        logits -= logits.max(axis=1, keepdims=True)
        odds: Float[np.ndarray, "rows classes"] = np.exp(logits)
        odds /= odds.sum(axis=1, keepdims=True)
        return odds

    def predict(self, values: Float[np.ndarray, "rows features"]) -> Shaped[np.ndarray, rows * outputs]:
        """The likeliest class of each row, or the predicted number (a row of them for several outputs)."""
        if self.classes:
            likeliest: Shaped[np.ndarray, " rows"] = np.array(self.classes)[self.probabilities(values).argmax(axis=1)]
            return likeliest
        scores = self.scores(values)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def save(self, path: Path | str) -> None:
        """Write one safetensors file whose header says the rest as JSON, all at once or not at all.

        Raises:
            InputError: the file cannot be written.
        """
        from safetensors.numpy import save_file

        from workbench.report.files import replacing

        path = Path(path)
        facts = {
            "kind": self.kind,
            "classes": [value.item() if hasattr(value, "item") else value for value in self.classes],
            "hook": self.hook,
            "model_name": self.model_name,
            "units": None if self.units is None else [int(unit) for unit in self.units],
        }
        tensors = {"weight": np.ascontiguousarray(self.weight), "bias": np.ascontiguousarray(self.bias)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                save_file(tensors, temporary, {"format": FORMAT, "probe": json.dumps(facts)})
        except OSError as error:
            raise InputError(f"{path} could not be written: {error.strerror or error}.") from error


def load_probe(path: Path | str) -> Probe:
    """Read a probe that `Probe.save` wrote.

    Raises:
        LoadError: no such file, or none of this format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(str(path), framework="np") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (OSError, SafetensorError) as error:
        raise LoadError(f"{path} is no saved probe: {error}.") from error
    if meta.get("format") != FORMAT or not {"weight", "bias"} <= tensors.keys():
        raise LoadError(f"{path} is no saved probe: its format is {meta.get('format')!r}, not {FORMAT!r}.")
    facts = json.loads(meta["probe"])
    facts["classes"] = tuple(facts["classes"])
    facts["units"] = None if facts["units"] is None else tuple(facts["units"])
    return Probe(weight=tensors["weight"], bias=tensors["bias"], **facts)
