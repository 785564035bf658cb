"""Rows about features that several models share."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch

import workbench
from workbench.probes.replications import Outcome, replication
from workbench.saes.comparing import Units, match_features, rsa, svcca
from workbench.saes.files import load_sae
from workbench.saes.replications.text import written

MEMBERS = ("attention", "mamba", "gated_delta")
DRAWS = 40


@replication(
    "universal-features",
    section="Features",
    paper="Sparse Autoencoders Reveal Universal Feature Spaces (Lan et al. 2024); Rosetta Neurons (Dravid et al. 2023)",
    published="features of different models match beyond chance, and so do the decoder directions of what was matched",
    ask="matches = match_features(Units.of(model, sae), Units.of(other, other_sae), text); svcca(...); rsa(...)",
)
def universal_features() -> Outcome:
    """The shipped autoencoders of a Transformer and two recurrent members, on text that all three write.

    The shape, for each two of them: correlations of one-to-one pairs on text that they were not chosen on lie above
    those of shuffled tokens, and SVCCA and RSA of the pairs' decoder directions above every draw of random pairs.
    """
    models = {name: workbench.load(f"zoo:{name}", check=False) for name in MEMBERS}
    saes = {name: load_sae(f"zoo:{name}/resid_post") for name in MEMBERS}
    texts = [str(model.to_string(row)) for model in models.values() for row in written(model, 48, 160)]
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for one, other in combinations(MEMBERS, 2):
        pair = f"{one} and {other}"
        matches = match_features(Units.of(models[one], saes[one]), Units.of(models[other], saes[other]), texts)
        summary: Any = matches.summary().set_index("measure").loc["one_to_one"].astype(float)
        # All pairs, though the paper leaves poor ones out: of fewer pairs than directions any two spaces correlate.
        first = saes[one].directions()[matches.pairs[:, 0]].detach()
        second = saes[other].directions()[matches.pairs[:, 1]].detach()
        generator = torch.Generator().manual_seed(0)
        orders = [torch.randperm(len(second), generator=generator) for _ in range(DRAWS)]
        parts = []
        for measure, similarity in (("SVCCA", svcca), ("RSA", rsa)):
            value = similarity(first, second)
            chance = max(similarity(first, second[order]) for order in orders)
            numbers |= {f"{pair}: {measure}": value, f"{pair}: {measure}, best of {DRAWS} random pairings": chance}
            agrees &= value > chance
            parts.append(f"{measure} {value:.2f} ({chance:.2f})")
        agrees &= float(summary["low"]) > float(summary["shuffled"])
        numbers |= {f"{pair}: correlation{end}": float(summary[key]) for end, key in _ENDS.items()}
        numbers[f"{pair}: pairs"] = len(matches.pairs)
        said.append(f"{pair} {summary['value']:.2f} ({summary['shuffled']:.2f}), {', '.join(parts)}")
    found = f"Correlation of one-to-one pairs (shuffled tokens), SVCCA and RSA (best of {DRAWS} random pairings): "
    return Outcome(f"{found}{'; '.join(said)}.", agrees, numbers)


_ENDS = {"": "value", ", low": "low", ", shuffled": "shuffled"}
