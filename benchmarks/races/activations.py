"""Streaming activations against the bare forward pass: what reading, tokenizing and shuffling cost beyond it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import models
from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.records import Target

BARE, OURS, STREAM = "stock layers", "workbench, bare", "activation_stream"
SYLLABLES = (
    "ba",
    "co",
    "den",
    "fir",
    "gol",
    "hus",
    "lam",
    "mer",
    "nis",
    "por",
    "rud",
    "sel",
    "tam",
    "vor",
    "win",
    "zel",
)


@dataclass(frozen=True)
class Subject:
    """A stock model, how many of its layers run, and the windows it reads."""

    stock: Callable[..., Any]
    layers: int
    length: int
    windows: int
    passes: int
    text: bool


def races() -> tuple[Race, ...]:
    """The middle of SmolLM2."""
    return (race("SmolLM2-135M", Subject(models.smollm2, layers=15, length=128, windows=4, passes=2, text=True)),)


def race(label: str, subject: Subject) -> Race:
    """The residual stream after some layers, of every token of a text."""
    tokens = subject.length * subject.windows * subject.passes
    what = "text, tokenized as it is read" if subject.text else "rows of token ids"
    return Race(
        name="activation-stream",
        title=f"Activations of {label} as shuffled batches",
        shapes=f"{tokens} tokens in windows of {subject.length}, {subject.windows} a pass, {subject.layers} layers",
        contestants=(
            Contestant(
                BARE,
                "transformers' own model with the layers after it cut off, on the windows one pass after the other",
                partial(_bare, subject),
                _columns,
            ),
            Contestant(OURS, "`model(windows, stop_at_layer=...)`, no hooks", partial(_ours, subject), _columns),
            Contestant(
                STREAM,
                f"`activation_stream(model, source, site)` over the same tokens, from {what}",
                partial(_stream, subject),
                _columns,
            ),
        ),
        budget=60.0,
        warm_up=1,
        compare=((STREAM, OURS),),
        targets=(Target(side=STREAM, quantity="ratio", at_most=1.2),),
        oracle=partial(_in_float64, subject),
        error_against="the stock layers in float64, each column sorted, since the stream shuffles",
        notes="Under `torch.no_grad()`. The stream checks every row for NaN and holds its buffer in float32.",
    )


def _columns(batches: Sequence[Any]) -> Any:
    """The numbers of each column in order: the same for every order of the rows."""
    import torch

    return torch.cat([batch.flatten(0, -2) for batch in batches]).sort(0).values


def _windows(subject: Subject, tokenizer: Any = None) -> tuple[list[Any], Any]:
    """The windows of each pass, and what the stream reads them from."""
    import torch

    count = subject.length * subject.windows * subject.passes
    if not subject.text:
        rows = models.tokens(count, models.GPT2_VOCABULARY).reshape(-1, subject.length)
        return list(rows.split(subject.windows)), rows
    draw = random.Random(0)
    words = ["".join(draw.choices(SYLLABLES, k=draw.choice((1, 2, 3)))) for _ in range(count)]
    text = " ".join(words)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:count]
    text = tokenizer.decode(ids)
    if tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] != ids:
        raise CannotMeasure("The tokenizer does not give back the tokens of its own text.")
    return list(torch.tensor(ids).reshape(-1, subject.length).split(subject.windows)), [text]


def _tokenizer(subject: Subject) -> Any:
    if not subject.text:
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.smollm2_folder(), local_files_only=True)


def _cut(subject: Subject, **options: Any) -> Any:
    """The stock decoder with nothing after its first layers."""
    import torch

    model = subject.stock(**options)
    decoder = model.model if hasattr(model, "model") else model.transformer
    name = "layers" if hasattr(decoder, "layers") else "h"
    setattr(decoder, name, getattr(decoder, name)[: subject.layers])
    setattr(decoder, "norm" if hasattr(decoder, "norm") else "ln_f", torch.nn.Identity())
    return decoder


def _bare(subject: Subject) -> Callable[[], Any]:
    decoder = _cut(subject)
    passes, _ = _windows(subject, _tokenizer(subject))
    return lambda: [decoder(tokens, use_cache=False).last_hidden_state for tokens in passes]


def _ours(subject: Subject) -> Callable[[], Any]:
    import workbench

    model = workbench.load(subject.stock())
    passes, _ = _windows(subject, _tokenizer(subject))
    return lambda: [model(tokens, stop_at_layer=subject.layers) for tokens in passes]


def _stream(subject: Subject) -> Callable[[], Any]:
    import workbench
    from workbench.saes import TextSource, activation_stream

    tokenizer = _tokenizer(subject)
    model = workbench.load(subject.stock(), tokenizer=tokenizer)
    _, content = _windows(subject, tokenizer)
    stream = activation_stream(
        model,
        TextSource(content, subject.length),
        f"blocks.{subject.layers - 1}.hook_resid_post",
        batch=256,
        windows=subject.windows,
        buffer_bytes=2**26,
    )

    def call() -> Any:
        stream.restart()
        return list(stream)

    return call


def _in_float64(subject: Subject) -> Any:
    import torch

    decoder = _cut(subject, dtype=torch.float64)
    passes, _ = _windows(subject, _tokenizer(subject))
    return _columns([decoder(tokens, use_cache=False).last_hidden_state for tokens in passes])
