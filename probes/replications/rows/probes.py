"""Rows about what linear probes read, and about what single units do."""

from __future__ import annotations

import torch

import workbench
from workbench.model import HookedModel
from workbench.probes.linear import collect_activations, evaluate_probe, labelled_tokens, sparse_sweep
from workbench.probes.neurons import Corpus, gate_saturation, neuron_statistics, saturated_units, token_corpus
from workbench.probes.replications.registry import Outcome, cannot_run, replication

cannot_run(
    "space-and-time",
    section="Reading a model",
    paper="Language Models Represent Space and Time (Gurnee and Tegmark 2023)",
    published="ridge probes read coordinates and years of named entities, better in later layers, with groups held out",
    ask="workbench probe fit MODEL entities.csv --label-column year --group-column century --probe ridge",
    missing="the entity lists with places and dates, and a model that has read about them",
)


@replication(
    "sparse-probes",
    section="Reading a model",
    paper="Finding Neurons in a Haystack (Gurnee et al. 2023)",
    published="a few neurons read a feature nearly as well as all of them do; accuracy rises with k and levels off",
    ask='sparse_sweep(activations["blocks.2.mlp.hook_post"].values, labels, groups=groups)',
)
def sparse_probes() -> Outcome:
    """Whether a token has been there before, from the neurons of an MLP."""
    numbers: dict[str, float] = {}
    sentences = []
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(60):
        block = torch.randperm(2000, generator=generator)[: 12 + number % 9] + 3
        rows.append(torch.cat([block, block]))
    labels = [["new"] * (len(row) // 2) + ["repeated"] * (len(row) // 2) for row in rows]
    for name in ("attention", "mamba", "gated_delta"):
        model = workbench.load(f"zoo:{name}")
        data = labelled_tokens(model, rows, labels)
        values = collect_activations(model, data, "mlp.hook_post", 2)["blocks.2.mlp.hook_post"].values
        sweep = sparse_sweep(values, data.labels, groups=data.groups, ks=(1, 4, 16))
        every = evaluate_probe(values, data.labels, groups=data.groups).score.mean
        found = {k: result.score.mean for k, result in sweep.results.items()}
        numbers |= {f"{name}: k = {k}": score for k, score in found.items()} | {f"{name}: all": every}
        sentences.append(
            f"{name}: {found[1]:.2f} from one neuron, {found[4]:.2f} from 4, {found[16]:.2f} from 16, "
            f"{every:.2f} from all {values.shape[1]}"
        )
    # Half of the labels are "new": 0.5 needs no neuron.
    agrees = all(
        numbers[f"{name}: k = 16"] - 0.5 > 0.75 * (numbers[f"{name}: all"] - 0.5)
        and numbers[f"{name}: k = 1"] < numbers[f"{name}: k = 16"]
        for name in ("attention", "mamba", "gated_delta")
    )
    return Outcome("; ".join(sentences) + ".", agrees, numbers)


@replication(
    "neuron-kinds",
    section="Reading a model",
    paper="Neurons in Large Language Models: Dead, N-gram, Positional (Voita et al. 2023)",
    published="early layers hold dead neurons and neurons that detect single tokens; later layers hold hardly any",
    ask='neuron_statistics(model, corpus, "mlp.hook_post", threshold=1, fires="beyond").table(model)',
)
def neuron_kinds() -> Outcome:
    """On text that the members themselves write; their SwiGLU neurons have either sign."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in ("attention", "lstm", "mamba2"):
        model = workbench.load(f"zoo:{name}")
        statistics = neuron_statistics(model, _own_text(model), "mlp.hook_post", threshold=1.0, fires="beyond")
        table = statistics.table(model)
        by_layer = table.groupby("layer")
        dead, detect = by_layer["dead"].sum().tolist(), by_layer["detects_1"].sum().tolist()
        numbers |= {f"{name}: dead in layer {i}": float(count) for i, count in enumerate(dead)}
        numbers |= {f"{name}: token detectors in layer {i}": float(count) for i, count in enumerate(detect)}
        sentences.append(f"{name}: token detectors by layer {detect}, dead {dead}")
    first_most = [
        numbers[f"{name}: token detectors in layer 0"] > numbers[f"{name}: token detectors in layer 3"]
        for name in ("attention", "lstm", "mamba2")
    ]
    return Outcome("; ".join(sentences) + " of 352.", all(first_most), numbers)


@replication(
    "gate-saturation",
    section="Reading a model",
    paper="Visualizing and Understanding Recurrent Networks (Karpathy et al. 2015)",
    published="above the first layer many forget gates are nearly always open: cells that remember long",
    ask="saturated_units(gate_saturation(model, corpus))",
)
def gates() -> Outcome:
    """The LSTM and the GRU of the zoo."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in ("lstm", "gru"):
        model = workbench.load(f"zoo:{name}")
        table = saturated_units(gate_saturation(model, _own_text(model)))
        forget = table[table["gate"] == "forget"]
        opened = [float(share) for share in forget["right"]]
        numbers |= {f"{name}: open in layer {layer}": share for layer, share in enumerate(opened)}
        shares = ", ".join(f"{share:.2f}" for share in opened)
        sentences.append(f"{name}: forget gates above 0.9 at a share of {shares} of the tokens in layers 0 to 3")
    agrees = all(
        min(numbers[f"{name}: open in layer {layer}"] for layer in (1, 2, 3)) > numbers[f"{name}: open in layer 0"]
        for name in ("lstm", "gru")
    )
    return Outcome("; ".join(sentences) + ".", agrees, numbers)


def _own_text(model: HookedModel) -> Corpus:
    """What a member of the zoo writes: text of the kind it was trained on, with no download."""
    start = torch.arange(3, 19)[:, None]
    return token_corpus(model.generate(start, 127, temperature=1.0, stop_at_eos=False, seed=0, return_type="tokens"))
