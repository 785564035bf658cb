"""Every notebook runs from a fresh kernel, and finds again what the committed one says."""

from __future__ import annotations

import pytest

from notebooks.catalogue import Notebook
from notebooks.claims import claims_of
from notebooks.execution import execute
from notebooks.normal_form import normalise, problems

from .reading import NAMES, NOTEBOOKS, committed

# Another processor adds in another order: what is trained or sampled then ends a little elsewhere.
RELATIVE, ABSOLUTE = 0.15, 0.03


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=NAMES)
def test_runs_and_finds_again_what_it_says(notebook: Notebook) -> None:
    content = execute(notebook)
    normalise(content)
    assert problems(content) == []
    found, said = claims_of(content), claims_of(committed(notebook))
    assert [claim.sentence for claim in found if not claim.holds] == []
    assert [claim.sentence for claim in found] == [claim.sentence for claim in said]
    for now, then in zip(found, said, strict=True):
        assert now.numbers == pytest.approx(then.numbers, rel=RELATIVE, abs=ABSOLUTE), now.sentence
