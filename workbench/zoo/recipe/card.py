"""A member's card (README.md), written from its evaluation: no number on it is typed by hand."""

from __future__ import annotations

from typing import Any

from workbench.zoo.recipe.corpus import HELD_OUT_EVERY, SOURCES
from workbench.zoo.recipe.evaluate import GAP, LENGTHS, REAL_GAP

TITLES = {
    "attention": "Attention (Llama's)",
    "gated_delta": "Gated DeltaNet",
    "gla": "Gated linear attention (GLA)",
    "gru": "GRU",
    "lstm": "LSTM",
    "mamba": "Mamba",
    "mamba2": "Mamba-2",
    "mlstm": "mLSTM (xLSTM's matrix memory)",
    "retnet": "RetNet",
    "rg_lru": "RG-LRU with local attention (Griffin's hybrid)",
    "rwkv4": "RWKV-4",
    "rwkv7": "RWKV-7",
}
AIMS = {
    "attention": 0.95,
    "gated_delta": 0.90,
    "gla": 0.90,
    "gru": 0.50,
    "lstm": 0.50,
    "mamba": 0.80,
    "mamba2": 0.90,
    "mlstm": 0.90,
    "retnet": 0.80,
    "rg_lru": 0.80,
    "rwkv4": 0.50,
    "rwkv7": 0.90,
}
BITS_AIM = 2.0
SHARED_DIFFERENCE = (
    "The embedding starts as normal({embedding_mean:g}, {embedding_range:g}) in every coordinate: a common component, "
    "because bias-free projections have no other constant. It moves all logits alike, so the softmax of the tied "
    "unembedding does not see it. The final norm's weight starts at {final_norm:g}."
)
_MIMETIC = (
    "Initialisation: mimetic (in the spirit of Trockman et al. 2024, arXiv:2410.11135): the projections of queries and "
    "keys are equal at the start, convolutions start near the identity, the keys' near the shift by one token, and "
)
_BUILT_IN = (
    "That start is close to copying: what a token is found by is the token before it, in every layer. So heads that "
    "find what followed an earlier occurrence were put there, and training kept what it could use."
)
_CELL = (
    "An output projection follows the cell, and an MLP follows every mixer, as in the other members. All that is "
    "carried from token to token are {units} numbers a layer, each of which decays as a whole: nothing can be looked "
    "up by its content, so copying random tokens is the hard case for it, and the table above says how far it got."
)
DIFFERENCES = {
    "attention": [
        "The architecture is Llama's (rotary positions, no biases, RMSNorm, SwiGLU), and the tests hold the mixer to "
        "`LlamaAttention` of transformers.",
        "Initialisation: the four heads of layer 0 start looking one token back (`Attention.initialise`). Without it "
        "copying did not last in a trial of 1000 steps (`workbench/zoo/recipe/trials.md`). So previous-token heads in "
        "layer 0 were put there and training kept what it could use; everything that uses them was learned.",
        "Its embedding starts larger than the other members'. With theirs, copying did not last either.",
    ],
    "gated_delta": [
        "The mixer is Gated DeltaNet's (Yang et al. 2024, arXiv:2412.06464), and the tests hold it to a loop over "
        "tokens written from the paper. {n_heads} heads with keys of d_model / {n_heads} and values of twice that.",
        _MIMETIC + "decay rates that with the first time steps give time constants of 100 to 1000 tokens.",
        _BUILT_IN,
    ],
    "gla": [
        "The mixer is GLA's (Yang et al. 2023, arXiv:2312.06635), and the tests hold it to a loop over tokens written "
        "from the paper. {n_heads} heads; keys are {expand_k:g} and values {expand_v:g} widths together (the paper's "
        "large models have 0.5 and 1 with as many heads: keys of 16 channels a head would be left here).",
        "Short convolutions with SiLU follow queries, keys and values, an option of the published code that the "
        "paper's models leave out. Without them, copying had reached .11 of 8-token blocks by step 250, with them .99.",
        _MIMETIC + "a decay with time constants of 100 to 1000 tokens.",
        _BUILT_IN,
    ],
    "gru": [
        "The mixer is the cell of `torch.nn.GRU` (Cho et al. 2014, arXiv:1406.1078; the reset gate acts after the "
        "matrix product), and the tests hold it to that module. {units} units.",
        _CELL,
        "Initialisation: orthogonal recurrent matrices; update gates biased towards keeping the state.",
    ],
    "lstm": [
        "The mixer is the cell of `torch.nn.LSTM` (Hochreiter and Schmidhuber 1997, with forget gates), and the tests "
        "hold it to that module. {units} units.",
        _CELL,
        "Initialisation: orthogonal recurrent matrices; forget gates with a bias of 1.",
    ],
    "mamba": [
        "The mixer is Mamba's, and the tests hold it to `MambaMixer` of transformers. State size {state_size} (the "
        "published models have 16).",
        "An MLP follows every mixer, as in the other members; published Mamba models have none.",
        "Initialisation: mimetic (Trockman et al. 2024, arXiv:2410.11135): B and C rows of `x_proj` equal at the "
        "start, a convolution near the identity, time steps in [{dt_min}, {dt_max}] and decay rates divided by "
        "{slow_decay:g}, so that the state forgets slowly at first.",
    ],
    "mamba2": [
        "The mixer is Mamba-2's (one group), and the tests hold it to `Mamba2Mixer` of transformers. State size "
        "{state_size}, heads of {head_dim}.",
        "An MLP follows every mixer, as in the other members; published Mamba-2 models have none.",
        "Initialisation: mimetic (Trockman et al. 2024, arXiv:2410.11135): B and C rows of `in_proj` equal at the "
        "start, a convolution near the identity, time steps in [{dt_min}, {dt_max}] and decay rates divided by "
        "{slow_decay:g}, so that the state forgets slowly at first.",
    ],
    "mlstm": [
        "The mixer is xLSTM's mLSTM (Beck et al. 2024, arXiv:2405.04517) with the capped gates, the query scale and "
        "the norm of xLSTM-7B (arXiv:2503.13427); the tests hold it to a loop over tokens written from the paper and, "
        "without its convolution, to `xLSTMLayer` of transformers. {n_heads} heads; queries and keys are {qk_dim} and "
        "values {v_dim} wide together.",
        "A short convolution with SiLU comes before queries and keys, as in the first paper's block; xLSTM-7B has "
        "none.",
        "Initialisation: mimetic (in the spirit of Trockman et al. 2024, arXiv:2410.11135): the convolution adds the "
        "predecessor to every other channel and subtracts it from the rest, and the keys' projection is the queries' "
        "with those channels' signs turned, so that a token starts out finding what followed its earlier occurrences. "
        "Without the signs, copying had reached .13 of 8-token blocks by step 200; with them .24 by step 100.",
        _BUILT_IN,
    ],
    "retnet": [
        "The mixer is RetNet's (Sun et al. 2023, arXiv:2307.08621): no convolutions, rotary positions, one fixed decay "
        "a head. The tests hold it to a loop over tokens written from the paper. {n_heads} heads, whose memories reach "
        "back about 32, 64, 128 and 256 tokens.",
        "Initialisation: the projections of queries and keys are equal at the start (in the spirit of Trockman et al. "
        "2024, arXiv:2410.11135), so that a token starts out reading its own earlier occurrences.",
    ],
    "rg_lru": [
        "A hybrid after Griffin (De et al. 2024, arXiv:2402.19427): recurrent blocks with the RG-LRU in layers 0, 1 "
        "and 3, local attention in layer 2, over {attention[window]} tokens. Griffin's heads share keys and values, "
        "and its models are deeper, with one attention block after every two recurrent ones; here every head has keys "
        "and values of its own.",
        "The recurrence is {rg_lru[width]} channels wide, and the tests hold it to a loop over tokens written from the "
        "paper and to `RecurrentGemmaRglru` of transformers.",
        "Initialisation: the paper's decays, a convolution half way to the identity.",
    ],
    "rwkv4": [
        "The mixer is RWKV-4's time mixing (Peng et al. 2023, arXiv:2305.13048), and the tests hold it to the paper's "
        "sums over the whole past; the adapter of transformers' `RwkvSelfAttention` runs on the same code. It has no "
        "queries: what a channel averages depends on the keys and on the distance, not on the token that reads.",
        "An MLP follows every mixer, as in the other members, in the place of RWKV's channel mixing.",
        "Initialisation: decays, bonuses and shares of the predecessor as in the paper; the projections, which are "
        "zero there, like the other members'.",
    ],
    "rwkv7": [
        "The mixer is RWKV-7's time mixing (Peng et al. 2025, arXiv:2503.14456), the first layer's values in all later "
        "ones included, and the tests hold it to a loop over tokens written from the paper. Heads of {head_dim}.",
        "An MLP follows every mixer, as in the other members, in the place of RWKV's channel mixing.",
        "Initialisation: decays, shares of the predecessor and low-rank maps as in the reference code; receptance and "
        "key projections equal at the start (in the spirit of Trockman et al. 2024, arXiv:2410.11135), and the output "
        "projection small where it is zero there. In a trial, unequal receptance and keys came to copying as fast.",
    ],
}


def misses(member: str, report: dict[str, Any]) -> list[str]:
    """The aims a member does not reach, in words."""
    found = []
    copied, bits = report["copy"]["32"], report["bits_per_byte"]
    if copied < AIMS[member]:
        found.append(f"It copies {copied:.1%} of a 32-token block; the aim was {AIMS[member]:.0%}.")
    if bits > BITS_AIM:
        found.append(f"It needs {bits:.2f} bits a byte of held-out text; the aim was {BITS_AIM:.2f}.")
    if report["steps"] < report["settings"]["steps"]:
        found.append(f"It stopped at step {report['steps']} of {report['settings']['steps']}.")
    return found


def _commands(member: str, report: dict[str, Any]) -> list[str]:
    """The training commands that give this member, one for each total of steps it was trained under."""
    parts = report["parts"]
    ends = [part["from"] for part in parts[1:]] + [None]
    return [
        f"python -m workbench.zoo.recipe.train --member {member} --out runs/{member}"
        f" --steps {part['steps']}" + ("" if end is None else f" --stop-after {end}")
        for part, end in zip(parts, ends, strict=True)
    ]


def write_card(member: str, report: dict[str, Any]) -> str:
    """The card as Markdown."""
    config = report["config"] | report["config"]["mixer_options"]
    settings = report["settings"]
    missed = misses(member, report) or ["No aim was missed."]
    copying = "\n".join(
        f"| {n} | {report['copy'][str(n)]:.3f} | {report['copy_after_gap'][str(n)]:.3f} |" for n in LENGTHS
    )
    data = "\n".join(
        f"* {source.what}; {source.licence}; SHA-256 of the archive `{source.sha256}`" for source in SOURCES
    )
    differences = "\n".join(f"* {line.format(**config)}" for line in [*DIFFERENCES[member], SHARED_DIFFERENCE])
    commands = "\n".join(_commands(member, report))
    changed = "".join(
        f"Up to step {part['from']} it followed the schedule of a longer run, which the clock did not allow. "
        for part in report["parts"][1:]
    )
    samples = "\n\n".join("> " + sample.replace("\n", "\n> ") for sample in report["samples"])
    return f"""# {TITLES[member]}: a member of the zoo

{report["parameters"]:,} parameters: {report["config"]["n_layers"]} layers of width {report["config"]["d_model"]}, \
{report["config"]["vocab_size"]} tokens of byte-level BPE, embedding and unembedding tied. \
Stored in {report["dtype"]}. \
The members differ in the mixer and in where training starts (below): data, tokenizer, width, depth, optimiser, \
schedule and steps are the same.

## What it can do

Share of tokens 2..n of the second copy of a block of n random tokens that are the model's first choice \
({report["sequences"]} sequences each; with a gap, {GAP} random tokens stand between the copies):

| n | adjacent | after {GAP} tokens |
| --- | --- | --- |
{copying}

A block of 32 tokens of held-out English, {REAL_GAP} tokens of other held-out English, the block again: \
{report["real_copy"]:.3f}.

Held-out text ({report["held_out_bytes"]:,} bytes; windows of {report["config"]["context"]} tokens, half overlapping): \
**{report["nats_per_token"]:.3f} nats a token, {report["bits_per_byte"]:.3f} bits a byte**. \
Mean training loss over the last {report["last_loss_steps"]} steps: {report["last_loss"]:.3f} nats.

Misses: {" ".join(missed)} One seed ({settings["seed"]}) was trained.

## How it was trained

```
{commands}
python -m workbench.zoo.recipe.ship --runs runs --member {member}
```

{changed}{report["steps"]} steps, {report["tokens"]:,} tokens, about {report["minutes"]:.0f} minutes on one thread of \
a shared CPU; Muon \
(learning rate {settings["muon_lr"]}) for the matrices of the blocks, AdamW ({settings["adam_lr"]}; embedding \
{settings["embed_lr"]}) for the rest, {"bfloat16 autocast" if settings["bfloat16"] else "float32"}. The mixture of \
English and copying tasks and its schedule are `workbench/zoo/recipe/mixture.py`; loss falls on predictable tokens only.

Data:

{data}

Every {HELD_OUT_EVERY}th address is held out.

## What differs from the reference, and why

{differences}

## Samples

Prompt "The people of the United States", temperature 0.7, seed 0, not selected:

{samples}
"""
