"""Induction, previous-token and duplicate-token scores of every channel of a Mamba layer, against a matrix each.

TransformerLens builds what it calls effective attention: for every channel and every state dimension a matrix of
``[time, time]``. So it runs at the longest sequence whose matrices fit into this machine's memory, and what it would
take at the length of the row is extrapolated with the square of the length; ours runs at both lengths.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import models, transformer_lens_models
from benchmarks.race import Contestant, Race
from benchmarks.races.state_edits import require_state_space_hooks
from benchmarks.records import Target

OURS, SHORTER, LENS = "workbench", "workbench, the shorter length", "TransformerLens effective attention"
STATE = 16
# Matrices of [channels, state, time, time] in float32 that it holds at once: exponents, their exponentials, zeros and
# the masked choice between the two.
HELD = 4

Call = Callable[[], Any]


def races() -> tuple[Race, ...]:
    """One layer of mamba-130m's shapes at 2048 tokens."""
    return (race(2048, longest(2 * 768)),)


def longest(channels: int, share: float = 0.75) -> int:
    """The longest sequence, a multiple of 16, whose matrices take at most a share of this machine's memory."""
    memory = share * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int((memory / (HELD * 4 * channels * STATE)) ** 0.5) // 16 * 16


def race(time: int, shorter: int, width: int = 768) -> Race:
    """One layer, at `time` tokens and at `shorter`."""
    growth = (time / shorter) ** 2
    return Race(
        name="scores-mamba",
        title="Induction, previous-token and duplicate-token scores of every channel of one Mamba layer",
        shapes=(
            f"batch 1, T = {time}: two copies of {time // 2} random tokens; one layer of mamba-130m's shapes (width "
            f"{width}, {2 * width} channels, state {STATE}), random weights. TransformerLens: T = {shorter}, the "
            "longest whose matrices take at most three quarters of this machine's memory"
        ),
        contestants=(
            Contestant(
                OURS,
                '`model.implicit_attention(tokens, 0, scope="core")`, its `row_energy()` and `pairs(...)` of the three '
                "kinds, the mean share of each",
                partial(_ours, time, width),
                oracle=lambda: _in_float64(time, width),
            ),
            Contestant(
                SHORTER,
                f"the same at T = {shorter}",
                partial(_ours, shorter, width),
                oracle=lambda: _dense(shorter, width),
            ),
            Contestant(
                LENS,
                "`TransformerBridge.run_with_cache(tokens)` with the two hooks it needs, then "
                "`blocks[0].mixer.compute_effective_attention(cache, 0, include_dt_scaling=True)`, the squares of its "
                f"rows summed and the same places read, at T = {shorter}",
                partial(_lens, shorter, width),
                extrapolate=growth,
                oracle=lambda: _dense(shorter, width),
            ),
        ),
        least=3,
        budget=60.0,
        warm_up=1,
        compare=((LENS, SHORTER),),
        targets=(
            Target(side=LENS, quantity="ratio", at_least=100),
            Target(side=LENS, quantity="memory_ratio", at_least=100),
        ),
        error_against=(
            f"the whole matrices of our sequential reference in float64 at T = {shorter}; at T = {time}, where they do "
            "not fit, against the same calls in float64"
        ),
        notes=(
            "Under `torch.no_grad()`, the model's forward pass included on both sides. A score is the mean over its "
            "pairs of the squared entry over the sum of squares of its row."
        ),
        memory=True,
        threads=2,
        environment="ssm-hooks",
    )


def _places(model: Any, time: int) -> tuple[Any, list[tuple[Any, Any]]]:
    """Tokens repeated once, and the (query, key) pairs of each kind."""
    import torch

    from workbench import tasks

    block = time // 2
    first, again = torch.arange(1, time), torch.arange(block, time)
    # Induction, previous token, duplicate token.
    places = [(again, again - block + 1), (first, first - 1), (again, again - block)]
    return tasks.repeated_random_tokens(model, block, batch=1, seed=0).tokens, places


def _ours(time: int, width: int, dtype: Any = None) -> Call:
    import torch

    import workbench

    model = workbench.load(models.mamba(dtype, width=width))
    tokens, places = _places(model, time)
    query, key = (torch.cat(positions) for positions in zip(*places, strict=True))
    lengths = [len(one) for one, _ in places]

    def call() -> Any:
        attention = model.implicit_attention(tokens, 0, scope="core")
        shares = attention.pairs(query, key).square_() / attention.row_energy()[:, :, query]
        return torch.stack([part.mean(-1)[0] for part in shares.split(lengths, dim=-1)])

    return call


def _lens(time: int, width: int) -> Call:
    import workbench

    require_state_space_hooks()
    tokens, places = _places(workbench.load(models.mamba(width=width)), time)
    bridge = transformer_lens_models.bridged_mamba(models.mamba(width=width))
    names = [f"blocks.0.mixer.{part}.hook_out" for part in ("x_proj", "dt_proj")]

    def call() -> Any:
        _, cache = bridge.run_with_cache(tokens, names_filter=names)
        return _read(bridge.blocks[0].mixer.compute_effective_attention(cache, 0, include_dt_scaling=True)[0], places)

    return call


def _read(matrices: Any, places: list[tuple[Any, Any]]) -> Any:
    """Scores out of whole matrices ``[channels, time, time]``."""
    import torch

    energies = matrices.square().sum(-1)
    return torch.stack([(matrices[:, query, key].square() / energies[:, query]).mean(-1) for query, key in places])


def _in_float64(time: int, width: int) -> Any:
    import torch

    return _ours(time, width, torch.float64)()


def _dense(time: int, width: int) -> Any:
    import torch

    import workbench

    model = workbench.load(models.mamba(torch.float64, width=width))
    tokens, places = _places(model, time)
    form = model.mixer_form(tokens, 0).core
    return _read(workbench.kernels.dense(form, backend="reference")[0], places)
