"""Results are kept within a bound of memory, the ones used last."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from workbench.app.serving.results import Results, size_of
from workbench.errors import InputError

KB = 1000


def test_the_ones_used_longest_ago_go() -> None:
    results = Results(room=3 * KB)
    for name in "abc":
        results.put(name, np.zeros(KB, np.uint8))
    assert results.get("a")[0]
    results.put("d", np.zeros(KB, np.uint8))
    assert [name for name in "abcd" if results.get(name)[0]] == ["a", "c", "d"]
    assert results.bytes == 3 * KB


def test_a_value_that_is_put_again_counts_once() -> None:
    results = Results(room=3 * KB)
    for _ in range(5):
        results.put("a", np.zeros(KB, np.uint8))
    assert results.bytes == KB


def test_what_is_larger_than_the_room_is_refused_and_the_rest_stays() -> None:
    results = Results(room=2 * 2**20)
    results.put("small", None)
    with pytest.raises(InputError, match="takes 3 MB; the explorer keeps 2 MB at most"):
        results.put("large", np.zeros(3 * 2**20, np.uint8))
    assert results.get("small") == (True, None)
    assert results.get("large") == (False, None)


def test_what_is_forgotten_is_gone_and_its_room_free() -> None:
    results = Results(room=2 * 2**20)
    results.put("one", np.zeros(2**20, np.uint8))
    results.forget("one")
    results.forget("never there")
    assert results.get("one") == (False, None) and results.bytes == 0


@dataclass
class Held:
    values: np.ndarray
    names: list[str]


def test_sizes_are_of_what_is_inside() -> None:
    array = np.zeros((100, 100), np.float32)
    assert size_of(array) == 40 * KB
    assert size_of(torch.zeros(100, 100)) == 40 * KB
    assert size_of([array, array]) == pytest.approx(40 * KB, rel=0.01)  # one array, held twice
    assert size_of({"a": array, "b": array.copy()}) == pytest.approx(80 * KB, rel=0.01)
    assert size_of(Held(array, ["x" * 10 * KB])) == pytest.approx(50 * KB, rel=0.01)
    assert size_of(pd.DataFrame({"a": np.zeros(10 * KB)})) == pytest.approx(80 * KB, rel=0.01)


def test_a_figure_whose_parts_point_back_at_it_has_a_size() -> None:
    assert size_of(go.Figure(go.Heatmap(z=np.zeros((100, 100))))) >= 80 * KB
