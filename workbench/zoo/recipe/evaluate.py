"""What a member can do: copy, and predict English it has not seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from workbench.zoo.model import ZooModel

LENGTHS = (4, 8, 16, 32, 64)
GAP = 64
REAL_GAP = 96
SEQUENCES = 64


@torch.no_grad()
def copy_accuracy(model: ZooModel, length: int, gap: int = 0, sequences: int = SEQUENCES, seed: int = 1234) -> float:
    """Share of tokens 2..length of a block's second copy that are the model's first choice.

    The sequence is the block, ``gap`` other tokens and the block again, all drawn uniformly, distinct within the
    block, without the special token. The first token is left out because after a gap nothing announces it.
    """
    random = np.random.default_rng([seed, length, gap])
    rows = []
    for _ in range(sequences):
        block = 1 + random.choice(model.config.vocab_size - 1, size=length, replace=False)
        rows.append(np.concatenate([block, 1 + random.integers(model.config.vocab_size - 1, size=gap), block]))
    return _second_copy_accuracy(model, torch.from_numpy(np.stack(rows)), length)


@torch.no_grad()
def real_copy_accuracy(
    model: ZooModel,
    tokenizer: Tokenizer,
    documents: list[str],
    length: int = 32,
    sequences: int = SEQUENCES,
    seed: int = 1234,
) -> float:
    """As ``copy_accuracy``, with a block of held-out English and 96 tokens of other held-out English between."""
    random = np.random.default_rng(seed)
    tokens = np.concatenate([tokenizer.encode(document).ids for document in documents])
    rows = []
    for _ in range(sequences):
        at, between = random.integers(len(tokens) - REAL_GAP, size=2)
        block = tokens[at : at + length]
        rows.append(np.concatenate([block, tokens[between : between + REAL_GAP], block]))
    return _second_copy_accuracy(model, torch.from_numpy(np.stack(rows)), length)


def _second_copy_accuracy(model: ZooModel, tokens: torch.Tensor, length: int) -> float:
    predicted = torch.cat([model(part).logits[:, -length:-1].argmax(-1) for part in tokens.split(16)])
    return (predicted == tokens[:, -length + 1 :]).float().mean().item()


@torch.no_grad()
def text_loss(
    model: ZooModel, tokenizer: Tokenizer, documents: list[str], windows: int | None = None
) -> tuple[float, float]:
    """Nats a token and bits a byte on documents, each begun with the special token.

    Windows of the trained context, half overlapping: a token is scored once, with at least half a context before
    it (less at a document's start). ``windows`` keeps that many, evenly spread.
    """
    context = model.config.context
    spans = []
    for document in documents:
        ids = [model.config.bos_token_id, *tokenizer.encode(document).ids]
        for start in range(0, max(1, len(ids) - context // 2), context // 2):
            part = ids[start : start + context + 1]
            spans.append((part, 0 if start == 0 else context // 2))
    if windows is not None:
        spans = [spans[i] for i in np.linspace(0, len(spans) - 1, windows).astype(int)]
    nats, tokens, size = 0.0, 0, 0
    for at in range(0, len(spans), 16):
        rows = [torch.tensor(part) for part, _ in spans[at : at + 16]]
        inputs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        logits = model(inputs[:, :-1]).logits
        for row, (_, skip), scores in zip(rows, spans[at : at + 16], logits, strict=True):
            targets = row[1 + skip :]
            nats += F.cross_entropy(scores[skip : len(row) - 1].float(), targets, reduction="sum").item()
            tokens += len(targets)
            # A byte-level token is written with one character a byte, which decoding cut text would not preserve.
            size += sum(len(tokenizer.id_to_token(token) or "") for token in targets.tolist())
    return nats / tokens, nats / math.log(2) / size


def full_report(model: ZooModel, tokenizer: Tokenizer, documents: list[str]) -> dict[str, Any]:
    """Every number of a member's card."""
    model.eval()
    nats, bits = text_loss(model, tokenizer, documents)
    return {
        "copy": {str(n): copy_accuracy(model, n) for n in LENGTHS},
        "copy_after_gap": {str(n): copy_accuracy(model, n, gap=GAP) for n in LENGTHS},
        "gap": GAP,
        "real_copy": real_copy_accuracy(model, tokenizer, documents),
        "nats_per_token": nats,
        "bits_per_byte": bits,
        "held_out_bytes": sum(len(document.encode()) for document in documents),
        "sequences": SEQUENCES,
        "samples": samples(model, tokenizer),
    }


@torch.no_grad()
def samples(
    model: ZooModel, tokenizer: Tokenizer, prompt: str = "The people of the United States", n: int = 2
) -> list[str]:
    """Continuations of 60 tokens at temperature 0.7, with a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    prefix = [model.config.bos_token_id, *tokenizer.encode(prompt).ids]
    texts = []
    for _ in range(n):
        tokens, cache = list(prefix), None
        step = torch.tensor([tokens])
        for _ in range(60):
            output = model(step, cache=cache, use_cache=True)
            cache = output.past_key_values
            drawn = torch.multinomial((output.logits[0, -1].float() / 0.7).softmax(-1), 1, generator=generator)
            tokens.append(int(drawn))
            step = drawn[None]
        texts.append(tokenizer.decode(tokens[1:]))
    return texts
