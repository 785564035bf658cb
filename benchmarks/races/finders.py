"""Head finders against the one packaged tool that has them: TransformerLens' head detector, on a softmax model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import models, transformer_lens_models
from benchmarks.race import Contestant, Race

OURS, LENS = "workbench", "TransformerLens head detector"
KINDS = ("previous_token", "duplicate_token", "induction")

Call = Callable[[], Any]


def races() -> tuple[Race, ...]:
    """SmolLM2's 270 heads."""
    return (race("SmolLM2-135M", models.smollm2, transformer_lens_models.hooked_llama, block=50),)


def race(label: str, stock: Callable[[], Any], hooked: Callable[[Any], Any], block: int) -> Race:
    """Three kinds of every head, on one sequence of random tokens repeated once."""
    return Race(
        name="finders-softmax",
        title=f"Previous-token, duplicate-token and induction scores of every head, {label}",
        shapes=f"batch 1, T = {2 * block}: two copies of {block} random tokens",
        contestants=(
            Contestant(
                OURS,
                "`find_heads(model, kind, seeds=0, batch=1)` for each kind: with 20 null draws a head, and bootstrap "
                "intervals",
                partial(_ours, stock, block),
            ),
            Contestant(
                LENS,
                "for each kind `run_with_cache` and `compute_head_attention_similarity_score` of every head's pattern, "
                "as `detect_head` does",
                partial(_lens, stock, hooked, block),
            ),
        ),
        budget=30.0,
        warm_up=1,
        oracle=partial(_in_float64, stock, block),
        error_against="the same shares out of whole patterns in float64",
        notes="The detector's scores are shares of all attention, scaled here to shares of the rows that count.",
        memory=True,
    )


def _task(model: Any, block: int) -> Any:
    from workbench import tasks

    return tasks.repeated_random_tokens(model, block, batch=1, seed=0)


def _ours(stock: Callable[[], Any], block: int) -> Call:
    import torch

    import workbench
    from workbench.probes import find_heads

    model = workbench.load(stock())

    def call() -> Any:
        tables = [find_heads(model, kind, seeds=0, batch=1, block=block) for kind in KINDS]
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
    first, again = torch.arange(1, 2 * block), torch.arange(block, 2 * block)
    places = ((first, first - 1), (again, again - block), (again, again - block + 1))
    return torch.stack([patterns[:, query, key].mean(-1) for query, key in places])
