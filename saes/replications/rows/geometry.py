"""Rows about where features point."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

import workbench
from workbench.model import HookedModel
from workbench.probes.replications import Outcome, replication
from workbench.saes.files import load_sae
from workbench.saes.geometry import lobes, parallelograms, read_co_occurrence, spectrum_slope
from workbench.saes.replications.text import written

MEMBERS = ("attention", "mamba", "gated_delta")
HOOK = "blocks.1.hook_resid_post"
STRETCH = 32
# Pairs of words of the zoo's vocabulary that are one token each: models of this size know grammar, no capitals.
RELATIONS = {
    "plural": "law laws, nation nations, right rights, interest interests, power powers, year years, effort efforts, "
    "million millions, government governments, program programs, result results, time times, need needs, job jobs, "
    "force forces, land lands, case cases, claim claims, condition conditions, month months, measure measures",
    "past": "increase increased, need needed, establish established, pass passed, call called, continue continued, "
    "provide provided, require required, say said, bring brought, take taken, find found, hold held, give given",
    "capital letter": "the The, and And, as As, at At, but But, for For, he He, if If, in In, it It, no No, our Our, "
    "so So, that That, there There, these These, they They, this This, to To, we We, with With",
    "ing": "increase increasing, work working, make making, have having, exist existing, be being",
}


@replication(
    "geometry-of-concepts",
    section="Features",
    paper="The Geometry of Concepts: Sparse Autoencoder Feature Structure (Li et al. 2024)",
    published=(
        "parallelograms show once distractor directions are out, features that fire together lie together, and "
        "eigenvalues fall by a power law, which isotropic clouds do not"
    ),
    ask="parallelograms(a, b, relation); lobes(directions, read_co_occurrence(model, sae, text)); spectrum_slope(...)",
)
def geometry_of_concepts() -> Outcome:
    """Words in pairs at the shipped autoencoders' hook, and the autoencoders' own directions.

    The shape, on each member: the differences of one relation are farther apart from those of others after the
    discriminant analysis, fitted on other pairs, than as they are, and more parallel than with partners shuffled (p
    0.05); two lobes by firing and by direction agree more than shuffled ones (p 0.05); and the slope of the
    eigenvalues lies below an isotropic cloud's.
    """
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for name in MEMBERS:
        model = workbench.load(f"zoo:{name}", check=False)
        sae = load_sae(f"zoo:{name}/resid_post")
        first, second, relation = _pairs(model)
        crystals = parallelograms(first, second, relation, shuffles=100).table().set_index("space")
        plain: Any = crystals.loc["as they are"]
        projected: Any = crystals.loc["discriminant"]
        counted = read_co_occurrence(model, sae, written(model, 256, 160).reshape(-1, STRETCH), stretch=STRETCH)
        found = lobes(sae.directions(), counted)
        slope = spectrum_slope(sae.directions().detach().numpy())
        numbers |= {
            f"{name}: separation, as they are": float(plain["separation"]),
            f"{name}: separation, distractors out": float(projected["separation"]),
            f"{name}: p of the parallelograms": float(projected["p"]),
            f"{name}: lobes, adjusted mutual information": found.information,
            f"{name}: lobes, p": found.p,
            f"{name}: slope": slope.slope,
            f"{name}: slope, high": slope.high,
            f"{name}: slope, isotropic": slope.isotropic,
        }
        agrees &= float(projected["separation"]) > float(plain["separation"]) and float(projected["p"]) <= 0.05
        agrees &= found.p <= 0.05 and slope.high < slope.isotropic
        said.append(
            f"{name}: parallelograms {plain['separation']:.2f} to {projected['separation']:.2f} "
            f"(p {projected['p']:.2f}), lobes {found.information:.2f} (p {found.p:.3f}), "
            f"slope {slope.slope:.2f} (isotropic {slope.isotropic:.2f})"
        )
    return Outcome("; ".join(said) + ".", agrees, numbers)


@torch.no_grad()
def _pairs(
    model: HookedModel,
) -> tuple[Float[np.ndarray, "pairs d"], Float[np.ndarray, "pairs d"], list[str]]:
    """Vectors of both words of every pair, each read by itself after the beginning-of-text token."""
    pairs = [(relation, *pair.split()) for relation, listed in RELATIONS.items() for pair in listed.split(", ")]
    sides = []
    for side in (1, 2):
        words = torch.tensor(
            [model.tokens.encode(" " + pair[side], prepend_bos=False)[0][0].tolist() for pair in pairs]
        )
        _, cache = model.run_with_cache(torch.cat([torch.zeros_like(words), words], 1), names_filter=HOOK)
        sides.append(cache[HOOK][:, -1].numpy())
    return sides[0], sides[1], [pair[0] for pair in pairs]
