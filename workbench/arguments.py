"""One clear sentence for whoever hands a function the name of a model, or a text, in place of what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import Any, ParamSpec, TypeVar

from workbench.errors import InputError

Given = ParamSpec("Given")
Result = TypeVar("Result")

KINDS = {
    "HookedModel": ("a loaded model", "wb.load({given})"),
    "Lens": ("a lens", "LogitLens(model), for one"),
    "Corpus": ("a corpus", "read_corpus(model, texts)"),
    "NeuronStatistics": ("statistics of neurons", "neuron_statistics(model, corpus)"),
    "ProbeData": ("labelled places", "labelled_texts(model, texts, labels), labelled_tokens or labelled_states"),
    "Task": ("a task", "wb.tasks.make_task(name, model)"),
    "TaskScores": ("scores of a task", "wb.tasks.score_model(model, task)"),
    "DataFrame": ("a table", "a pandas DataFrame"),
    "Unembedding": ("an unembedding", "Unembedding(model)"),
}
"""What users have to make before they can hand it on: what it is called, and how it is made."""


def checked_call(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorator of public functions: refuse an argument that is no object of the kind that its annotation names.

    Only annotations made of `KINDS` are looked at; all other types are left to the function. It goes by the names of
    classes, so that nothing is imported for it.

    Raises:
        InputError: on a call, with a sentence that says what is needed and how it is made.
    """
    wanted = {name: kinds for name, note in function.__annotations__.items() if (kinds := _kinds(note))}
    places = list(inspect.signature(function).parameters)

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for name, value in chain(zip(places, args, strict=False), kwargs.items()):
            kinds = wanted.get(name)
            if kinds and not any(base.__name__ in kinds for base in type(value).__mro__):
                raise InputError(_sentence(function.__qualname__.removesuffix(".__init__"), kinds[0], value))
        return function(*args, **kwargs)

    return call


def _kinds(annotation: Any) -> tuple[str, ...]:
    """The classes that an annotation allows, or none where it allows anything that is not of `KINDS`."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    names = tuple(part.strip().rpartition(".")[2] for part in text.split("|"))
    return names if all(name in KINDS for name in names) else ()


def _sentence(function: str, kind: str, value: object) -> str:
    what, made = KINDS[kind]
    if kind != "HookedModel":
        return f"{function} takes {what}, and this is of type {type(value).__name__}: {made}."
    if isinstance(value, str):
        spelled = '"' + value + '"'
        return f"{function} takes {what}: {made.format(given=spelled)}."
    return f"{function} takes {what}, and this is of type {type(value).__name__}: {made.format(given='...')}."
