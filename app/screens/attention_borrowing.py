"""What the Attention page borrows for a computation: the model, and what was read of it on the page's text."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from workbench.app.serving import the_server
from workbench.app.serving.results import size_of
from workbench.app.shell import Asked
from workbench.app.views.attention import HeadChoice, Reading, read_mixer, read_stream
from workbench.model import HookedModel

T = TypeVar("T")

KEPT = 64 * 2**20
"""Bytes of a reading that is kept beside the results; a larger one would push out all of them, and is made again."""


@contextmanager
def borrowed(source: str, asked: Asked, choice: HeadChoice) -> Iterator[tuple[HookedModel, Reading]]:
    """A model, to nobody else, and its mixer on the text: read once, whichever head is looked at."""
    with the_server().models.lend(source) as model:
        key = ("attention", "mixer", source, asked.prompt_id, choice.layer, choice.mixer, choice.scope)
        yield model, _once(key, lambda: read_mixer(model, asked.prompt, choice))


def stream_of(model: HookedModel, source: str, asked: Asked) -> Float[Tensor, "batch time d_model"]:
    """The residual stream before the final norm, of a model that is borrowed."""
    return _once(("attention", "stream", source, asked.prompt_id), lambda: read_stream(model, asked.prompt))


def _once(key: Hashable, make: Callable[[], T]) -> T:
    results = the_server().results
    there, value = results.get(key)
    if not there:
        value = make()
        if size_of(value) <= KEPT:
            results.put(key, value)
    return value  # type: ignore[no-any-return]
