"""What is said about a whole table of heads."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.probes.heads.figures import heads_map
from workbench.probes.heads.table import above_null, expected_best


def table() -> pd.DataFrame:
    excess = [0.3, -0.1, 0.2, 0.2, 0.9]
    rows = {"layer": [0, 0, 0, 1, 1], "mixer": 0, "head": [2, 0, 1, 0, 1], "excess": excess, "kind": "induction"}
    return pd.DataFrame(rows).assign(low=[0.4, 0.1, 0.2, 0.3, 0.9], null=0.2)


@pytest.mark.parametrize("drawn", [1, 2, 4, 5])
def test_the_expected_best_is_the_mean_over_every_way_of_drawing(drawn: int) -> None:
    ways = [max(chosen) for chosen in combinations(table()["excess"], drawn)]
    assert expected_best(table(), drawn) == pytest.approx(np.mean(ways))


def test_the_expected_best_of_many_channels_is_finite() -> None:
    many = pd.DataFrame({"excess": np.linspace(0, 1, 40_000)})
    assert expected_best(many, 16) == pytest.approx(16 / 17, abs=1e-4)  # of 16 uniform numbers


def test_more_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match=r"drawn is 6, and the table has 5 heads; choose 1..5"):
        expected_best(table(), 6)


def test_a_head_counts_as_above_its_null_with_its_whole_interval() -> None:
    assert above_null(table()) == 3


def test_the_map_has_each_head_in_its_place() -> None:
    figure = heads_map(table(), by="excess")
    np.testing.assert_allclose(figure.data[0].z, [[-0.1, 0.2, 0.3], [0.2, 0.9, np.nan]], rtol=1e-6)
    with pytest.raises(InputError, match="no column 'score'"):
        heads_map(table())
