"""Copying heads: they raise the logit of the token that they read, wherever they look.

What a head reads is one thing (prefix matching, the kind ``"induction"``) and what it writes another. Two measures,
both for every family: ``"copying"`` is what the head really added on a text, ``"copying_circuit"`` what its weights
would do with any token.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.attention import ImplicitAttention
from workbench.direct_logits.anatomy import Anatomy, Writer
from workbench.direct_logits.norms import LinearNorm
from workbench.errors import InputError
from workbench.kernels.blocking import blocks
from workbench.model import HookedModel
from workbench.probes.heads.kinds import HeadKind, add_kind
from workbench.probes.heads.options import Looking, as_seeds, check_block
from workbench.probes.heads.paths import direct_paths, token_directions, writing
from workbench.probes.heads.reading import last_copies
from workbench.probes.heads.shares import Shares
from workbench.probes.heads.tally import Tally
from workbench.progress import tracked
from workbench.tasks import RepeatedTokens, Vocabulary, repeated_random_tokens


@torch.no_grad()
def copying_heads(
    model: HookedModel,
    *,
    seeds: Sequence[int] | int = (0, 1, 2),
    batch: int = 4,
    block: int = 50,
    bos: bool | int | None = None,
    layers: Sequence[int] | int | None = None,
    mixer: int | None = None,
    group: int = 1,
    null_draws: int = 20,
    null_level: float = 0.95,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """How much every head's output raises the logit of the tokens that it reads, in logits.

    At each destination of the second copy the head's own contribution to the residual stream (`hook_head_out` through
    the output projection) goes straight to the unembedding, with the final norm's scale held at what it was: so many
    logits for each token of the text, of which their mean is subtracted. The score is their average over what the head
    reads there, weighed by its shares of the row (`Shares`; the whole mixer, mass for softmax and energy for recurrent
    mixers), then over destinations. The null distribution pairs what is read with other tokens of the same text. Mixers
    that do not write into the residual stream are left out. Whole rows are read, so the time grows with the square of
    `block`.

    This is the copying score of Olsson et al. 2022 ("In-context Learning and Induction Heads") without its rectifier,
    in logits instead of a share. Options and columns as in `find_heads`.

    Raises:
        InputError: as `find_heads`; UnsupportedFamilyError where a head's way to the logits is not linear.
    """
    check_block(block, null_draws)
    found, looking = writing(model, Looking.at(model, layers, mixer, group, null_level, level))
    tally = Tally(looking)
    tasks = [repeated_random_tokens(model, block, batch=batch, seed=seed, bos=bos) for seed in as_seeds(seeds)]
    shifts = range(min(null_draws, block - 1) + 1)
    for task in tracked(tasks, progress, "looking for copying heads"):
        raised = _Raised(model, found, task)
        for layer, attention in model.implicit_attentions(task.tokens, looking.layers, "mixer", mixer=None):
            adapter = model.mixer(layer, attention.mixer)
            if adapter not in looking.wanted:
                continue
            own = raised.over_what_is_read(attention, found.heads[adapter], looking.rows_of(adapter), shifts)
            tally.add(adapter, own[0], own[1:].mean(1), attention.default_normalise)
    return tally.table("copying", "mixer")


class _Raised:
    """The logits of a text's own tokens, and how much of them a head's output is."""

    def __init__(self, model: HookedModel, found: Anatomy, task: RepeatedTokens) -> None:
        self.query = last_copies(task)
        directions = token_directions(model, found, task.tokens.flatten()).unflatten(0, tuple(task.tokens.shape))
        # Only differences between tokens count.
        self.directions = directions - directions.mean(1, keepdim=True)
        last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
        _, cache = model.run_with_cache(task.tokens, names_filter=[last], return_type=None)
        stream = cache[last][:, self.query]
        self.scale = torch.ones_like(stream[..., :1])
        if found.final_norm is not None:
            norm = found.final_norm
            self.scale = LinearNorm.of(norm, stream).inverse_scale(stream, type(norm).forward(norm, stream))

    def over_what_is_read(
        self, attention: ImplicitAttention, writer: Writer, rows: int, shifts: Sequence[int]
    ) -> Float[Tensor, "shifts batch rows"]:
        """For each shift, the logits of the tokens that stand so many places after what is read."""
        batch, _, _, source = attention.shape
        shares = Shares(attention, rows, attention.default_normalise)
        outputs = attention.form.outputs.flatten(2)
        total = torch.zeros(len(shifts), batch, rows, dtype=torch.float64)
        each = batch * max(attention.units * source, rows * self.directions.shape[-1])
        for some in blocks(len(self.query), each):
            query = self.query[some]
            written = writer.contributions(outputs[:, query], rows) * self.scale[:, some, None]
            logits = torch.einsum("bnrd,bsd->brns", written, self.directions.to(written))
            read = shares.rows_at(query)
            for number, shift in enumerate(shifts):
                moved = logits if shift == 0 else logits.roll(-shift, -1)
                total[number] += (read * moved).sum((-1, -2)).double().cpu()
        return total / len(self.query)


@torch.no_grad()
def copying_circuits(
    model: HookedModel,
    *,
    tokens: int = 1000,
    seeds: Sequence[int] | int = (0, 1, 2),
    layers: Sequence[int] | int | None = None,
    mixer: int | None = None,
    group: int = 1,
    null_draws: int = 20,
    null_level: float = 0.95,
    level: float = 0.95,
    progress: bool = False,
) -> pd.DataFrame:
    """The eigenvalues of every head's circuit from token to logit: ``sum(lambda) / sum(|lambda|)``, from -1 to 1.

    Entry ``[i, j]`` of the circuit says how much the head, having read token `i`, raises the logit of token `j`: the
    token's embedding through the block's norm, the head's values and output projection, the final norm's weight and the
    unembedding, all up to one positive factor a token. Where it copies, most eigenvalues are positive (Elhage et al.
    2021, "A Mathematical Framework for Transformer Circuits"; the copying score of Olsson et al. 2022). Nothing is run
    but one-token texts; see `workbench.probes.heads.paths` for what is held fixed in recurrent mixers, the sign of
    whose reading is not in the circuit. A single channel has one eigenvalue, so `group` Mamba-1's.

    Args:
        tokens: how many tokens the circuit is restricted to, drawn anew for every seed; intervals are over seeds. The
            null distribution mixes up which outcome belongs to which token.

    Other options and columns as in `find_heads`.

    Raises:
        InputError: as `find_heads`; fewer than two tokens; UnsupportedFamilyError as `copying_heads`.
    """
    if tokens < 2:
        raise InputError(f"tokens is {tokens}; a circuit from tokens to tokens needs at least 2.")
    check_block(2, null_draws)
    found, looking = writing(model, Looking.at(model, layers, mixer, group, null_level, level))
    known = Vocabulary.of(model)
    ids = known.plain()
    tally = Tally(looking)
    for seed in tracked(as_seeds(seeds), progress, "looking for copying circuits"):
        generator = torch.Generator().manual_seed(seed)
        chosen = ids[torch.randperm(len(ids), generator=generator)[:tokens]].to(known.device)
        mixed_up = [torch.randperm(len(chosen), generator=generator) for _ in range(null_draws)]
        directions = token_directions(model, found, chosen)
        directions = directions - directions.mean(0)
        for path in direct_paths(model, embedded(model, chosen), found, looking):
            columns = (path.out @ directions.T).to(path.values)
            rivals = torch.stack([_positive(path.values, columns[..., p]) for p in mixed_up])
            tally.add(path.adapter, _positive(path.values, columns)[None], rivals, "eigenvalues")
    return tally.table("copying_circuit", "mixer")


@torch.no_grad()
def embedded(model: HookedModel, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n model"]:
    """What the first block reads of each token alone (with the first position's embedding, where those are learned)."""
    _, cache = model.run_with_cache(
        tokens[:, None], names_filter=["blocks.0.hook_resid_pre"], return_type=None, stop_at_layer=1
    )
    return cache["blocks.0.hook_resid_pre"][:, 0]


def _positive(
    values: Float[Tensor, "tokens rows channels"], columns: Float[Tensor, "rows channels tokens"]
) -> Float[Tensor, " rows"]:
    """``sum(lambda) / sum(|lambda|)`` of ``values @ columns``, whose eigenvalues are those of ``columns @ values``."""
    inner = torch.einsum("rcn,nrd->rcd", columns, values).double().cpu()
    eigenvalues = torch.linalg.eigvals(inner)
    share: Tensor = eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1).clamp(min=1e-300)
    return share


add_kind(
    HeadKind(
        "copying",
        "raise the logit of the tokens that they read, on this text",
        "Olsson et al. 2022, In-context Learning and Induction Heads",
        copying_heads,
    )
)
add_kind(
    HeadKind(
        "copying_circuit",
        "would raise the logit of whatever token they read: their circuit's eigenvalues are positive",
        "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
        copying_circuits,
    )
)
