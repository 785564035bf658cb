"""The table of direct logit attribution: complete, exact before a soft cap, about the places that were asked for."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from tests.workbench import decoder_cases
from workbench import direct_logits
from workbench.direct_logits import logit_parts
from workbench.errors import InputError
from workbench.model import HookedModel


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt"])
def test_the_parts_are_complete(name: str) -> None:
    model = HookedModel(decoder_cases.build(name))
    tokens = decoder_cases.batch()
    answers = torch.tensor([[4, 5], [6, 7]])
    found = logit_parts(model, tokens, answers, position=[2, -1])
    assert found.check() < 1e-5
    assert found.values.shape == (len(found.labels), 4)
    with torch.no_grad():
        logits = model(tokens)[:, [2, -1]].gather(-1, answers[..., None]).flatten()
    cap = getattr(model.wrapped.config, "final_logit_softcapping", None)  # type: ignore[union-attr]
    told = logits if cap is None else cap * torch.atanh(logits / cap)
    torch.testing.assert_close(found.total, told, atol=1e-4, rtol=1e-4)
    assert found.table()["direct"].is_monotonic_decreasing
    assert found.table()["direct"].sum() == pytest.approx(float(found.total.mean()), rel=1e-4, abs=1e-4)


def test_the_heads_that_write_the_answer_are_those_that_copy() -> None:
    """Repeated tokens in the zoo's attention: four induction heads in layer 1 write nearly all of the difference."""
    model = wb.load("zoo:attention")
    block = torch.randperm(2000, generator=torch.Generator().manual_seed(2))[:20] + 40
    tokens = torch.cat([block, block])[None]
    places = list(range(24, 39))
    wrong = block[torch.arange(15).flip(0) % 4][None]
    found = logit_parts(model, tokens, tokens[:, 25:40], wrong, position=places)
    heads = {label: float(value.mean()) for label, value in zip(found.labels, found.values, strict=True)}
    induction = sum(heads[f"L1H{head}"] for head in range(4))
    assert induction > 0.8 * float(found.total.mean()) > 8
    assert all(abs(heads[f"L{layer}H{head}"]) < 1 for layer in (0, 2, 3) for head in range(4))


def test_a_figure_shows_the_largest_parts_in_the_models_order() -> None:
    found = logit_parts(HookedModel(decoder_cases.build("llama")), decoder_cases.batch(), 5)
    figure = found.figure(most=4)
    shown = list(figure.data[0].x)
    assert shown == [label for label in found.labels if label in shown] and len(shown) == 4
    table = found.table().set_index("site")["direct"].abs()
    assert set(shown) == set(table.nlargest(4).index)


@pytest.mark.parametrize(
    ("answer", "position", "words"),
    [(5, 99, "outside the 11 tokens"), (5, [], "outside"), (torch.tensor([1, 2, 3]), -1, r"one a sequence \[2\]")],
)
def test_bad_places_and_answers_are_refused(answer: object, position: object, words: str) -> None:
    model = HookedModel(decoder_cases.build("llama"))
    with pytest.raises(InputError, match=words):
        logit_parts(model, decoder_cases.batch(), answer, position=position)  # type: ignore[arg-type]


def test_a_model_has_it_as_a_method() -> None:
    model = HookedModel(decoder_cases.build("llama"))
    asked = {"incorrect": 7, "position": [2, -1], "group": 2}
    by_method, by_function = (
        model.logit_parts(decoder_cases.batch(), 5, **asked),
        direct_logits.logit_parts(model, decoder_cases.batch(), 5, **asked),
    )
    assert by_method.labels == by_function.labels
    assert torch.equal(by_method.values, by_function.values) and torch.equal(by_method.total, by_function.total)
    with pytest.raises(AttributeError, match="no public name 'logit_part'; it has LogitParts, logit_parts"):
        direct_logits.logit_part  # noqa: B018
