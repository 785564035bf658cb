"""What a chunk does as a whole: four linear maps, from which every entry and every statistic of A is composed.

With a chunk's first state `S` and its values `V`, its outputs are ``queries S + matrix V`` and its last state is
``transition S + keys V``. An entry between two chunks is ``queries transition ... transition keys``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.kernels.delta.chunked import Chunks


@dataclass(frozen=True)
class Maps:
    """The maps of every chunk of a stretch.

    Attributes:
        matrix: the chunk's own block of A.
        queries: each step's query as it looks at the chunk's first state, after what the steps between erase.
        keys: what each step's value adds to the chunk's last state.
        transition: the product of the chunk's M.
    """

    span: slice
    matrix: Float[Tensor, "batch heads chunks step source"]
    queries: Float[Tensor, "batch heads chunks step key"]
    keys: Float[Tensor, "batch heads chunks key source"]
    transition: Float[Tensor, "batch heads chunks key key"]

    @property
    def count(self) -> int:
        """Number of chunks."""
        return self.matrix.shape[2]

    @property
    def length(self) -> int:
        """Steps a chunk."""
        return self.matrix.shape[3]


def maps(chunks: Chunks) -> Maps:
    """Solve for what every chunk does."""
    length = chunks.queries.shape[3]
    sources = chunks.found_sources
    if chunks.erases_what_it_writes:
        sources = torch.eye(length, dtype=sources.dtype, device=sources.device).expand_as(sources)
    solved = chunks.solve(torch.cat([sources, chunks.probes], dim=-1))
    of_values, of_state = solved[..., :length], solved[..., length:]
    if chunks.erases_what_it_writes:
        # of_values is what is written a value, once that which it finds has been taken away from it.
        matrix, keys = chunks.read_sources @ of_values, chunks.sources.mT @ of_values
    else:
        matrix = chunks.read_sources - chunks.read_erasers @ of_values
        keys = chunks.sources.mT - chunks.erasers.mT @ of_values
    decay = torch.diag_embed(chunks.total.expand_as(of_state[..., 0, :]))
    return Maps(
        span=chunks.span,
        matrix=matrix,
        queries=chunks.queries - chunks.read_erasers @ of_state,
        keys=keys,
        transition=decay - chunks.erasers.mT @ of_state,
    )
