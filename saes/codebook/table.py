"""What each code of a codebook stands for: how often it is chosen, at which tokens, and where most clearly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.progress import tracked
from workbench.saes.codebook.codebook import Codebook
from workbench.saes.site import VectorSite, read_vectors
from workbench.saes.streams import TokenBatch, as_source

if TYPE_CHECKING:
    import pandas as pd

BEFORE = 8
"""Tokens of context before the one that an example is about."""


def code_table(
    model: HookedModel,
    codebook: Codebook,
    source: Any,
    *,
    tokens: int = 100_000,
    length: int | None = None,
    windows: int = 16,
    top: int = 5,
    site: VectorSite | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """One row a code, the most frequent first.

    Columns are ``code``; ``count``, of tokens that have it; ``share`` of all tokens; ``tokens``, the commonest of them
    as text; ``token_share``, how many of its tokens those are; ``similarity``, the largest cosine, and ``example``, the
    text that ends at that token. A code that is never chosen has empty ones.

    Args:
        source: as of `as_source`.
        tokens: read about so many.
        top: tokens to name.
        site: where, when the codebook does not say.
        progress: show a progress bar.

    Raises:
        InputError: no token was read; see `Codebook.site`.
    """
    import pandas as pd

    at = codebook.site(model) if site is None else site
    found = _Found(model, codebook)
    text = as_source(source, length)
    passes = max(1, tokens // (windows * len(at.positions(text.length)) or 1))
    for batch in tracked(text.batches(model, windows), progress, "reading codes", passes):
        found.read(at, batch)
        if found.total >= tokens:
            break
    if not found.total:
        raise InputError("There is no token whose codes could be told.")
    rows = [found.row(code, top) for code in range(len(codebook.codes))]
    return pd.DataFrame(rows).sort_values(["count", "code"], ascending=[False, True], ignore_index=True)


class _Found:
    """Counts of codes and tokens so far, and the clearest example of each code."""

    def __init__(self, model: HookedModel, codebook: Codebook) -> None:
        self.model, self.codebook = model, codebook
        self.total = 0
        n_codes = len(codebook.codes)
        self.pairs = torch.zeros(0, dtype=torch.long)  # code * vocabulary + token, ascending
        self.counts = torch.zeros(0, dtype=torch.long)
        self.best = torch.full((n_codes,), -torch.inf)
        self.examples: dict[int, Tensor] = {}

    @torch.no_grad()
    def read(self, site: VectorSite, batch: TokenBatch) -> None:
        where = list(site.positions(batch.tokens.shape[1]))
        if not where:
            return
        passed = read_vectors(self.model, batch.tokens.to(self.model.cfg.device), [site])[0][0]
        text = batch.text[:, where]
        vectors = passed[text.to(passed.device)]
        scores = self.codebook.similarities(vectors).cpu()
        values, codes = scores.topk(self.codebook.k, dim=-1)
        ids = batch.tokens[:, where][text]
        self.total += len(ids)
        self._count(codes, ids)
        windows, places = text.nonzero().T
        self._examples(values, codes, batch.tokens, windows, torch.tensor(where)[places])

    def _count(self, codes: Tensor, ids: Tensor) -> None:
        pairs = (codes * self.model.cfg.d_vocab + ids[:, None]).flatten()
        every, which = torch.cat([self.pairs, pairs]).unique(return_inverse=True)
        weights = torch.cat([self.counts, torch.ones_like(pairs)])
        self.pairs, self.counts = every, torch.zeros_like(every).index_add_(0, which, weights)

    def _examples(self, values: Tensor, codes: Tensor, tokens: Tensor, windows: Tensor, places: Tensor) -> None:
        flat, scores = codes.flatten(), values.flatten()
        # The clearest token of every code in this pass, of equal ones the first.
        order = scores.argsort(descending=True, stable=True)
        seen, first = flat[order].unique(return_inverse=True)
        clearest = order[
            torch.full((len(seen),), len(order)).scatter_reduce(0, first, torch.arange(len(order)), "amin")
        ]
        for code, index in zip(seen.tolist(), clearest.tolist(), strict=True):
            if float(scores[index]) > float(self.best[code]):
                self.best[code] = scores[index]
                window, place = int(windows[index // codes.shape[1]]), int(places[index // codes.shape[1]])
                self.examples[code] = tokens[window, max(0, place - BEFORE) : place + 1]

    def row(self, code: int, top: int) -> dict[str, Any]:
        vocabulary = self.model.cfg.d_vocab
        low, high = (int(torch.searchsorted(self.pairs, (code + step) * vocabulary)) for step in (0, 1))
        counts = self.counts[low:high]
        count = int(counts.sum())
        commonest = counts.argsort(descending=True, stable=True)[:top]
        ids = (self.pairs[low:high][commonest] - code * vocabulary).tolist()
        return {
            "code": code,
            "count": count,
            "share": count / self.total,
            "tokens": [self._text([token]) for token in ids],
            "token_share": float(counts[commonest].sum()) / count if count else 0.0,
            "similarity": float(self.best[code]) if count else float("nan"),
            "example": self._text(self.examples[code].tolist()) if count else "",
        }

    def _text(self, ids: list[int]) -> str:
        return str(self.model.to_string(ids)) if self.model.tokenizer is not None else " ".join(map(str, ids))
