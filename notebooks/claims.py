"""What a notebook says it has found, as it left it in its outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nbformat import NotebookNode

from workbench.report.claims import MIME, Claim

ANSWER = "## Answer"
_NUMBER = re.compile(r"(?<![\w.])(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit> ?%)?(?![\w]*\d)")


@dataclass(frozen=True)
class Stated:
    """A number in prose: its value (a percentage as a share) and half of its last digit."""

    text: str
    value: float
    half: float


def claims_of(content: NotebookNode) -> list[Claim]:
    """The claims of a notebook that has run, in order."""
    return [
        Claim(entry["sentence"], entry["holds"], entry["numbers"])
        for cell in content.cells
        for output in cell.get("outputs", ())
        for entry in output.get("data", {}).get(MIME, ())
    ]


def answer_of(content: NotebookNode) -> str:
    """The text of the cell that answers the question; empty where there is none."""
    return next((cell.source for cell in content.cells if cell.source.startswith(ANSWER)), "")


def numbers_stated(text: str) -> list[Stated]:
    """Numbers in prose that must come from the run: all with a decimal point or a percent sign, and all from 10 up.

    Names of models and heads (``L1H2``, ``mamba2``, ``zoo:rwkv7``), code between backticks and years of citations in
    brackets are none.
    """
    plain = re.sub(r"`[^`]*`|\([A-Z][^()]*\b(?:19|20)\d\d\)|\[[^\]]*\]\([^)]*\)", "", text)
    found = []
    for match in _NUMBER.finditer(plain):
        digits = match["digits"].replace(",", "")
        if "." not in digits and not match["unit"] and float(digits) < 10:
            continue
        places = len(digits.partition(".")[2])
        scale = 0.01 if match["unit"] else 1.0
        found.append(Stated(match[0], float(digits) * scale, 0.5 * 10**-places * scale))
    return found


def unborne(content: NotebookNode) -> list[str]:
    """Numbers of the answer that no claim of the run rounds to."""
    known = [number for claim in claims_of(content) for number in claim.numbers.values()]
    return [
        stated.text
        for stated in numbers_stated(answer_of(content))
        if not any(abs(abs(number) - stated.value) <= stated.half * 1.02 + 1e-12 for number in known)
    ]
