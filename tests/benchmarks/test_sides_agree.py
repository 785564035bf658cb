"""Every race at small shapes: what is raced does the same job, whatever it takes."""

import pytest
import torch

from benchmarks import models, transformer_lens_models
from benchmarks.race import CannotMeasure, Contestant, Race
from benchmarks.races import (
    activations,
    cores,
    finders,
    gpu,
    lengths,
    lenses,
    mamba,
    saes,
    scores,
    state_edits,
    streamed,
    studies,
    study_engines,
    study_listing,
)

# Each at shapes that its blocks do not divide.
SMALL = (
    cores.scan(37, channels=6, state=4),
    cores.state_space_dual(70, heads=3, value=5, state=7),
    cores.gated_delta(70, heads=2, width=8),
    cores.generalised_delta(64, heads=2, width=8),
    cores.gated_linear(19, heads=2, key=6, value=5),
    mamba.residual(21, layers=2, width=32, vocabulary=50),
    state_edits.race(state_edits.MAMBA, 21, width=64),
    state_edits.race(state_edits.MAMBA2, 21, width=64),
    scores.race(46, 30, width=32),
    finders.race("a small GPT-2", models.gpt2, transformer_lens_models.hooked_gpt2, block=11),
    finders.streamed(22, layers=2, width=24, checked=True),
    lenses.race("a small GPT-2", models.gpt2, transformer_lens_models.hooked_gpt2, time=11, vocabulary=100),
    activations.race(
        "a small GPT-2", activations.Subject(models.gpt2, layers=2, length=13, windows=3, passes=2, text=False)
    ),
    studies.race("a small GPT-2", models.gpt2, prompts=2, length=23),
    study_engines.race("a GRU", lambda: "zoo:gru", (2, 3), 6, (study_engines.TWO_LOCAL,)),
    study_listing.race(layers=3, heads=2, prompts=4),
    lengths.mamba(41, channels=3, state=4),
    lengths.gated_delta(41, heads=2, width=8),
    streamed.against_dense(41, heads=2, width=8),
    saes.race("topk", width=12, features=50, k=3, batch=30),
    saes.race("batchtopk", width=12, features=50, k=3, batch=30),
    *gpu.forwards(1, 19, dtype="float32", device="cpu"),
    gpu.states(1, 19, dtype="float32", device="cpu", every=8),
)
# A side without an answer does part of the job on purpose: it says where the others spend their time.
SIDES = [
    pytest.param(race, side, id=f"{race.name}-{side.name}")
    for race in SMALL
    for side in race.contestants
    if side.answer is not None
]


@pytest.mark.parametrize(("race", "side"), SIDES)
@torch.no_grad()
def test_a_side_gives_what_the_oracle_says(race: Race, side: Contestant) -> None:
    try:
        call = side.build()
    except CannotMeasure as reason:
        pytest.skip(str(reason))
    assert race.oracle is not None or side.oracle is not None
    expected = (side.oracle or race.oracle)()
    answer = side.answer(call())
    assert answer.shape == expected.shape and answer.numel() > 0
    error = (answer.double() - expected.double()).abs().max()
    assert error <= 1e-5 * expected.double().abs().max()
    # The same call again: a side that spoilt its own inputs would be timed on something else from then on.
    torch.testing.assert_close(side.answer(call()), answer, rtol=0, atol=0)
