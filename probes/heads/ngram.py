"""n-gram heads: a token reads what followed earlier occurrences of the last n - 1 tokens, the current one included.

A 2-gram head on text without repetitions is an induction head. On a text of few symbols every context recurs often, and
a head of order n is told from one of order n - 1 by what it leaves out: its rivals are positions before which the last
n - 2 tokens are the same, and the one before those is not. A head that looks at less context reads both alike.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import InputError
from workbench.probes.heads.kinds import CausalTask, HeadKind, add_numbered_kind
from workbench.probes.heads.pairs import DefiningPairs
from workbench.probes.heads.reading import Reading
from workbench.tasks import Task, Vocabulary

SOURCE = "Akyürek et al. 2024, In-Context Language Learning: Architectures and Algorithms"
MATCHES = 6  # earlier occurrences of a context, at the end of the text
SHARPNESS = 2.0  # standard deviation of the logits of a chain's transitions


class NGram:
    """What defines n-gram heads of one order: a text, the places that follow a match, and those that nearly do.

    Args:
        order: n, at least 2.

    Raises:
        InputError: `order` is below 2.
    """

    def __init__(self, order: int) -> None:
        if order < 2:
            raise InputError(f"There are no {order}-gram heads: a context of one token at least is needed, so n >= 2.")
        self.order = order

    def text(
        self,
        vocabulary: Any,
        block: int = 50,
        *,
        batch: int = 4,
        seed: int = 0,
        bos: bool | int | None = None,
    ) -> Task:
        """A random Markov chain of order n - 1, another one with other symbols in each sequence.

        There are so few symbols that each context has occurred about six times at the end. Scored is every prediction:
        ``"seen"`` where the last n - 1 tokens have stood together before, with what followed them before the
        current token, ``"new"`` elsewhere.

        Args:
            vocabulary: a vocabulary size, or a hooked model.
            block: half of the text's length, in tokens.
            batch: sequences.
            seed: of chains and texts.
            bos: token in front, as in `repeated_random_tokens`.

        Raises:
            InputError: too short a text, or too few tokens to choose symbols from.
        """
        known = Vocabulary.of(vocabulary)
        first = known.bos(bos)
        ids = known.plain()
        ids = ids if first is None else ids[ids != first]
        time, context = 2 * block, self.order - 1
        if time < 4 * self.order:
            raise InputError(f"block is {block}; a text for {self.order}-gram heads needs block >= {2 * self.order}.")
        count = max(3, round((time / MATCHES) ** (1 / context)))
        if count > len(ids):
            raise InputError(f"{count} symbols cannot be drawn from {len(ids)} allowed tokens; take a shorter block.")
        known.check_length(time if first is None else time + 1, "markov_chain")
        generator = torch.Generator().manual_seed(seed)
        symbols = torch.stack([torch.randperm(len(ids), generator=generator)[:count] for _ in range(batch)])
        follows = (SHARPNESS * torch.randn(batch, count**context, count, generator=generator)).softmax(-1)
        drawn = torch.randint(count, (batch, context), generator=generator)
        power = count ** torch.arange(context - 1, -1, -1)
        for _ in range(time - context):
            state = (drawn[:, -context:] * power).sum(-1)
            coming = torch.multinomial(follows[torch.arange(batch), state], 1, generator=generator)
            drawn = torch.cat([drawn, coming], dim=1)
        tokens = ids[symbols.gather(1, drawn)]
        offset = 0 if first is None else 1
        if first is not None:
            tokens = torch.cat([torch.full((batch, 1), first), tokens], dim=1)
        known_before = torch.zeros(tokens.shape, dtype=torch.bool)
        known_before[:, offset:] = same_context(drawn, context).any(-1)
        positions = torch.arange(offset, tokens.shape[1] - 1).expand(batch, -1).contiguous()
        return Task(
            name="markov_chain",
            tokens=tokens.to(known.device),
            positions=positions.to(known.device),
            answers=tokens[:, offset + 1 :].to(known.device),
            sources=torch.full_like(positions, -1).to(known.device),
            labels=known_before[:, offset:-1].long().to(known.device),
            label_names=("new", "seen"),
        )

    def pairs(self, task: Task) -> DefiningPairs:
        """Every position behind an earlier occurrence of the last n - 1 tokens, where there are rivals, too."""
        matched, _ = self._told_apart(task)
        listed = [row.nonzero() for row in matched]
        longest = max(map(len, listed))
        places = torch.zeros(len(listed), longest, 2, dtype=torch.long)
        weight = torch.zeros(len(listed), longest)
        for number, row in enumerate(listed):
            places[number, : len(row)], weight[number, : len(row)] = row, 1
        device = task.tokens.device
        return DefiningPairs(places[..., 0].to(device), places[..., 1].to(device), weight.to(device))

    def rivals(self, task: Task, pairs: DefiningPairs, draws: int) -> list[DefiningPairs]:
        """As many sources a destination, drawn among those that match the last n - 2 tokens and no more."""
        _, nearly = self._told_apart(task)
        chances = nearly.float().to(pairs.query.device)
        generator = torch.Generator(pairs.query.device).manual_seed(0)
        found = []
        for _ in range(draws):
            rows = [
                torch.where(
                    kept > 0,
                    torch.multinomial(torch.where(kept[:, None] > 0, row[at], 1), 1, generator=generator)[:, 0],
                    0,
                )
                for row, at, kept in zip(chances, pairs.query, pairs.weights, strict=True)
            ]
            found.append(DefiningPairs(pairs.query, torch.stack(rows), pairs.weight))
        return found

    def _told_apart(self, task: Task) -> tuple[Bool[Tensor, "batch time time"], Bool[Tensor, "batch time time"]]:
        """Sources that match, and that match one token less; only for destinations that have both."""
        first = int(task.positions.min())  # a token in front of the text is no part of it
        tokens = task.tokens[:, first:].cpu()
        more, less = same_context(tokens, self.order - 1), same_context(tokens, self.order - 2)
        nearly = less & ~more
        both = more.any(-1, keepdim=True) & nearly.any(-1, keepdim=True)
        batch, time = task.tokens.shape
        whole = [torch.zeros(batch, time, time, dtype=torch.bool) for _ in range(2)]
        for place, part in zip(whole, (more & both, nearly & both), strict=True):
            place[:, first:, first:] = part
        return whole[0], whole[1]


def same_context(tokens: Int[Tensor, "batch time"], length: int) -> Bool[Tensor, "batch time time"]:
    """Entry ``[t, s]``: the `length` tokens up to `t` are those before `s`, and `s` lies before `t`.

    The first tokens, which have no whole context, match nothing and are no match; so with `length` 0 every earlier
    position but the first is one.
    """
    batch, time = tokens.shape
    earlier = torch.arange(time) < torch.arange(time)[:, None]
    whole = torch.arange(time) >= max(1, length)
    same = (earlier & whole & (torch.arange(time)[:, None] >= length - 1)).expand(batch, -1, -1).clone()
    for back in range(length):
        equal = torch.zeros_like(same)
        equal[:, back:, back + 1 :] = tokens[:, : time - back, None] == tokens[:, None, : time - back - 1]
        same &= equal
    return same


def ngram_kind(order: int) -> HeadKind:
    """The kind of heads that read what followed earlier occurrences of the last ``order - 1`` tokens."""
    defined = NGram(order)
    name = f"{order}-gram"
    what = "token" if order == 2 else f"{order - 1} tokens"
    return HeadKind(
        name,
        f"read what followed earlier occurrences of the last {what}",
        SOURCE,
        Reading(name, defined.pairs, defined.text, defined.rivals),
        CausalTask(defined.text, label="seen"),
    )


add_numbered_kind("gram", ngram_kind, listed=(2, 3))
