"""Text cut into rows of tokens."""

from __future__ import annotations

import pytest

import workbench
from workbench.errors import InputError
from workbench.windows import text_windows

TEXT = "The state of the union is what it is, and nobody remembers what it was. " * 6


@pytest.fixture(scope="module")
def model() -> workbench.HookedModel:
    return workbench.load("zoo:mamba", check=False)


def test_rows_follow_each_other_and_none_reaches_into_the_next_text(model: workbench.HookedModel) -> None:
    ids = model.tokenizer.encode(TEXT, add_special_tokens=False)
    whole = len(ids) // 20
    assert whole >= 2 and len(ids) % 20
    own = [ids[20 * row : 20 * (row + 1)] for row in range(whole)]
    assert text_windows(model, [TEXT, "", TEXT], 20).tolist() == own + own
    assert text_windows(model, [TEXT, TEXT], 20, whole + 1).tolist() == [*own, own[0]]
    assert text_windows(model, TEXT, 21, 1, bos=True).tolist() == [[0, *ids[:20]]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"length": 1}, "length is 1; rows have at least 2 tokens"),
        ({"count": 0}, "count is 0; at least one row is needed"),
        ({"length": 20, "count": 999}, "rows of 20 tokens, and 999 are needed"),
        ({"length": 5000}, "holds 0 rows of 5000 tokens, and one is needed"),
    ],
)
def test_what_cannot_be_cut_gets_a_sentence(
    model: workbench.HookedModel, options: dict[str, int], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        text_windows(model, TEXT, **options)
