"""How options are written that several commands share."""

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from workbench.cli.options import MOST, many


@given(st.integers(1, MOST))
def test_whole_numbers_are_read_however_they_are_written(number: int) -> None:
    assert many(number) == many(f"{number}") == many(f"{number:_}") == number
    tens = len(f"{number}") - len(f"{number}".rstrip("0"))
    assert many(f"{number // 10**tens}e{tens}") == number


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "3e-1", "nan", "inf", "1e400", f"{MOST + 1}", "", "many", "2 000"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no whole number from 1 up"):
        many(text)


@pytest.mark.parametrize("command", ["train", "features", "codebook"])
def test_tokens_are_counted_alike_by_all_commands(refused, command, tmp_path) -> None:
    more = {"train": ["--folder", "made"], "features": ["sae", "--folder", "made"], "codebook": ["--codes", "8"]}
    asked = ["sae", command, "zoo:mamba", *more[command], "--text", tmp_path / "none"]
    assert "--tokens" not in refused(*asked, "--tokens", "2e3")
    assert "'2.5'" in refused(*asked, "--tokens", "2.5")
