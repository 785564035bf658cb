"""Our training beside sae-lens' own on data whose features are known: ``python -m benchmarks.sae_synthetic``.

Both are trained on the same samples of sae-lens' synthetic data, with the same settings and several seeds, and both are
judged by `workbench.saes.judging.judge_recovery` on other samples. Ours is held to lie within the spread of theirs. A
third side is ours with its own default of when a feature counts as dead: after a twentieth of the steps, not 1000.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

MEASURES = ("mcc", "uniqueness", "precision", "recall", "f1", "explained_variance", "l0", "dead")
RATE = 1e-3
BATCH = 512
DEAD_WINDOW = 1000
"""Steps, sae-lens' default."""
LEVEL = 0.99
"""Means that differ by more than seeds do in 99 of 100 cases do not agree."""


def main(
    architecture: Annotated[list[str] | None, typer.Option(help="topk, batchtopk, standard; all by default.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each side.")] = 5,
    features: Annotated[int, typer.Option(min=4, help="True features, and features to learn.")] = 64,
    width: Annotated[int, typer.Option(min=2, help="Numbers a vector.")] = 40,
    firing: Annotated[float, typer.Option(help="How often a true feature fires.")] = 0.05,
    samples: Annotated[int, typer.Option(min=BATCH, help="Vectors to train on.")] = 400_000,
    out: Annotated[Path | None, typer.Option(help="Markdown file for the table.")] = None,
) -> None:
    """Train both sides and print one row an architecture and measure."""
    lines = [
        f"Synthetic recovery: {features} features in {width} numbers, each firing {firing:.0%} of the time, "
        f"{samples} vectors, {seeds} seeds; mean ± standard deviation.",
        "",
        "| architecture | measure | workbench | sae-lens | within its spread | workbench, its own dead window |",
        "| --- | --- | ---: | ---: | :---: | ---: |",
    ]
    for name in architecture or ("topk", "batchtopk", "standard"):
        found = [each(name, seed, features, width, firing, samples) for seed in range(seeds)]
        for measure in MEASURES:
            ours, theirs, own = ([one[side][measure] for one in found] for side in range(3))
            verdict = "yes" if agree(ours, theirs) else "no"
            lines.append(f"| {name} | {measure} | {_told(ours)} | {_told(theirs)} | {verdict} | {_told(own)} |")
    text = "\n".join(lines)
    print(text)
    if out is not None:
        from workbench.report import write_atomically

        write_atomically(out, text + "\n")


def each(
    architecture: str, seed: int, features: int, width: int, firing: float, samples: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Scores of one training of ours, one of theirs, and one of ours by its own dead window, on the same data."""
    from sae_lens.synthetic import train_toy_sae

    from workbench.saes.training import SaeTraining, SaeTrainingOptions
    from workbench.saes.training.classes import learnt

    k = max(1.0, features * firing)
    options = SaeTrainingOptions(
        architecture=architecture,
        d_sae=features,
        k=round(k) if architecture == "topk" else k,
        tokens=samples // BATCH * BATCH,
        batch=BATCH,
        learning_rate=RATE,
        warm_up=0.0,
        decay=0.0,
        sparsity=0.2,
        normalise=False,
        dead_window=DEAD_WINDOW,
        centre=False,
        seed=seed,
        more={"l1_warm_up_steps": 0} if architecture == "standard" else {},
    )
    dictionary, generator = _data(seed, features, width, firing)
    ours, own = (
        SaeTraining(one, width, progress=False).run(_vectors(dictionary, generator, options.steps, seed))
        for one in (options, replace(options, dead_window=None))
    )
    peer = _peer(options, width)
    _seeded(seed)
    train_toy_sae(peer, dictionary, generator, options.tokens, BATCH, lr=RATE)
    theirs = learnt(peer, options, (1.0, 1.0), {}, None)
    first, second, third = (_scores(sae, dictionary, generator, seed) for sae in (ours, theirs, own))
    return first, second, third


def agree(ours: list[float], theirs: list[float]) -> bool:
    """Whether the means differ by no more than seeds do: Welch's t test, or not at all where nothing varies."""
    from scipy.stats import ttest_ind

    if statistics.pstdev(ours) + statistics.pstdev(theirs) == 0:
        return ours == theirs
    return bool(ttest_ind(ours, theirs, equal_var=False).pvalue > 1 - LEVEL)


def _peer(options: Any, width: int) -> Any:
    """sae-lens' own training class with the settings that ours have, as its users would write them."""
    import torch
    from sae_lens.registry import get_sae_training_class

    base, config = get_sae_training_class(options.architecture)
    settings: dict[str, Any] = (
        {"l1_coefficient": options.sparsity, "l1_warm_up_steps": 0}
        if options.architecture == "standard"
        else {"k": options.k}
    )
    torch.manual_seed(1000 + options.seed)
    return base(config(d_in=width, d_sae=options.d_sae, **settings))


def _data(seed: int, features: int, width: int, firing: float) -> tuple[Any, Any]:
    import torch
    from sae_lens import synthetic

    dictionary = synthetic.FeatureDictionary(features, width, seed=seed)
    return dictionary, synthetic.ActivationGenerator(features, torch.full((features,), firing))


def _vectors(dictionary: Any, generator: Any, steps: int, seed: int) -> Any:
    from workbench.saes.judging import synthetic_batches

    _seeded(seed)
    for _, vectors in synthetic_batches(dictionary, generator, steps * BATCH, BATCH):
        yield vectors


def _scores(sae: Any, dictionary: Any, generator: Any, seed: int) -> dict[str, float]:
    from workbench.saes.judging import judge_recovery, synthetic_batches

    _seeded(10_000 + seed)
    batches = synthetic_batches(dictionary, generator, 20_000, 5_000)
    table = judge_recovery(sae, dictionary.feature_vectors.detach(), batches).table()
    return dict(zip(table["measure"], table["value"], strict=True))


def _seeded(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _told(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    typer.run(main)
