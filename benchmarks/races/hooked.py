"""Hooked models against the stock model and against TransformerLens: the forward pass, and everything cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import models, transformer_lens_models
from benchmarks.race import Contestant, Race
from benchmarks.records import Target

EAGER, SDPA = "stock eager", "stock sdpa"
OURS, OURS_PATTERNS = "workbench", "workbench, patterns too"
HOOKED, BRIDGE = "TransformerLens HookedTransformer", "TransformerLens TransformerBridge"

Wrap = Callable[[Any], Any]


@dataclass(frozen=True)
class Subject:
    """A stock model, the input it gets, and TransformerLens' two ways of wrapping it."""

    key: str
    label: str
    shapes: str
    stock: Callable[..., Any]
    tokens: Callable[[], Any]
    hooked: Wrap
    bridged: Wrap
    budget: float
    memory: bool


SUBJECTS = (
    Subject(
        key="smollm2",
        label="SmolLM2-135M",
        shapes="batch 1, T = 128; 30 layers, 9 heads (3 key-value heads), width 576, vocabulary 49,152",
        stock=models.smollm2,
        tokens=lambda: models.tokens(128, 49_000),
        hooked=transformer_lens_models.hooked_llama,
        bridged=lambda stock: transformer_lens_models.bridged_llama(stock, models.smollm2_folder()),
        budget=30.0,
        memory=True,
    ),
    Subject(
        key="gpt2",
        label="a small GPT-2",
        shapes=f"batch 1, T = 64; 4 layers, 4 heads, width 128, vocabulary {models.GPT2_VOCABULARY:,}, random weights",
        stock=models.gpt2,
        tokens=lambda: models.tokens(64, models.GPT2_VOCABULARY),
        hooked=transformer_lens_models.hooked_gpt2,
        bridged=transformer_lens_models.bridged_gpt2,
        budget=8.0,
        memory=False,  # a megabyte
    ),
)


def races() -> tuple[Race, ...]:
    """Forward and everything cached, of each subject."""
    return tuple(race for subject in SUBJECTS for race in (_forward(subject), _cached(subject)))


def _forward(subject: Subject) -> Race:
    return Race(
        name=f"forward-{subject.key}",
        title=f"Forward pass of {subject.label}",
        shapes=subject.shapes,
        contestants=(
            _stock(subject, EAGER, "eager"),
            _stock(subject, SDPA, "sdpa"),
            Contestant(OURS, "`workbench.load(stock model)(tokens)`, no hooks", lambda: _ours(subject)),
            Contestant(
                HOOKED, "`HookedTransformer(tokens)`, weights as they are", lambda: _lens(subject, subject.hooked)
            ),
            Contestant(BRIDGE, "`TransformerBridge(tokens)`", lambda: _lens(subject, subject.bridged)),
        ),
        budget=subject.budget,
        warm_up=1,
        compare=((OURS, SDPA), (OURS, HOOKED), (OURS, BRIDGE)),
        targets=(
            Target(side=OURS, quantity="ratio", at_most=1.05),
            Target(side=OURS, quantity="ratio", at_most=1.0, against=HOOKED),
            Target(side=OURS, quantity="ratio", at_most=1.0, against=BRIDGE),
        ),
        oracle=lambda: _oracle(subject),
        error_against="the stock model in float64 (eager attention)",
        notes="Under `torch.no_grad()`, logits only (the stock model with `use_cache=False`).",
    )


def _cached(subject: Subject) -> Race:
    return Race(
        name=f"cached-{subject.key}",
        title=f"run_with_cache of everything, {subject.label}",
        shapes=subject.shapes,
        contestants=(
            _stock(subject, EAGER, "eager"),
            Contestant(
                OURS,
                "`run_with_cache(tokens)`: every hook point but those on request",
                lambda: _ours_cached(subject),
                _first,
            ),
            Contestant(
                OURS_PATTERNS,
                "the same and every `hook_pattern`, which TransformerLens caches by default",
                lambda: _ours_cached(subject, patterns=True),
                _first,
            ),
            Contestant(
                HOOKED,
                "`HookedTransformer.run_with_cache(tokens)`",
                lambda: _lens_cached(subject, subject.hooked),
                _first,
            ),
            Contestant(
                BRIDGE,
                "`TransformerBridge.run_with_cache(tokens)`",
                lambda: _lens_cached(subject, subject.bridged),
                _first,
            ),
        ),
        budget=subject.budget,
        warm_up=1,
        compare=tuple((ours, theirs) for ours in (OURS, OURS_PATTERNS) for theirs in (HOOKED, BRIDGE)),
        targets=(
            Target(side=OURS, quantity="ratio", at_most=1.15),
            Target(side=OURS_PATTERNS, quantity="ratio", at_most=1.0, against=HOOKED),
            Target(side=OURS_PATTERNS, quantity="ratio", at_most=1.0, against=BRIDGE),
        ),
        oracle=lambda: _oracle(subject),
        error_against="the stock model in float64 (eager attention)",
        notes="Under `torch.no_grad()`; the baseline is the stock forward pass, which caches nothing.",
        memory=subject.memory,
    )


def _first(result: Any) -> Any:
    return result[0]


def _stock(subject: Subject, name: str, attention: str) -> Contestant:
    def build() -> Callable[[], Any]:
        model, tokens = subject.stock(attention), subject.tokens()
        return lambda: model(tokens, use_cache=False).logits

    return Contestant(name, f"transformers' own forward pass, `attn_implementation='{attention}'`", build)


def _hook(subject: Subject) -> Any:
    import workbench

    return workbench.load(subject.stock("eager"))


def _ours(subject: Subject) -> Callable[[], Any]:
    model, tokens = _hook(subject), subject.tokens()
    return lambda: model(tokens)


def _ours_cached(subject: Subject, patterns: bool = False) -> Callable[[], Any]:
    model, tokens = _hook(subject), subject.tokens()
    names = [*model.points.select(None), *model.points.select("mixer.hook_pattern")] if patterns else None
    return lambda: model.run_with_cache(tokens, names_filter=names)


def _lens(subject: Subject, wrap: Wrap) -> Callable[[], Any]:
    model, tokens = wrap(subject.stock("eager")), subject.tokens()
    return lambda: model(tokens)


def _lens_cached(subject: Subject, wrap: Wrap) -> Callable[[], Any]:
    model, tokens = wrap(subject.stock("eager")), subject.tokens()
    return lambda: model.run_with_cache(tokens)


def _oracle(subject: Subject) -> Any:
    import torch

    return subject.stock("eager", torch.float64)(subject.tokens(), use_cache=False).logits
