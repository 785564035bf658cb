"""A feature store in memory: the reader's API with contents that a test writes down."""

from dataclasses import dataclass
from types import SimpleNamespace

import pandas as pd

HOSTILE = [
    "<script>window.hit=1</script>",
    "</script><script>window.hit=2</script>",
    '"><img src=x onerror=window.hit=3>',
    "<!--",
    "\u2028",
    "\u202e",
    "\x00",
    "\u200b",
    "שלום",
    "{{ 7 * 7 }}",
    " the",
    "\n",
    "\t",
    "$x^2$",
    "😀",
]


@dataclass(frozen=True)
class MemoryExample:
    feature: int
    band: str
    rank: int
    row: int
    position: int
    start: int
    value: float
    token_ids: tuple
    tokens: tuple
    activations: tuple


class MemoryStore:
    """Features of which number `i` fires on the i-th of the hostile tokens; the last one is dead."""

    def __init__(self, count=12, labels=None, tokens=4000):
        self.count = count
        self.names = dict(labels or {})
        self.info = SimpleNamespace(
            model="zoo:<b>mamba</b>", hook="blocks.2.hook_resid_post", d_sae=count, tokens=tokens, rows=40
        )
        self.sae = None

    def features(self):
        return pd.DataFrame(
            [
                {
                    "feature": i,
                    "label": self.names.get(i, ""),
                    "source": "human" if i in self.names else "",
                    "density": self._fires(i) / self.info.tokens,
                    "count": self._fires(i),
                    "max": 3.0 + i if self._fires(i) else 0.0,
                    "mean": 1.0 + i / 2 if self._fires(i) else float("nan"),
                    "dead": not self._fires(i),
                }
                for i in range(self.count)
            ]
        )

    def _fires(self, i):
        return 0 if i == self.count - 1 else 400 // (i + 1)

    def batch(self, features):
        return self

    def examples(self, feature, band=None, limit=None):
        if not self._fires(feature):
            return []
        tokens = (" the", HOSTILE[feature % len(HOSTILE)], *HOSTILE)
        found = [
            MemoryExample(
                feature,
                one,
                rank,
                10 * rank + feature,
                21,
                20,
                (3.0 + feature) * scale,
                tuple(range(len(tokens))),
                tokens,
                (0.0, (3.0 + feature) * scale, *[0.0] * (len(HOSTILE) - 1), 0.5),
            )
            for one, scale in (("top", 1.0), ("50-75%", 0.5), ("random", 0.1))
            for rank in range(7)
        ]
        return [one for one in found if band in (None, one.band) and (limit is None or one.rank < limit)]

    def logits(self, feature):
        effects = [2.0, 1.0, 0.5, -0.25, -1.5]
        return pd.DataFrame({"token_id": range(5), "token": HOSTILE[:5], "effect": effects})

    def histogram(self, feature):
        fires = self._fires(feature)
        return pd.DataFrame({"low": [0.0, 1.0, 2.0], "high": [1.0, 2.0, 3.0], "count": [fires - 2, 1, 1]})

    def neighbours(self, feature, by="decoder"):
        others = [one for one in range(self.count) if one != feature][:3]
        column = (
            {"cosine": [0.9, 0.5, 0.1]} if by == "decoder" else {"count": [9, 5, 1], "phi": [0.8, 0.4, float("nan")]}
        )
        return pd.DataFrame({"feature": others, "label": [self.names.get(one, "") for one in others], **column})
