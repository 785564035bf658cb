"""From documents to token arrays, made once and kept beside the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from workbench.zoo.recipe import corpus
from workbench.zoo.recipe.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Data:
    """The tokenizer, the training text as one array of tokens, and the held-out documents as text."""

    tokenizer: Tokenizer
    text: np.ndarray
    held_out: list[str]


def load_data(folder: Path, vocab_size: int, downloads: Path | None = None) -> Data:
    """Fetch the corpus into ``folder`` if need be, train the tokenizer on its training part, and encode it."""
    train, held_out = corpus.documents(corpus.prepare(folder, downloads))
    saved = folder / f"tokenizer-{vocab_size}.json"
    if not saved.exists():
        partial = saved.with_suffix(".partial")
        train_tokenizer(train, vocab_size).save(str(partial))
        partial.replace(saved)
    tokenizer = Tokenizer.from_file(str(saved))
    pieces = []
    for encoded in tokenizer.encode_batch(train):
        pieces += [[0], encoded.ids]  # token 0 stands between documents
    return Data(tokenizer, np.concatenate([np.array(p, dtype=np.int64) for p in pieces]), held_out)
