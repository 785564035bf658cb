"""Head finders: beside the one packaged tool that has them, on a softmax model, and alone on a long recurrent one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import models, transformer_lens_models
from benchmarks.race import Contestant, Race
from benchmarks.races.beside_lens import OURS, Call, beside_lens
from benchmarks.records import Target

KINDS = ("previous_token", "duplicate_token", "induction")
LAYERS, LENGTH = 30, 4096
NULL_DRAWS = 1
"""Rivals a channel in the long race; each costs as much as what is asked for."""


def races() -> tuple[Race, ...]:
    """SmolLM2's 270 heads, and 46,080 channels."""
    return race("SmolLM2-135M", models.smollm2, transformer_lens_models.hooked_llama, block=50), streamed(LENGTH)


def race(label: str, stock: Callable[[], Any], hooked: Callable[[Any], Any], block: int) -> Race:
    """Three kinds of every head, on one sequence of random tokens repeated once."""
    return beside_lens(
        "finders-softmax",
        f"Previous-token, duplicate-token and induction scores of every head, {label}",
        f"batch 1, T = {2 * block}: two copies of {block} random tokens",
        ours=(
            "`find_heads(model, kind, seeds=0, batch=1)` for each kind: with 20 null draws a head, and bootstrap "
            "intervals",
            partial(_ours, stock, block),
        ),
        theirs=(
            "for each kind `run_with_cache` and `compute_head_attention_similarity_score` of every head's pattern, as "
            "`detect_head` does",
            partial(_lens, stock, hooked, block),
        ),
        peer="TransformerLens head detector",
        oracle=partial(_in_float64, stock, block),
        error_against="the same shares out of whole patterns in float64",
        notes="The detector's scores are shares of all attention, scaled here to shares of the rows that count.",
    )


def streamed(time: int, layers: int = LAYERS, width: int = 768, *, checked: bool = False) -> Race:
    """Three kinds of every channel of a Mamba, on one sequence; at a length whose matrices nothing could hold.

    Args:
        checked: compare with whole matrices in float64, which only small shapes leave room for.
    """
    vocabulary = max(models.MAMBA_VOCABULARY, time)

    def stock() -> Any:
        return models.mamba(None, layers, width, vocabulary)

    return Race(
        name=f"finders-mamba-{layers}",
        title=f"Previous-token, duplicate-token and induction scores of every channel of a Mamba of {layers} layers",
        shapes=(
            f"batch 1, T = {time}: two copies of {time // 2} random tokens; {layers} layers of mamba-130m's shapes "
            f"(width {width}, {2 * width} channels, state 16, convolution 4), random weights"
        ),
        contestants=(
            Contestant(
                OURS,
                f"`find_heads(model, kind, seeds=0, batch=1, null_draws={NULL_DRAWS})` for each kind, scope mixer: "
                f"places of {NULL_DRAWS + 1} kinds each, and the energy of every row",
                partial(_ours, stock, time // 2, null_draws=NULL_DRAWS),
                (lambda scores: scores) if checked else None,
            ),
        ),
        least=1,
        most=1,
        warm_up=0,  # tens of minutes a run; the imports of the first call count as its memory
        targets=(Target(side=OURS, quantity="peak_extra_mb", at_most=4000.0),),
        oracle=partial(_out_of_matrices, stock, time // 2) if checked else None,
        error_against="the same shares out of whole matrices in float64" if checked else "nothing",
        computed=partial(_matrices, time, layers, 2 * width),
        notes="Memory is beyond the loaded model. No peer has finders for recurrent models.",
        memory=True,
        threads=2,
    )


def _matrices(time: int, layers: int, channels: int) -> dict[str, str]:
    size = layers * channels * time**2 * 4 / 1e12
    return {f"the {layers * channels:,} matrices of {time} x {time} in float32 would take": f"{size:.1f} TB"}


def _task(model: Any, block: int) -> Any:
    from workbench import tasks

    return tasks.repeated_random_tokens(model, block, batch=1, seed=0)


def _ours(stock: Callable[[], Any], block: int, **options: int) -> Call:
    import torch

    import workbench
    from workbench.probes import find_heads

    model = workbench.load(stock())

    def call() -> Any:
        tables = [find_heads(model, kind, seeds=0, batch=1, block=block, **options) for kind in KINDS]
        ordered = [table.sort_values(["layer", "head"])["score"].to_numpy() for table in tables]
        return torch.stack([torch.from_numpy(scores.copy()) for scores in ordered])

    return call


def _lens(stock: Callable[[], Any], hooked: Callable[[Any], Any], block: int) -> Call:
    import torch
    from transformer_lens import head_detector

    import workbench

    detectors: Any = head_detector
    task = _task(workbench.load(stock()), block)
    model, time = hooked(stock()), task.tokens.shape[1]

    def one(kind: str) -> Any:
        name = "induction_head" if kind == "induction" else f"{kind}_head"
        where = getattr(detectors, f"get_{name}_detection_pattern")(task.tokens)
        _, cache = model.run_with_cache(task.tokens, remove_batch_dim=True)
        shares = [
            detectors.compute_head_attention_similarity_score(
                pattern,
                detection_pattern=where,
                exclude_bos=False,
                exclude_current_token=False,
                error_measure="mul",
            )
            for layer in range(model.cfg.n_layers)
            for pattern in cache["pattern", layer, "attn"]
        ]
        return torch.tensor(shares).double() * time / float(where.sum())

    return lambda: torch.stack([one(kind) for kind in KINDS])


def _in_float64(stock: Callable[[], Any], block: int) -> Any:
    import torch

    import workbench

    model = workbench.load(stock().double())
    task = _task(model, block)
    _, cache = model.run_with_cache(task.tokens, names_filter="hook_pattern")
    patterns = torch.cat([cache["pattern", layer][0] for layer in range(model.cfg.n_layers)])
    return _at_defining_places(patterns, block)


def _out_of_matrices(stock: Callable[[], Any], block: int) -> Any:
    import torch

    import workbench

    model = workbench.load(stock().double())
    runs = model.implicit_attentions(_task(model, block).tokens, None, "mixer")
    energies = torch.cat([attention.dense()[0].square() for _, attention in runs])
    return _at_defining_places(energies / energies.sum(-1, keepdim=True), block)


def _at_defining_places(shares: Any, block: int) -> Any:
    """The mean share of the sources that define each of the kinds, of ``[head, destination, source]``."""
    import torch

    first, again = torch.arange(1, 2 * block), torch.arange(block, 2 * block)
    places = ((first, first - 1), (again, again - block), (again, again - block + 1))
    return torch.stack([shares[:, query, key].mean(-1) for query, key in places])
