"""What a unit does to the very token it fires at (Voita et al. 2023, section 4.3: most detectors suppress it)."""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.direct_logits.anatomy import anatomy
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.linear.places import Place
from workbench.probes.neurons.firing import NeuronStatistics


@checked_call
@torch.no_grad()
def token_effects(model: HookedModel, statistics: NeuronStatistics, *, level: float = 2.0) -> pd.DataFrame:
    """How a unit's own output moves the logit of the token at which it fires most often, read from the weights.

    A unit writes its value times its row of the output matrix; through the final norm's weight and the unembedding that
    is a logit for every token. The token's is compared with the rest of the vocabulary.

    Args:
        statistics: of hooks that an output matrix reads (``mlp.hook_post``, ``mixer.hook_head_out``), with 1-grams.
        level: standard deviations from the vocabulary's mean beyond which a unit suppresses or promotes.

    Returns:
        One row a unit: ``hook``, ``layer``, ``unit``, ``token`` (id, -1 for a dead unit), ``effect`` (the logit of the
        token minus the vocabulary's mean, in standard deviations over the vocabulary, for a positive value of the
        unit), ``percentile`` (share of the vocabulary below it), ``suppresses``, ``promotes``. NaN for dead units.

    Raises:
        InputError: no 1-grams, or a hook that no output matrix reads.
        UnsupportedFamilyError: the way from the units to the logits is not linear.
    """
    frames = []
    vocabulary = torch.arange(model.cfg.d_vocab)
    parts = anatomy(model)
    directions = parts.direction(vocabulary, model.layout.embed.weight)
    for place in statistics.places:
        counts = statistics.ngrams[place.name].get(1)
        if counts is None:
            raise InputError("The statistics hold no 1-grams; ask neuron_statistics for ngrams=(1, ...).")
        alive = counts.fired.sum(0) > 0
        tokens = counts.top()[:, 0]
        write = _writes(model, place).to(directions)
        effect = torch.full((len(tokens),), float("nan"))
        share = effect.clone()
        for start in range(0, len(tokens), 256):
            some = slice(start, start + 256)
            logits = write[some] @ directions.T
            own = logits.gather(1, tokens[some, None].to(logits.device))
            centred = (own - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True)
            effect[some] = centred[:, 0].float().cpu()
            share[some] = (logits < own).float().mean(1).cpu()
        effect, share = (torch.where(alive, values, torch.nan) for values in (effect, share))
        frames.append(
            pd.DataFrame(
                {
                    "hook": place.name,
                    "layer": -1 if place.layer is None else place.layer,
                    "unit": range(len(tokens)),
                    "token": torch.where(alive, tokens, -1).numpy(),
                    "effect": effect.numpy(),
                    "percentile": share.numpy(),
                    "suppresses": (effect < -level).numpy(),
                    "promotes": (effect > level).numpy(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _writes(model: HookedModel, place: Place) -> Float[Tensor, "units model"]:
    """The rows of the output matrix that reads a hook."""
    parts = anatomy(model)
    if place.layer is not None and place.name == f"blocks.{place.layer}.mlp.hook_post" and place.layer in parts.neurons:
        return parts.neurons[place.layer].weight().detach()
    for adapter, writer in parts.heads.items():
        name = f"blocks.{adapter.layer}.{adapter.part}.hook_head_out"
        if name in (*model.points, *model.points.aliases) and model.points[name].name == place.name:
            return writer.weight().detach()
    raise InputError(f"No output matrix reads {place.name} by itself; take mlp.hook_post or mixer.hook_head_out.")
