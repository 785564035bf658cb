"""Sentences that lead astray, each with one that says the same and does not.

At the disambiguating word the reader of the ambiguous sentence learns that it was read wrongly; the surprisal there,
less that at the same word of the control, is the garden-path effect (van Schijndel and Linzen 2021, "Single-Stage
Prediction Models Do Not Explain the Magnitude of Syntactic Disambiguation Difficulty"). The sentences were written for
this task.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.arguments import checked_call
from workbench.errors import InputError
from workbench.tasks.alphabet import check_sizes
from workbench.tasks.intervals import Interval, bootstrap_mean
from workbench.tasks.metrics import TaskScores
from workbench.tasks.passages import PassageWriter
from workbench.tasks.registry import register_task
from workbench.tasks.text import TextTask, text_task

# Up to the disambiguating word: what is ambiguous, what the control has instead, the word, and the rest.
_ITEMS = {
    # A noun that seems to be the object of the verb before it and is the subject of the one behind it.
    "subordinate": (
        ("While the sailor washed the dog", "While the sailor washed, the dog", "ran", "along the pier."),
        ("After the nurse visited the doctor", "After the nurse visited, the doctor", "left", "for the day."),
        ("As the woman painted the child", "As the woman painted, the child", "fell", "asleep on the sofa."),
        ("When the army attacked the town", "When the army attacked, the town", "was", "already empty."),
        ("While the boy ate the cake", "While the boy ate, the cake", "was", "baking in the oven."),
        ("Before the singer called the band", "Before the singer called, the band", "had", "packed everything up."),
        ("When the farmer hunted the rabbits", "When the farmer hunted, the rabbits", "hid", "in the hedge."),
        ("While the tailor dressed the baby", "While the tailor dressed, the baby", "cried", "in its bed."),
        ("After the pilot landed the plane", "After the pilot landed, the plane", "was", "taken to the hangar."),
        ("As the student read the letter", "As the student read, the letter", "fell", "behind the shelf."),
    ),
    # A verb that seems to be the main one and belongs to a shortened relative clause.
    "relative": (
        ("The guide shown the map", "The guide who was shown the map", "got", "lost all the same."),
        ("The cook served the soup", "The cook who was served the soup", "asked", "for some salt."),
        ("The guests brought the wine", "The guests who were brought the wine", "thanked", "the waiter."),
        ("The boy tossed the ball", "The boy who was tossed the ball", "dropped", "it at once."),
        ("The widow sent the flowers", "The widow who was sent the flowers", "was", "very pleased."),
        ("The soldier warned about the storm", "The soldier who was warned about the storm", "stayed", "indoors."),
        ("The clerk paid the money", "The clerk who was paid the money", "went", "straight home."),
        ("The actress read the poem", "The actress who was read the poem", "began", "to weep."),
    ),
    # A noun that seems to be what is known, and begins a clause of its own.
    "complement": (
        ("The girl understood the answer", "The girl understood that the answer", "was", "not the right one."),
        ("The judge accepted the excuse", "The judge accepted that the excuse", "was", "a good one."),
        ("The reporter discovered the story", "The reporter discovered that the story", "had", "been made up."),
        ("The farmer noticed the fence", "The farmer noticed that the fence", "needed", "a coat of paint."),
        ("The teacher heard the song", "The teacher heard that the song", "would", "be played again."),
        ("The tourist believed the guide", "The tourist believed that the guide", "knew", "the way."),
        ("The mayor regretted the decision", "The mayor regretted that the decision", "had", "been so costly."),
        ("The thief remembered the alarm", "The thief remembered that the alarm", "was", "switched on."),
    ),
}


@register_task("garden_paths", measures="surprisal where a sentence turns out to be read wrongly, state editing")
def garden_paths(
    vocabulary: Any,
    kind: str = "all",
    *,
    batch: int = 16,
    seed: int = 0,
    bos: bool | int | None = None,
) -> TextTask:
    """Ambiguous sentences and their controls, with the word that disambiguates them scored.

    Sequences come in pairs, the ambiguous sentence first; labels are ``"ambiguous"`` and ``"control"``, and
    `garden_path_effect` is their difference. ``pieces["beginning"]`` is what stands before the word.

    Args:
        vocabulary: a hooked model with a tokenizer, or a tokenizer.
        kind: "subordinate" (While the boy ate the cake was ...), "relative" (The cook served the soup asked ...),
            "complement" (The girl understood the answer was ...), or "all".
        batch: sequences, an even number; there are 20 of "subordinate", 16 of the other kinds, 52 in all.
        seed: which sentences are taken, and their order.
        bos: token in front; None leaves it to the tokenizer.

    Raises:
        InputError: no such kind, or an odd number of sequences or more than there are.
    """
    check_sizes("garden_paths", 2, batch=batch)
    if kind != "all" and kind not in _ITEMS:
        raise InputError(f"kind is {kind!r}; it must be one of {', '.join(map(repr, [*_ITEMS, 'all']))}.")
    items = [item for name, some in _ITEMS.items() if kind in (name, "all") for item in some]
    if batch % 2 or batch // 2 > len(items):
        raise InputError(
            f"batch is {batch}; kind {kind!r} has {len(items)} pairs: an even number up to {2 * len(items)}."
        )
    passages = []
    for ambiguous, control, word, rest in random.Random(seed).sample(items, batch // 2):
        for label, beginning in (("ambiguous", ambiguous), ("control", control)):
            writer = PassageWriter()
            writer.add(beginning, "beginning")
            writer.answer(f" {word}", label)
            writer.add(f" {rest}")
            passages.append(writer.passage())
    return text_task("garden_paths", vocabulary, passages, labels=("ambiguous", "control"), bos=bos)


@checked_call
def garden_path_effect(scores: TaskScores, *, level: float = 0.95, seed: int = 0) -> Interval:
    """How much more the ambiguous sentence's word surprises than the control's, in nats, with its interval over pairs.

    Raises:
        InputError: scores of another task.
    """
    if scores.task.name != "garden_paths":
        raise InputError(f"garden_path_effect needs scores of 'garden_paths', and these are of {scores.task.name!r}.")
    surprisal = _surprisal(scores)
    return bootstrap_mean(surprisal[0::2] - surprisal[1::2], level=level, seed=seed)


def _surprisal(scores: TaskScores) -> Float[Tensor, " batch"]:
    """Of the whole word, which is the sum over its tokens."""
    return torch.where(scores.task.labels >= 0, scores.loss.double(), 0).sum(1)
