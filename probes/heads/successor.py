"""Successor heads: having read Monday, they raise the logit of Tuesday, and so with months, numbers and letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.probes.heads.copying import embedded
from workbench.probes.heads.kinds import CausalTask, HeadKind, add_kind
from workbench.probes.heads.null import check_draws
from workbench.probes.heads.options import Looking
from workbench.probes.heads.paths import direct_paths, token_directions, writing
from workbench.probes.heads.table import head_table
from workbench.tasks import Vocabulary
from workbench.tasks.ordinals import ORDINAL_CLASSES, OrdinalClass, ordinals

LEAST = 3  # members of a class: with two, the successor is whatever the token is not


@dataclass(frozen=True)
class OrdinalTokens:
    """The members of a class that are one token each, in order.

    Attributes:
        name: of the class.
        tokens: ids of the members.
        successor: for each member the place of its successor among them, -1 where that is missing.
    """

    name: str
    tokens: Int[Tensor, " members"]
    successor: Int[Tensor, " members"]


def ordinal_tokens(known: Vocabulary, classes: Mapping[str, OrdinalClass] = ORDINAL_CLASSES) -> list[OrdinalTokens]:
    """The classes as a tokenizer knows them.

    A class is taken with or without a space before its words, whichever leaves more of them in one piece; words in
    several pieces are left out, and so are classes of which fewer than three words, or no pair, are left.

    Raises:
        InputError: no tokenizer, or no class is left; the message names the classes.
    """
    found = []
    for name, each in classes.items():
        spelled = [{word: known.encode(space + word) for word in each.words} for space in (" ", "")]
        single = [{word: ids[0] for word, ids in words.items() if len(ids) == 1} for words in spelled]
        kept = max(single, key=len)
        words = [word for word in each.words if word in kept]
        follows = [each.successor(word) for word in words]
        places = torch.tensor([words.index(word) if word in words else -1 for word in follows], dtype=torch.long)
        if len(words) >= LEAST and len(set(kept.values())) == len(kept) and bool((places >= 0).any()):
            found.append(OrdinalTokens(name, torch.tensor([kept[word] for word in words]), places))
    if not found:
        raise InputError(f"The tokenizer has too few words of one token for any of: {', '.join(classes)}.")
    return found


@torch.no_grad()
def successor_heads(
    model: HookedModel,
    *,
    classes: Sequence[OrdinalTokens] | None = None,
    layers: Sequence[int] | int | None = None,
    mixer: int | None = None,
    group: int = 1,
    null_draws: int = 20,
    null_level: float = 0.95,
    level: float = 0.95,
    embedding: bool = False,
) -> pd.DataFrame:
    """For which share of ordinal tokens a head's direct path ranks the successor first in the token's class.

    The path is that of Gould et al. 2023 ("Successor Heads: Recurring, Interpretable Attention Heads In The Wild"):
    embedding, first MLP, the head's values and output projection, unembedding. The MLP reads the token's embedding
    alone, without the first mixer's output, and what it writes is what every head is given to read; a model without
    MLPs gives its heads the embedding. The logits are compared within the class, the token itself included. Nothing is
    run but one-token texts; see `workbench.probes.heads.paths` for what is held fixed in recurrent mixers. There,
    the head is thought to read with a positive weight, and a single channel, which has one direction to write in, knows
    no successor: `group` Mamba-1's.

    Args:
        classes: the ordinal tokens; by default `ORDINAL_CLASSES` as the model's tokenizer has them.
        null_draws: how often another member of the class, drawn for each token, is asked for instead.
        embedding: whether heads read the token's embedding beside what the first MLP writes, as they do in a run. The
            paper leaves it out; where the embedding carries as much as the MLP, a head that does nothing but take each
            token to the next scores near 0 without it.

    Other options as in `find_heads`. Intervals are over the ordinal tokens of all classes.

    Returns:
        As `find_heads`, score 1 where every successor is ranked first.

    Raises:
        InputError: as `find_heads`; no tokenizer, or none of the classes' words is one token; UnsupportedFamilyError
            where a head's way to the logits is not linear.
    """
    check_draws(null_draws)
    found, looking = writing(model, Looking.at(model, layers, mixer, group, null_level, level))
    known = Vocabulary.of(model)
    chosen = ordinal_tokens(known) if classes is None else list(classes)
    if not chosen:
        raise InputError("classes is empty; at least one is needed.")
    tokens = torch.cat([each.tokens for each in chosen]).to(known.device)
    directions = token_directions(model, found, tokens)
    generator = torch.Generator().manual_seed(0)
    wrong = [[_others(each, generator) for each in chosen] for _ in range(null_draws)]
    starts = [0, *torch.tensor([len(each.tokens) for each in chosen]).cumsum(0).tolist()]
    rows: list[dict[str, object]] = []
    for path in direct_paths(model, after_first_mlp(model, tokens, embedding), found, looking):
        best = []
        for first, end in pairwise(starts):
            own = slice(first, end)
            best.append(replace(path, values=path.values[own]).logits(directions[own]).argmax(-1).cpu())
        hits = [_hits(best, chosen, [each.successor for each in chosen])]
        hits += [_hits(best, chosen, targets) for targets in wrong]
        rivals = torch.stack([one.double().mean(0) for one in hits[1:]])
        rows += looking.rows(
            path.adapter, hits[0].double(), rivals, kind="successor", normalise="rank in the class", scope="mixer"
        )
    return head_table(rows)


@torch.no_grad()
def after_first_mlp(model: HookedModel, tokens: Int[Tensor, " n"], embedding: bool = False) -> Float[Tensor, "n model"]:
    """What the model's first MLP makes of each token's embedding alone; the embedding, where there is no MLP.

    The mixers up to there write nothing, so that the MLP reads the embedding (Gould et al. 2023, section 2).

    Args:
        embedding: whether the embedding is added to what the MLP writes, as in the residual stream of a run.
    """
    start = embedded(model, tokens)
    first = next((layer for layer in range(model.cfg.n_layers) if f"blocks.{layer}.hook_mlp_out" in model.points), None)
    if first is None:
        return start
    kept: list[Tensor] = []

    def put(resid: Tensor, hook: HookPoint) -> Tensor:
        return start[:, None].to(resid)

    def silence(written: Tensor, hook: HookPoint) -> Tensor:
        return torch.zeros_like(written)

    def keep(written: Tensor, hook: HookPoint) -> None:
        kept.append(written[:, 0].detach().clone())

    hooks = [(f"blocks.{first}.hook_resid_pre", put), (f"blocks.{first}.hook_mlp_out", keep)]
    hooks += [(f"blocks.{first}.{m.adapter.part}.hook_out", silence) for m in model.layout.blocks[first].mixers]
    with model.hooks(fwd_hooks=hooks):
        model(tokens[:, None], return_type=None, stop_at_layer=first + 1)
    return start.to(kept[0]) + kept[0] if embedding else kept[0]


def _hits(
    best: Sequence[Int[Tensor, "_ rows"]], classes: Sequence[OrdinalTokens], targets: Sequence[Tensor]
) -> Bool[Tensor, "tokens rows"]:
    """Whether the target is ranked first, for every token that has a successor."""
    return torch.cat(
        [
            (ranked == target[:, None])[each.successor >= 0]
            for ranked, each, target in zip(best, classes, targets, strict=True)
        ]
    )


def _others(each: OrdinalTokens, generator: torch.Generator) -> Int[Tensor, " members"]:
    """A random member of the class for each, not its successor."""
    members = len(each.tokens)
    chances = torch.ones(members, members)
    has = each.successor >= 0
    chances[torch.arange(members)[has], each.successor[has]] = 0
    return torch.multinomial(chances, 1, generator=generator)[:, 0]


add_kind(
    HeadKind(
        "successor",
        "raise the logit of what follows the number, month, weekday or letter that they read",
        "Gould et al. 2023, Successor Heads: Recurring, Interpretable Attention Heads In The Wild",
        successor_heads,
        CausalTask(ordinals, label=None),
    )
)
