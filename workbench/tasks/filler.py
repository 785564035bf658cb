"""Text that says nothing that matters: what a needle is hidden in.

Three kinds: one paragraph over and over (every token of it is predictable), sentences put together at random from
parts (nothing repeats at length), or a text of the reader's own, such as a chapter of a book.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import cycle, repeat

from workbench.errors import InputError
from workbench.tasks.vocabulary import Vocabulary

REPEATED = (
    "The road goes on between the fields.",
    "A cart stands under the trees.",
    "Nobody is in a hurry today.",
    "The wind turns and the clouds move on.",
    "There is bread on the table and water in the jug.",
)

_WHO = (
    "The old miller", "A tall stranger", "The baker", "Her youngest brother", "The clerk", "A tired soldier",
    "The gardener", "Our neighbour", "The ferryman", "A girl in a grey coat", "The schoolmaster", "The innkeeper",
)  # fmt: skip
_DID = (
    "looked at", "walked past", "painted", "swept the floor of", "sat down behind", "talked about", "drew a map of",
    "remembered", "stood in front of", "opened the windows of", "wrote a letter about", "waited near",
)  # fmt: skip
_WHAT = (
    "the barn", "the empty house", "the town hall", "the little station", "the bridge", "the orchard", "the church",
    "the boat shed", "the post office", "the lighthouse", "the market", "the stable",
)  # fmt: skip
_WHEN = (
    "in the morning", "before the rain came", "after supper", "without a word", "for an hour", "as the bells rang",
    "while the kettle boiled", "in spite of the cold", "on the way home", "late in the summer", "once more", "at noon",
)  # fmt: skip


def sentences(kind: str, rng: random.Random) -> Iterator[str]:
    """The sentences of a filler without an end, each without spaces around it.

    Args:
        kind: ``"repeated"``, ``"varied"``, or the text itself.
        rng: decides what is drawn, and with which sentence a text of your own starts; it starts again behind its last.

    Raises:
        InputError: `kind` is neither of the two words, and no text of several sentences.
    """
    if kind == "varied":
        parts = (_WHO, _DID, _WHAT, _WHEN)
        return (" ".join(rng.choice(part) for part in parts) + "." for _ in repeat(None))
    if kind == "repeated":
        return cycle(REPEATED)
    own = split_sentences(kind)
    if len(own) < 2:
        raise InputError(f"filler is {kind[:40]!r}; it must be 'repeated', 'varied', or a text of several sentences.")
    first = rng.randrange(len(own))
    return cycle(own[first:] + own[:first])


def split_sentences(text: str) -> list[str]:
    """The sentences of a text: cut behind full stops, question and exclamation marks, with spaces made single."""
    flat = " ".join(text.split())
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", flat) if sentence]


def fill(kind: str, rng: random.Random, known: Vocabulary, tokens: int) -> list[str]:
    """As many sentences as fit into `tokens` tokens, each counted with the space before it.

    Raises:
        InputError: as `sentences`.
    """
    chosen: list[str] = []
    sizes: dict[str, int] = {}
    room = tokens
    for sentence in sentences(kind, rng):
        if sentence not in sizes:
            sizes[sentence] = len(known.encode(f" {sentence}"))
        room -= sizes[sentence]
        if room < 0:
            break
        chosen.append(sentence)
    return chosen
