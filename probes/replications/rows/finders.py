"""Rows about heads that read more than one token of context, retrieve, name successors or stand at a place."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import workbench
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.causal import ablate_top_k
from workbench.probes.heads import find_heads
from workbench.probes.heads.modular import edited_successors, modular_features
from workbench.probes.heads.successor import ordinal_tokens
from workbench.probes.replications.registry import Outcome, replication
from workbench.tasks import Vocabulary

SMOLLM2 = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBERS = ("attention", "mamba2", "gated_delta")


@replication(
    "n-gram-heads",
    section="Finding heads",
    paper="In-Context Language Learning: Architectures and Algorithms (Akyürek et al. 2024)",
    published="attention forms heads that read what followed earlier occurrences of the last tokens, of growing order",
    ask='find_heads(model, "2-gram"); find_heads(model, "3-gram")',
)
def ngram_heads() -> Outcome:
    """The best head of each order, against heads that match one token less."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in MEMBERS:
        model = workbench.load(f"zoo:{name}")
        parts = []
        for order in (2, 3):
            best = find_heads(model, f"{order}-gram", seeds=0).sort_values("excess", ascending=False).iloc[0]
            score, null = float(best["score"]), float(best["null"])
            numbers |= {f"{name}: {order}-gram score": score, f"{name}: {order}-gram null": null}
            parts.append(f"{order}-gram {score:.2f} (null {null:.2f})")
        sentences.append(f"{name}: {', '.join(parts)}")
    agrees = all(numbers[f"{name}: 2-gram score"] > numbers[f"{name}: 2-gram null"] + 0.3 for name in MEMBERS)
    agrees &= numbers["attention: 3-gram score"] > numbers["attention: 3-gram null"] + 0.1
    return Outcome("; ".join(sentences) + ".", agrees, numbers)


@replication(
    "retrieval-heads",
    section="Finding heads",
    paper="Retrieval Head Mechanistically Explains Long-Context Factuality (Wu et al. 2024)",
    published="a few heads look at the token of the needle that is written; masked, they cost more than random others",
    ask='find_heads(model, "retrieval"); ablate_top_k(model, table, k)',
)
def retrieval_heads() -> Outcome:
    """A run of random tokens as the needle, which members of the zoo can find; they cannot read questions."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in MEMBERS:
        model = workbench.load(f"zoo:{name}")
        table = find_heads(model, "retrieval", haystack="segment", lengths=(64, 128), depths=(0.1, 0.5, 0.9), seeds=0)
        above = int((table["score"] > 0.1).sum())
        with warnings.catch_warnings():  # random sets come from other layers, where all heads of a layer retrieve
            warnings.simplefilter("ignore", UserWarning)
            check = ablate_top_k(model, table, max(above, 1), draws=10, haystack="segment", length=96)
        loss = check.set_index("condition")["loss_answer"].astype(float)
        numbers |= {
            f"{name}: best score": float(table["score"].iloc[0]),
            f"{name}: heads above 0.1": above,
            f"{name}: loss": loss["baseline"],
            f"{name}: loss without them": loss["top"],
            f"{name}: loss without as many others": loss["random"],
        }
        sentences.append(
            f"{name}: {above} of {len(table)} heads above 0.1, loss {loss['baseline']:.2f}, {loss['top']:.2f} without "
            f"them, {loss['random']:.2f} without as many others"
        )
    agrees = all(
        numbers[f"{name}: best score"] > 0.5
        and numbers[f"{name}: loss without them"] > numbers[f"{name}: loss without as many others"]
        for name in MEMBERS
    )
    return Outcome("; ".join(sentences) + ".", agrees, numbers)


@replication(
    "successor-heads",
    section="Finding heads",
    paper="Successor Heads: Recurring, Interpretable Attention Heads In The Wild (Gould et al. 2023)",
    published="from 31 million parameters on, a head's direct path ranks the successor first for most ordinals",
    ask='find_heads(model, "successor")',
)
def successor_heads() -> Outcome:
    """Members of the zoo have a million parameters and know no months, which is what the score should say."""
    numbers: dict[str, float] = {}
    for name in MEMBERS:
        best = find_heads(workbench.load(f"zoo:{name}"), "successor").iloc[0]
        numbers |= {f"{name}: best score": float(best["score"]), f"{name}: null": float(best["null"])}
    found = ", ".join(f"{name} {numbers[f'{name}: best score']:.2f}" for name in MEMBERS)
    return Outcome(f"No successor head in models of this size: best scores {found}.", None, numbers)


@replication(
    "mod-10-features",
    section="Finding heads",
    paper="Successor Heads: Recurring, Interpretable Attention Heads In The Wild (Gould et al. 2023), mod-10 features",
    published="probes read places modulo 10 off the first MLP; exchanged, they move what a successor head names",
    ask="features = modular_features(model); edited_successors(model, features)",
)
def mod_10_features() -> Outcome:
    """SmolLM2, which has one token for each digit and number word; where it is missing, `make inputs` fetches it."""
    model = smollm2()
    chosen = [each for each in ordinal_tokens(Vocabulary.of(model)) if each.name in ("numbers", "number_words")]
    features = modular_features(model, classes=chosen)
    head = edited_successors(model, features).sort_values("successor", ascending=False).iloc[0]
    probe = features.probe
    assert probe is not None and probe.control is not None and probe.selectivity is not None  # it has a control task
    numbers = {
        "explained": features.explained,
        "explained by chance": features.by_chance,
        "probe": probe.score.mean,
        "probe, control task": probe.control.mean,
        **{f"best successor head: {name}": float(head[name]) for name in ("successor", "moved", "low", "control")},
    }
    found = (
        f"Of {len(features.stream)} digits and number words a probe reads the place modulo 10 of "
        f"{probe.score.mean:.0%} held out (control task {probe.control.mean:.0%}), and the features explain "
        f"{features.explained:.2f} (chance {features.by_chance:.2f}). The best of the heads, {head['site']}, names "
        f"{head['successor']:.0%} of the successors; an edit moves what it names in {head['moved']:.0%} of the cases "
        f"(random directions {head['control']:.0%})."
    )
    # The paper's successor heads follow most edits; this is a rule for such a head, not for any effect at all.
    return Outcome(found, probe.selectivity.low > 0 and float(head["moved"]) > 0.5, numbers)


@replication(
    "position-heads",
    section="Finding heads",
    paper="A Mathematical Framework for Transformer Circuits (Elhage et al. 2021)",
    published="some heads read the previous token, others the current one, the first one, or an earlier same one",
    ask='find_heads(model, "previous_token")',
)
def position_heads() -> Outcome:
    """The four kinds on one softmax and two recurrent members."""
    numbers: dict[str, float] = {}
    sentences = []
    for name in MEMBERS:
        model = workbench.load(f"zoo:{name}")
        parts = []
        for kind in ("previous_token", "current_token", "first_token", "duplicate_token"):
            table = find_heads(model, kind, seeds=0)
            above = int((table["low"] > table["null"]).sum())
            numbers |= {f"{name}: {kind}, best": float(table["score"].iloc[0]), f"{name}: {kind}, above null": above}
            parts.append(f"{kind} {above} above the null, best {table['score'].iloc[0]:.2f}")
        sentences.append(f"{name}: {', '.join(parts)}")
    # The paper is about attention; that recurrent mixers have fewer such heads is for the sentence to say.
    agrees = all(numbers[f"attention: {kind}, above null"] > 0 for kind in ("previous_token", "current_token"))
    return Outcome("; ".join(sentences) + ".", agrees, numbers)


def smollm2() -> HookedModel:
    """SmolLM2-135M from where `make inputs` puts it.

    Raises:
        InputError: it is not there.
    """
    path = Path(os.environ.get("WORKBENCH_CACHE") or Path.home() / ".cache" / "workbench") / SMOLLM2
    if not path.is_file():
        raise InputError(f"SmolLM2 is not in {path.parent}; `make inputs` fetches it.")
    return workbench.load(path, check=False)
