"""Rows of the list that cannot run here yet, and what each of them lacks."""

from __future__ import annotations

from workbench.probes.replications.registry import cannot_run

cannot_run(
    "knowledge-critical-subnetworks",
    section="Changing a model",
    paper="Discovering Knowledge-Critical Subnetworks (Bayazit et al. 2023); WISE (Wang et al. 2024)",
    published="a sparse mask of weights removes chosen facts and little else; edits are reliable, general and local",
    ask="workbench.interventions.WeightDelta",
    missing="masks of single weights that are learned, and edits of facts; for deltas of weights see task-arithmetic",
)
cannot_run(
    "expert-contributions",
    section="Changing a model",
    paper="Mixture-of-experts models: contributions of experts",
    published="few experts carry a token, and ablating them costs more than ablating as many others",
    ask="model.hook_names",
    missing="a hook at the router of experts, and a small trained mixture of experts: the zoo has none",
)
