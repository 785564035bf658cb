"""What a feature is called by a program: by the tokens it fires at, or by whatever somebody plugs in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from workbench.errors import InputError
from workbench.saes.features.example import Example
from workbench.saes.features.explaining.patterns import Pattern

LEFT, RIGHT = "<<", ">>"
"""Around tokens at which a feature fires, as Paulo et al. show them to a language model."""


@runtime_checkable
class Explainer(Protocol):
    """Makes a label of examples."""

    name: str

    def explain(self, examples: Sequence[Example]) -> str:
        """In words, at what a feature fires, from examples in which it does."""
        ...


class TokenExplainer:
    """Names the simplest pattern of tokens (`Pattern`) that tells where a feature fires from where it does not.

    Candidates are made of the tokens at which it is highest: lists of them, their beginnings and ends, kinds of
    characters, and the tokens before. The one with the largest F1 over all tokens of the examples is taken, weighted by
    activation, so that weak firing counts little; of equals the simplest.

    Args:
        words: how many tokens a list holds at most.
        cover: share of the activation that a list of tokens has to hold.
    """

    name = "tokens"

    def __init__(self, words: int = 6, cover: float = 0.9) -> None:
        if words < 1 or not 0 < cover <= 1:
            raise InputError(f"words is {words} and cover {cover}; at least one word, and a share from 0 to 1.")
        self.words, self.cover = words, cover

    def explain(self, examples: Sequence[Example]) -> str:
        """The pattern's name. Raises InputError where no example fires."""
        firing = [one for one in examples if one.fires]
        if not firing:
            raise InputError("There is nothing to explain: the feature fires in none of the examples.")
        return str(max(self._candidates(firing), key=lambda pattern: _agreement(pattern, examples)))

    def _candidates(self, examples: Sequence[Example]) -> list[Pattern]:
        """Simplest first: of equally good ones `max` takes the first."""
        now, before = defaultdict[str, float](float), defaultdict[str, float](float)
        for one in examples:
            for at, value in enumerate(one.activations):
                if value > 0:
                    now[one.tokens[at].strip(" ")] += value
                    if at:
                        before[one.tokens[at - 1].strip(" ")] += value
        found = [Pattern(kind) for kind in ("digits", "capital", "punctuation", "space")]
        for counts, kind in ((now, "tokens"), (before, "after")):
            listed = _covering(counts, self.cover)[: self.words]
            found += [Pattern(kind, tuple(listed[:count])) for count in range(1, len(listed) + 1)]
        heads, tails = defaultdict[str, float](float), defaultdict[str, float](float)
        for word, value in now.items():
            for size in range(1, min(5, len(word))):
                heads[word[:size]] += value
                tails[word[-size:]] += value
        for counts, kind in ((heads, "begins"), (tails, "ends")):
            common = [part for part, value in counts.items() if value >= 0.5 * sum(now.values())]
            found += [Pattern(kind, (part,)) for part in sorted(common, key=lambda part: (-len(part), part))]
        return found


class CallableExplainer:
    """Asks anything that answers a prompt: a language model behind any interface, or a person.

    Args:
        ask: prompt to answer.
        name: what labels say they are by.
        instruction: what stands before the examples.
    """

    instruction = (
        f"Each line is a piece of text. A feature of a language model fires at the tokens between {LEFT} and {RIGHT}, "
        "and at no others. Say in one short phrase what the marked tokens have in common. Answer with the phrase alone."
    )

    def __init__(self, ask: Callable[[str], str], name: str = "callable", instruction: str | None = None) -> None:
        self.ask, self.name = ask, name
        if instruction is not None:
            self.instruction = instruction

    def explain(self, examples: Sequence[Example]) -> str:
        """The answer, without white space around it. Raises InputError where there is none."""
        lines = [repr(marked(one, firing_tokens(one))) for one in examples if one.fires]
        answer = self.ask("\n\n".join([self.instruction, "\n".join(lines)])).strip()
        if not answer:
            raise InputError(f"The explainer {self.name} gave no answer.")
        return answer


def marked(example: Example, places: Sequence[int]) -> str:
    """The text with some tokens marked; neighbours share their marks."""
    chosen = set(places)
    parts = []
    for at, token in enumerate(example.tokens):
        begins = LEFT if at in chosen and at - 1 not in chosen else ""
        parts.append(begins + token + (RIGHT if at in chosen and at + 1 not in chosen else ""))
    return "".join(parts)


def firing_tokens(example: Example) -> list[int]:
    """Where in an example the feature fires."""
    return [at for at, value in enumerate(example.activations) if value > 0]


def _agreement(pattern: Pattern, examples: Sequence[Example]) -> float:
    """F1 of a pattern over all tokens; a token that it misses counts as its activation, one too many as the mean."""
    values = [value for one in examples for value in one.activations if value > 0]
    unit = sum(values) / len(values)
    hit = false = 0.0
    for one in examples:
        for at in pattern.places(one.tokens):
            if one.activations[at] > 0:
                hit += one.activations[at]
            else:
                false += unit
    return 2 * hit / (hit + false + sum(values))


def _covering(counts: Mapping[str, float], share: float) -> list[str]:
    """The commonest keys that hold a share of the total, at least one."""
    total, held, found = sum(counts.values()), 0.0, list[str]()
    for word, value in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if found and held >= share * total:
            break
        found.append(word)
        held += value
    return found
