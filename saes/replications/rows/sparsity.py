"""Rows about what an autoencoder keeps of a model, and in how many features."""

from __future__ import annotations

from itertools import pairwise

import workbench
from workbench.probes.replications import Outcome, replication
from workbench.saes.judging import judge_sae
from workbench.saes.replications.text import written
from workbench.saes.training import train_sae

HOOK = "blocks.1.hook_resid_post"
KEPT = (2, 4, 8, 16)
STEPS, BATCH = 150, 1024


@replication(
    "sparse-autoencoders",
    section="Features",
    paper="Scaling and evaluating sparse autoencoders (Gao et al. 2024) and its successors",
    published="more features kept, more of the loss recovered, at each L0 more than by principal components",
    ask='train_sae(model, text, "blocks.1.hook_resid_post", k=8); judge_sae(model, sae, held_out)',
)
def sparse_autoencoders() -> Outcome:
    """TopK autoencoders of 512 features on text that the members write, judged on rows that they are not trained on.

    The shape: loss recovered rises with every doubling of the features kept, and with each number of them the model
    loses less than with as many principal components chosen anew for each token, or random directions (95 % intervals
    over rows).
    """
    numbers: dict[str, float] = {}
    said = []
    agrees = True
    for name in ("attention", "mamba"):
        model = workbench.load(f"zoo:{name}", check=False)
        rows = written(model, 256, 160)
        training, held_out = rows[:208], rows[208:]
        recovered = []
        for kept in KEPT:
            sae = train_sae(
                model, training, HOOK, d_sae=512, k=kept, tokens=STEPS * BATCH, batch=BATCH, seed=0, progress=False
            )
            judged = judge_sae(model, sae, held_out, baselines=("pca", "random"), fit_on=training[:48])
            shares = judged.table().set_index("autoencoder")["loss_recovered"].astype(float)
            recovered.append(float(shares["sae"]))
            for other in ("sae", "pca", "random"):
                numbers[f"{name}, k {kept}: loss recovered, {other}"] = float(shares[other])
            worse = [judged.difference(other, "sae", "loss") for other in ("pca", "random")]
            numbers[f"{name}, k {kept}: loss of pca above sae, low"] = worse[0].low
            agrees &= all(difference.low > 0 for difference in worse)
        agrees &= all(less < more for less, more in pairwise(recovered))
        pairs = ", ".join(
            f"{share:.2f} ({numbers[f'{name}, k {kept}: loss recovered, pca']:.2f})"
            for kept, share in zip(KEPT, recovered, strict=True)
        )
        said.append(f"{name} {pairs}")
    found = f"Loss recovered by {', '.join(map(str, KEPT))} features a token (by principal components): "
    return Outcome(f"{found}{'; '.join(said)}.", agrees, numbers)
