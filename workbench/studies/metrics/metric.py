"""Metrics: one number a prompt, from the logits at its scored positions."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from workbench.studies.inputs.prompt import Prompt
from workbench.studies.kinds import Kind, Registry


class MetricKind(Kind):
    """A metric; its fields are its options. Its name in tables is `name`."""

    version: ClassVar[int] = 1
    """Raised when the same logits would give another number."""

    reads_baseline: ClassVar[bool] = False
    """Whether it compares with the logits of the unedited run."""

    unit: ClassVar[str] = ""
    """What its numbers are counted in, as axes say it: ``nats``."""

    better: ClassVar[Literal["higher", "lower"] | None] = None
    """Which numbers a model is better with; None where neither is."""

    @property
    def name(self) -> str:
        """What its column is called: the kind's word, and its options where they are not the default."""
        chosen = self.model_dump(mode="json", exclude_defaults=True)
        del chosen["kind"]
        return type(self).word + (f"[{','.join(f'{k}={v}' for k, v in sorted(chosen.items()))}]" if chosen else "")

    @abstractmethod
    def measure(
        self,
        logits: Float[Tensor, "scored vocabulary"],
        baseline: Float[Tensor, "scored vocabulary"],
        prompt: Prompt,
    ) -> float:
        """The number, a mean over scored positions, in the units the class's docstring names; NaN where undefined.

        Raises:
            InputError: the prompt lacks what the metric needs, such as foils.
        """


METRICS: Registry[MetricKind] = Registry("metric")
