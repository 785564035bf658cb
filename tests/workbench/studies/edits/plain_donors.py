"""Donors computed anew each time, the plainest way: what the tests hold the methods to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.model import HookedModel
from workbench.studies.edits.edit import Edit
from workbench.studies.edits.method import METHODS
from workbench.studies.edits.site import SITES, BoundEdit
from workbench.studies.inputs import Prompt


@dataclass(frozen=True)
class PlainDonors:
    """Activations of prompts, one forward pass each."""

    model: HookedModel
    prompts: Sequence[Prompt]

    def activation(self, name: str, prompt: Prompt) -> Tensor:
        with torch.no_grad():
            return self.model.run_with_cache(torch.tensor([prompt.tokens]), name, return_type=None)[1][name]

    def _of(self, name: str, source: str) -> list[Tensor]:
        split, _, group = source.partition("/")
        chosen = [one for one in self.prompts if split == "all" or one.split in (split, "all")]
        return [self.activation(name, one) for one in chosen if not group or one.group == group]

    def mean(self, name: str, source: str, per_position: bool) -> Tensor:
        values = torch.cat(self._of(name, source))
        return values.mean((0,) if per_position else (0, 1), keepdim=True)

    def deviation(self, name: str, source: str) -> Tensor:
        return torch.cat(self._of(name, source)).std((0, 1), keepdim=True)

    def partner(self, prompt: Prompt, source: str, seed: int) -> Prompt:
        others = [one for one in self.prompts if one != prompt and len(one.tokens) == len(prompt.tokens)]
        return others[seed % len(others)]


def edit_of(model: HookedModel, site: object, method: object, labels: Sequence[str], **more: object) -> Edit:
    """An edit of the targets with these labels."""
    kind = SITES.parse(site)
    by_label = {target.label: target for target in kind.targets(model)}
    targets = tuple(by_label[label] for label in labels)
    return Edit(
        "m",
        "e",
        targets,
        kind.binder().canonical(),
        METHODS.parse(method).canonical(),
        **more,  # type: ignore[arg-type]
    )


def logits(model: HookedModel, prompt: Prompt, bound: BoundEdit) -> Tensor:
    """What the model says of a prompt with an edit in force."""
    tokens = torch.tensor([prompt.tokens])
    with torch.no_grad():
        if bound.whole is None:
            return model.run_with_hooks(tokens, fwd_hooks=bound.hooks)
        with bound.whole:
            return model.run_with_hooks(tokens, fwd_hooks=bound.hooks)
