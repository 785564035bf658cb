"""The name of a model, a text or a model where something else is needed get one sentence, in every public function."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pandas as pd
import pytest

import workbench as wb
from workbench.arguments import KINDS, checked_call
from workbench.direct_logits import logit_parts
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes import ablate_top_k, find_heads
from workbench.probes.lenses import LogitLens, trajectory
from workbench.probes.linear import probe_sweep
from workbench.probes.neurons import cells_that_follow

ROOMS = ("heads", "lenses", "linear", "memory", "neurons", "patching", "steering", "weights", "dynamics", "causal")
MODULES = ("workbench.tasks", *(f"workbench.probes.{room}" for room in ROOMS))


def public() -> Iterator[Any]:
    yield logit_parts
    for name in MODULES:
        module = import_module(name)
        for each in getattr(module, "__all__", ["ablate_top_k"]):
            found = getattr(module, each)
            function = found.__init__ if inspect.isclass(found) else found
            if "model" in getattr(function, "__annotations__", {}) and not hasattr(found, "__dataclass_fields__"):
                yield found


def called(function: Callable[..., Any]) -> None:
    places = list(inspect.signature(function).parameters)
    function(*[None] * places.index("model"), "zoo:mamba")


@pytest.mark.parametrize("function", dict.fromkeys(public()), ids=lambda function: function.__qualname__)
def test_the_name_of_a_model_is_answered_with_how_it_is_loaded(function: Callable[..., Any]) -> None:
    with pytest.raises(InputError) as refused:
        called(function)
    assert str(refused.value) == f'{function.__name__} takes a loaded model: wb.load("zoo:mamba").'


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return wb.load("zoo:gru", check=False)


def test_an_object_of_another_kind_is_answered_with_how_the_right_one_is_made(model: HookedModel) -> None:
    for call, sentence in (
        (lambda: trajectory(model, "one"), "trajectory takes a lens, and this is of type HookedModel: LogitLens"),
        (lambda: cells_that_follow(model, "one", "digit"), "takes a corpus, and this is of type str: read_corpus"),
        (lambda: probe_sweep(model, data="one"), "takes labelled places, and this is of type str: labelled_texts"),
        (lambda: ablate_top_k(model, "induction", 1), "takes a table, and this is of type str: a pandas DataFrame"),
        (
            lambda: find_heads(model.wrapped, "induction"),
            r"takes a loaded model, and this is of type .*: wb.load\(\.\.\.\)",
        ),
        (lambda: LogitLens(None), "LogitLens takes a loaded model, and this is of type NoneType"),
    ):
        with pytest.raises(InputError, match=sentence):
            call()


def test_what_an_annotation_leaves_open_is_left_to_the_function() -> None:
    @checked_call
    def function(first: "HookedModel | str", second: "pd.DataFrame", *rest: "int", third: "Task | None" = None) -> Any:
        """Words."""
        return first, rest, third

    assert function("text", pd.DataFrame(), 1, 2, third=3) == ("text", (1, 2), 3)
    assert function.__doc__ == "Words."
    with pytest.raises(InputError, match="takes a table, and this is of type int"):
        function("text", second=3)
    assert {"HookedModel", "DataFrame"} <= set(KINDS)
