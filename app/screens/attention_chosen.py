"""What a panel of the Attention page shows, and what an entry of its matrix is called."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.app.shell import Asked
from workbench.app.views.attention import HeadChoice, Place

SAID = {"weights": "weight", "share": "share of row", "written": "norm written"}
"""What an entry is called."""

SOFTMAX = "A weight is a share of its row, between 0 and 1."

IMPLICIT = "A weight has no unit: it multiplies the value of the token that is read. It is not a probability."

UNITS = {
    "weights": "A[t, s], how much of token s's value reaches token t; no unit.",
    "share": "|A[t, s]| / sum over s of |A[t, s]|: between 0 and 1, signs removed.",
    "written": "The norm of what the entry writes into the residual stream: |A[t, s] v_s (times gate and norm scale) "
    "W_O|, in units of the stream. A large weight on a small value moves little (Kobayashi et al. 2020).",
}


@dataclass(frozen=True)
class Panel:
    """What a panel shows: what the session looks at, model A or B, its mixer, and the choice of head."""

    asked: Asked
    letter: str
    source: str
    place: Place
    choice: HeadChoice

    @property
    def suffix(self) -> str:
        """Of keys in the link."""
        return "" if self.letter == "A" else "-b"

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands under the colour bar of its matrix."""
        if self.choice.measure != "weights":
            return ()
        return (SOFTMAX,) if self.place.softmax and self.choice.scope == "core" else (IMPLICIT,)

    @property
    def fingerprint(self) -> str:
        """Of what is drawn of the head."""
        return f"{self.source} {self.asked.prompt_id} {self.choice}"

    def key(self, what: str, *more: object) -> tuple[object, ...]:
        """Of a result."""
        return ("attention", what, self.source, self.asked.prompt_id, self.choice, *more)
