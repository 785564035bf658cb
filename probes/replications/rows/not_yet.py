"""Rows of the list that cannot run here yet, and what each of them lacks."""

from __future__ import annotations

from workbench.probes.replications.registry import cannot_run

cannot_run(
    "repeat-curse",
    section="Changing a model",
    paper="Understanding the Repeat Curse in Large Language Models from a Feature Perspective (Yao et al. 2025)",
    published="clamping a few features of a sparse autoencoder during generation starts and stops repetition",
    ask="workbench.saes",
    missing="sparse autoencoders, which are not built yet; the repetition curve itself is the row break-the-loop",
)
cannot_run(
    "not-all-features-are-linear",
    section="Changing a model",
    paper="Not All Language Model Features Are One-Dimensionally Linear (Engels et al. 2024)",
    published="days and months lie on circles, and patching the circle moves the answer of a calendar sum",
    ask="workbench.saes",
    missing="clusters of decoder directions of a sparse autoencoder, and a model that can do calendar sums",
)
cannot_run(
    "codebook-features",
    section="Changing a model",
    paper="Codebook Features: Sparse and Discrete Interpretability for Neural Networks (Tamkin et al. 2023)",
    published="a discrete bottleneck at a hook keeps most of the loss, and switching a code on steers the text",
    ask="workbench.saes",
    missing="the discrete bottleneck, which comes with the sparse autoencoders",
)
cannot_run(
    "knowledge-critical-subnetworks",
    section="Changing a model",
    paper="Discovering Knowledge-Critical Subnetworks (Bayazit et al. 2023); WISE (Wang et al. 2024)",
    published="a sparse mask of weights removes chosen facts and little else; edits are reliable, general and local",
    ask="workbench.interventions.WeightDelta",
    missing="learned masks of weights, and a model that knows facts; for deltas of weights see task-arithmetic",
)
cannot_run(
    "expert-contributions",
    section="Changing a model",
    paper="Mixture-of-experts models: contributions of experts",
    published="few experts carry a token, and ablating them costs more than ablating as many others",
    ask="model.hook_names",
    missing="a hook at the router, and a small mixture of experts that is trained",
)
for name, paper, published in (
    (
        "sparse-autoencoders",
        "Scaling and evaluating sparse autoencoders (Gao et al. 2024) and its successors",
        "loss recovered against sparsity, architecture by architecture",
    ),
    (
        "universal-features",
        "Sparse Autoencoders Reveal Universal Feature Spaces (Lan et al. 2024); Rosetta Neurons (Dravid et al. 2023)",
        "features of different models match better than chance, and their spaces more than single features",
    ),
    (
        "geometry-of-concepts",
        "The Geometry of Concepts (Li et al. 2024)",
        "parallelograms without distractor directions, lobes of co-occurring features, a power law of eigenvalues",
    ),
    (
        "explained-features",
        "Large Multi-modal Models Can Interpret Features (Zhang et al. 2024); FIND (Schwettmann et al. 2023)",
        "descriptions by a model predict activations; generated functions with known answers score the scorer",
    ),
):
    cannot_run(
        name,
        section="Features",
        paper=paper,
        published=published,
        ask="workbench.saes",
        missing="sparse autoencoders, which are not built yet",
    )
