"""The repetition experiment: features found, held up, taken out, each beside random features of the same density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.autoencoder import SparseAutoencoder
from workbench.saes.site import VectorSite
from workbench.saes.using.edit import FeatureEdit
from workbench.saes.using.repeats import repeated_ngrams
from workbench.saes.using.repetition import RepetitionFeatures, find_repetition_features, windows_for
from workbench.tasks import bootstrap_means

UNSTEERED = "unsteered"
FEATURES = "features"
CONTROLS = "controls"


@dataclass(frozen=True, eq=False)
class RepetitionExperiment:
    """What came of holding repetition features up, and of taking them out; `repetition_experiment` makes one.

    Attributes:
        found: how each feature tells repetition.
        features: those that were used.
        controls: random features of the same density, one list a draw.
        generation: one row a task (``"induce"``: clamped while the model samples on from running text; ``"suppress"``:
            ablated while it goes on greedily from a text said several times), strength and condition: the repetition
            score with ``low`` and ``high`` over prompts, ``change`` from the unsteered model with its interval, prompt
            by prompt, and ``loss``, nats a token on running text under the same edit.
        reinforcement: the self-reinforcement curve: one row a condition and copy, with the mean ``probability`` of the
            copy's tokens and its interval.
        texts: a continuation by task, strength and condition, of the first prompt.
    """

    found: RepetitionFeatures
    features: tuple[int, ...]
    controls: tuple[tuple[int, ...], ...]
    generation: pd.DataFrame
    reinforcement: pd.DataFrame
    texts: dict[tuple[str, float, str], str]

    def table(self) -> pd.DataFrame:
        """What generation came to."""
        return self.generation

    def figure(self) -> go.Figure:
        """The repetition scores, and the self-reinforcement curve."""
        from workbench.saes.using.repetition_figure import repetition_figure

        return repetition_figure(self)


@torch.no_grad()
def repetition_experiment(
    model: HookedModel,
    sae: SparseAutoencoder,
    texts: Any = None,
    *,
    features: Sequence[int] | None = None,
    count: int = 4,
    strengths: Sequence[float] = (1.0, 2.0),
    windows: int = 48,
    length: int = 24,
    prompts: int = 16,
    copies: int = 3,
    max_new_tokens: int = 48,
    temperature: float = 1.0,
    n: int = 4,
    draws: int = 3,
    repeats: int = 5,
    site: VectorSite | None = None,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> RepetitionExperiment:
    """Find the features of repetition in a model, make it repeat by them, and make it stop.

    1. *Find*: features that fire more on a text's second copy than on the same tokens after other text.
    2. *Induce*: clamp them to multiples of their largest activation while the model samples on from running text; the
       repetition score (`repeated_ngrams`) rises if they cause repetition.
    3. *Suppress*: ablate them while it goes on from a text that was said several times; the score falls if the model
       needs them to go on repeating. So does the self-reinforcement curve: how much likelier a text gets with every
       copy (Xu et al. 2022, arXiv:2206.02369, section 2.2).

    Random features of nearly the same density, each clamped to the same multiple of its own largest activation, or
    ablated, are the control: what they do is what any disturbance of this size does.

    Args:
        texts: running text, one or several, or rows of tokens; None for random tokens (a model without a tokenizer).
        features: use these instead of the ones found.
        count: how many features to use.
        strengths: multiples of the largest activation.
        windows, length: windows of text, and their tokens, that features are found on.
        prompts: other windows, that the model goes on from.
        copies: how often a prompt is said before suppressing begins.
        max_new_tokens, temperature: of the generation; suppression takes the likeliest token.
        n: of the n-grams whose repetition is counted.
        draws: draws of control features, which are averaged.
        repeats: copies in the self-reinforcement curve.
        site: where, when the file does not say.

    Raises:
        InputError: no feature tells repetition, too few features to compare with, too little text, or an option out of
            range.
    """
    for name, value in (("count", count), ("prompts", prompts), ("draws", draws), ("copies", copies)):
        if value < 1:
            raise InputError(f"{name} is {value}; at least one is needed.")
    if repeats < 2 or not strengths:
        raise InputError("A curve takes two copies, and clamping one strength at least.")
    every = windows_for(model, texts, length, windows + prompts).to(model.cfg.device)
    # Found on some windows and tried on others.
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(every), generator=generator)
    found = find_repetition_features(model, sae, every[order[:windows]], site=site, progress=progress)
    chosen = tuple(found.chosen(count) if features is None else (int(one) for one in features))
    controls = tuple(tuple(found.matched(chosen, seed + draw)) for draw in range(draws))
    starts = every[order[windows:]]
    trial = _Trial(model, sae, found, starts, site, n, max_new_tokens, temperature, seed)
    rows: list[dict[str, Any]] = []
    examples: dict[tuple[str, float, str], str] = {}
    plan = [("induce", float(one)) for one in strengths] + [("suppress", 0.0)]
    for task, strength in tracked(plan, progress, "repetition"):
        prompt = starts if task == "induce" else starts.repeat(1, copies)
        scores = {}
        for condition, some in ((UNSTEERED, [()]), (FEATURES, [chosen]), (CONTROLS, list(controls))):
            tried = [trial.run(task, strength, one, prompt) for one in some]
            scores[condition] = torch.stack([one.scores for one in tried]).mean(0)
            examples[task, strength, condition] = tried[0].text
            rows.append(
                {
                    "task": task,
                    "strength": strength,
                    "condition": condition,
                    **_interval("score", scores[condition], level),
                    **_interval("change", scores[condition] - scores[UNSTEERED], level),
                    "loss": sum(one.loss for one in tried) / len(tried),
                }
            )
    return RepetitionExperiment(
        found, chosen, controls, pd.DataFrame(rows), _curves(trial, chosen, controls, repeats, level), examples
    )


@dataclass(frozen=True)
class _Tried:
    scores: Float[Tensor, " prompts"]
    loss: float
    text: str


@dataclass(frozen=True, eq=False)
class _Trial:
    """What stays the same from condition to condition."""

    model: HookedModel
    sae: SparseAutoencoder
    found: RepetitionFeatures
    starts: Int[Tensor, "prompts length"]
    site: VectorSite | None
    n: int
    max_new_tokens: int
    temperature: float
    seed: int

    def edit(self, task: str, strength: float, features: Sequence[int]) -> FeatureEdit:
        """The edit of a task; none where there are no features."""
        if not features:
            return FeatureEdit(self.sae, site=self.site)
        if task == "suppress":
            return FeatureEdit.ablate(self.sae, features, site=self.site)
        values = dict.fromkeys(features, strength)
        return FeatureEdit.clamp(self.sae, values, maxima=self.found.maxima, site=self.site)

    def run(self, task: str, strength: float, features: Sequence[int], prompt: Tensor) -> _Tried:
        """Continuations of every prompt, scored, and the loss on running text under the same edit."""
        temperature = self.temperature if task == "induce" else 0.0
        with self.edit(task, strength, features).applied(self.model):
            written = self.model.generate(
                prompt,
                self.max_new_tokens,
                temperature=temperature,
                seed=self.seed,
                stop_at_eos=False,  # padding behind an end would count as repetition
                return_type="tokens",
            )[:, prompt.shape[1] :]
            loss = float(self.model(self.starts, return_type="loss"))
        text = "" if self.model.tokenizer is None else str(self.model.to_string(written[0]))
        return _Tried(repeated_ngrams(written, self.n), loss, text)

    def curve(self, features: Sequence[int], repeats: int) -> Float[Tensor, "prompts repeats"]:
        """Mean probability of a text's tokens in each of its copies; the first token of a text is not predicted."""
        tokens = self.starts.repeat(1, repeats)
        with self.edit("suppress", 0.0, features).applied(self.model):
            logits = self.model(tokens)
        probability = logits[:, :-1].double().softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
        first = torch.full_like(probability[:, :1], float("nan"))
        by_copy: Tensor = torch.cat([first, probability], 1).unflatten(1, (repeats, -1))
        return by_copy.nanmean(-1)


def _curves(
    trial: _Trial, chosen: Sequence[int], controls: Sequence[Sequence[int]], repeats: int, level: float
) -> pd.DataFrame:
    tables = []
    for condition, some in ((UNSTEERED, [()]), (FEATURES, [chosen]), (CONTROLS, list(controls))):
        values = torch.stack([trial.curve(one, repeats) for one in some]).mean(0)
        limits = dict(zip(("probability", "low", "high"), bootstrap_means(values, level=level), strict=True))
        tables.append(pd.DataFrame({"condition": condition, "copy": range(1, repeats + 1), **limits}))
    return pd.concat(tables, ignore_index=True)


def _interval(name: str, values: Float[Tensor, " prompts"], level: float) -> dict[str, float]:
    mean, low, high = (float(part[0]) for part in bootstrap_means(values[:, None], level=level, units="prompts"))
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
