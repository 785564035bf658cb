"""Two runs and a number: the run that is edited, the run that activations come from, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookFunction, NamesFilter
from workbench.model import HookedModel
from workbench.probes.patching.metric import Metric, answer_metric
from workbench.tasks import Task, bootstrap_means
from workbench.wrapping import ModelInput

Item = TypeVar("Item")
Hooks: TypeAlias = Iterable[tuple[NamesFilter, HookFunction]]


@dataclass(frozen=True)
class Comparison:
    """A run, another one, and a metric.

    Attributes:
        tokens, mask: the run that is edited.
        source, source_mask: the run that activations are taken from.
        metric: from logits to one number a sequence.
    """

    model: HookedModel
    tokens: Tensor
    mask: Tensor | None
    source: Tensor
    source_mask: Tensor | None
    metric: Metric

    @classmethod
    def of(
        cls,
        model: HookedModel,
        run: Task | ModelInput,
        source: Task | ModelInput,
        metric: Metric | None = None,
    ) -> Comparison:
        """Read runs as a user gives them: a task brings its padding, and its answers as the metric.

        Raises:
            InputError: tokens without a metric, or runs of different numbers of sequences.
        """
        tokens, mask = _prepared(model, run)
        other, other_mask = _prepared(model, source)
        if len(other) not in (1, len(tokens)):
            raise InputError(f"The other run has {len(other)} sequences and this one {len(tokens)}.")
        return cls(model, tokens, mask, other, other_mask, metric_of(run, metric))

    @torch.no_grad()
    def logits(self, hooks: Hooks = ()) -> Float[Tensor, "batch time vocabulary"]:
        """The logits of the edited run."""
        found: Tensor = self.model.run_with_hooks(self.tokens, fwd_hooks=list(hooks), attention_mask=self.mask)
        return found

    def value(self, hooks: Hooks = ()) -> Float[Tensor, " batch"]:
        """The metric of the edited run."""
        return self.checked(self.logits(hooks))

    def value_with_graph(self, hooks: Hooks) -> Float[Tensor, " batch"]:
        """The metric of the edited run as a function of what the hooks put there, whatever wants gradients besides.

        Raises:
            InputError: the metric has no gradient.
        """
        with torch.inference_mode(False), torch.enable_grad():
            logits = self.model.run_with_hooks(self.tokens.clone(), fwd_hooks=list(hooks), attention_mask=self.mask)
            value = self.checked(logits)
        if not value.requires_grad:
            raise InputError("The metric has no gradient: it is made of the logits by operations without one.")
        return value

    @torch.no_grad()
    def source_value(self) -> Float[Tensor, " batch"]:
        """The metric of the other run."""
        return self.metric(self.model(self.source, attention_mask=self.source_mask))

    def checked(self, logits: Tensor) -> Float[Tensor, " batch"]:
        """The metric of some logits. Raises InputError where it is not one number a sequence."""
        value = self.metric(logits)
        if not isinstance(value, Tensor) or value.shape != (len(logits),):
            shape = [*value.shape] if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"A metric gives one number a sequence, [{len(logits)}]; this one gave {shape}.")
        return value


def gradients(value: Tensor, tensors: Sequence[Tensor], *, keep_graph: bool = False) -> list[Tensor]:
    """The gradients of a sum with respect to some tensors, in their order; zeros where none leads."""
    with torch.inference_mode(False), torch.enable_grad():
        found = torch.autograd.grad(value.sum(), tensors, retain_graph=keep_graph, allow_unused=True)
    return [torch.zeros_like(one) if slope is None else slope for one, slope in zip(tensors, found, strict=True)]


def metric_of(run: Task | ModelInput, metric: Metric | None) -> Metric:
    """The metric that was given, or that of the task that is run. Raises InputError for tokens without one."""
    if metric is not None:
        return metric
    if not isinstance(run, Task):
        raise InputError("Tokens alone do not say what is measured; give a metric, a function from logits to [batch].")
    return answer_metric(run)


def effect_table(
    labels: Sequence[dict[str, object]], effects: Sequence[Tensor], level: float, whole: Tensor | None = None
) -> pd.DataFrame:
    """One row an edit: what it is, and its mean effect over sequences with a bootstrap interval.

    Args:
        labels: the first columns.
        effects: ``[batch]`` each.
        whole: the effect of exchanging the runs altogether, ``[batch]``: column ``share`` is of it.
    """
    found = bootstrap_means(torch.stack([effect.detach().cpu() for effect in effects], dim=1), level=level)
    table = pd.DataFrame(list(labels))
    for column, values in zip(("effect", "low", "high"), found, strict=True):
        table[column] = values.tolist()
    if whole is not None:
        table["share"] = table["effect"] / (float(whole.double().mean()) or float("nan"))
    return table


def _prepared(model: HookedModel, run: Task | ModelInput) -> tuple[Tensor, Tensor | None]:
    return model.prepared(run.tokens, run.mask) if isinstance(run, Task) else model.prepared(run, None)
