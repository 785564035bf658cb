"""Rows about weights read with no input, and about who writes a logit."""

from __future__ import annotations

import torch

import workbench
from workbench import tasks
from workbench.direct_logits.table import logit_parts
from workbench.probes.heads import find_heads
from workbench.probes.replications.registry import Outcome, replication
from workbench.probes.weights import composition_table, spectra, trigger_examples, value_agreement


@replication(
    "composition-scores",
    section="Reading a model",
    paper="A Mathematical Framework for Transformer Circuits (Elhage et al. 2021)",
    published="induction heads K-compose with a previous-token head, and their OV circuits copy (eigenvalues > 0)",
    ask='composition_table(model, "K"); spectra(model)["copying"]',
)
def composition() -> Outcome:
    """The zoo's attention: heads found by what they read, pairs found by their weights alone."""
    model = workbench.load("zoo:attention")
    previous = find_heads(model, "previous_token", seeds=(0,), batch=2, layers=[0])
    induction = find_heads(model, "induction", seeds=(0,), batch=2, layers=[1])
    writers = set(previous[previous["score"] > 0.5]["site"])
    readers = set(induction[induction["score"] > 0.5]["site"])
    pairs = composition_table(model, "K", top=len(writers) * len(readers))
    expected = sum(pair in {(w, r) for w in writers for r in readers} for pair in _pairs(pairs))
    copying = spectra(model).set_index("site")["copying"]
    least, other = float(copying[sorted(readers)].min()), float(copying.drop(sorted(readers)).max())
    best = pairs.iloc[0]
    return Outcome(
        f"{expected} of the {len(pairs)} pairs that K-compose most are a previous-token head of layer 0 and an "
        f"induction head of layer 1 (best {best['score']:.2f}, random {best['baseline']:.2f}); copying scores: "
        f"induction heads at least {least:.2f}, any other head at most {other:.2f}.",
        bool(readers) and expected == len(pairs) and least > 0.9 > other,
        {"expected_pairs": float(expected), "pairs": float(len(pairs)), "copying": least, "copying_of_others": other},
    )


def _pairs(table: object) -> list[tuple[str, str]]:
    rows = table[["writer", "reader"]].to_numpy().tolist()  # type: ignore[index]
    return [(str(writer), str(reader)) for writer, reader in rows]


@replication(
    "feed-forward-memories",
    section="Reading a model",
    paper=(
        "Transformer Feed-Forward Layers Are Key-Value Memories (Geva et al. 2021); "
        "Analyzing Transformers in Embedding Space (Dar et al. 2023)"
    ),
    published="values agree with what follows their key's triggers far more often than chance, in upper layers most",
    ask="value_agreement(trigger_examples(model, layer, units, batches))",
)
def memories() -> Outcome:
    """All hidden units of the zoo's attention, on text that the model itself wrote."""
    model = workbench.load("zoo:attention")
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(40, model.cfg.d_vocab, (32, 2), generator=generator)
    text = model.generate(starts, 96, temperature=1.0, seed=0, stop_at_eos=False)
    following = text[:, 1:].flatten()
    shares, chances = [], []
    for layer in range(model.cfg.n_layers):
        table = trigger_examples(model, layer, range(352), text.split(8))
        shares.append(float(value_agreement(table)["agreement"].iloc[0]))
        spoken = torch.tensor(table.drop_duplicates("unit")["value_token"].to_numpy())
        chances.append(float((following == spoken[:, None]).float().mean()))
    told = ", ".join(f"{share:.2%}" for share in shares)
    chance = sum(chances) / len(chances)
    return Outcome(
        f"agreement by layer {told}; a token of the text at random: {chance:.2%}.",
        max(shares) == shares[-1] and shares[-1] > 5 * chance,
        {**{f"layer_{layer}": share for layer, share in enumerate(shares)}, "chance": chance},
    )


@replication(
    "who-writes-the-answer",
    section="Reading a model",
    paper="Interpretability in the Wild (Wang et al. 2022), direct logit attribution",
    published="a few heads of the upper layers write the answer's logit, and they are those that attend to it",
    ask="logit_parts(model, tokens, answers, others, position=places).table()",
)
def writers_of_the_answer() -> Outcome:
    """Repeated tokens, a copied token against another one of the block; softmax heads and channels of Mamba."""
    numbers: dict[str, float] = {}
    told = []
    for name, group in (("attention", 1), ("mamba", 32)):
        model = workbench.load(f"zoo:{name}")
        task = tasks.repeated_random_tokens(model, 50, batch=4, seed=0)
        places = list(range(60, 99))
        answers = task.tokens[:, 61:100]
        others = task.tokens[:, torch.randint(0, 50, (39,), generator=torch.Generator().manual_seed(1))]
        table = logit_parts(model, task.tokens, answers, others, position=places, group=group).table()
        heads = table[table["site"].str.contains("H")].set_index("site")["direct"]
        found = find_heads(model, "induction", seeds=(0,), batch=4, group=group)
        readers = set(found[found["low"] > found["null"]]["site"]) & set(heads.index)
        share = float(heads[sorted(readers)].sum() / table["logit"].sum())
        numbers[f"{name}_share_of_induction_heads"] = share
        numbers[f"{name}_share_of_heads"] = float(heads.sum() / table["logit"].sum())
        best = heads.nlargest(4)
        told.append(
            f"{name}: heads write {numbers[f'{name}_share_of_heads']:.0%} of the difference, those that read the "
            f"induction position {share:.0%}; largest {', '.join(best.index)}"
        )
    return Outcome("; ".join(told) + ".", numbers["attention_share_of_induction_heads"] > 0.5, numbers)
