"""The map of a model's layer against the model itself and against torch's cells."""

import pytest
import torch

from tests.probes.memory.models import linear_rnn, tiny
from workbench.errors import InputError
from workbench.probes.dynamics import StateMap, eigenvalues, find_fixed_points, state_jacobian

F64 = torch.float64


@pytest.mark.parametrize("mixer", ["lstm", "gru", "leaky_rnn"])
def test_the_trajectory_of_a_cell_passes_through_the_states_of_the_model(mixer: str) -> None:
    model = tiny(mixer, units=6)
    tokens = torch.randint(40, (2, 9))
    for layer in range(2):
        recurrence = StateMap(model, layer)
        along = recurrence.trajectory(tokens)
        states = model.recurrent_states(tokens, layer).flatten(2)
        torch.testing.assert_close(along[..., recurrence.part("cell")], states)
    assert recurrence.dim == (12 if mixer == "lstm" else 6)


@pytest.mark.parametrize("mixer", ["gated_delta", "mamba", "mamba2", "rg_lru", "mlstm", "rwkv4", "retnet"])
def test_linear_recurrences_have_a_map_too_convolution_and_all(mixer: str) -> None:
    model = tiny(mixer)
    tokens = torch.randint(40, (2, 9))
    recurrence = StateMap(model, 1)
    along = recurrence.trajectory(tokens)
    states = model.recurrent_states(tokens, 1).flatten(2)
    torch.testing.assert_close(along[..., recurrence.part("state")], states)
    # A step from a state of the trajectory leads to the next one, registers and normalisers included.
    at = 7 if mixer == "retnet" else None
    torch.testing.assert_close(recurrence.step(along[:, 6], recurrence.inputs(tokens)[:, 7], at), along[:, 7])


def test_a_layer_that_reads_the_first_layers_values_is_given_them() -> None:
    model = tiny("rwkv7", head_dim=16)
    tokens = torch.randint(40, (2, 9))
    first, second = StateMap(model, 0), StateMap(model, 1)
    assert (first.width, second.width) == (32, 64)
    values = model.run_with_cache(tokens)[1]["blocks.0.mixer.hook_v"]
    torch.testing.assert_close(second.inputs(tokens)[..., 32:], values.flatten(2))
    along = second.trajectory(tokens)
    torch.testing.assert_close(along[..., second.part("state")], model.recurrent_states(tokens, 1).flatten(2))
    torch.testing.assert_close(second.step(along[:, 6], second.inputs(tokens)[:, 7]), along[:, 7])
    assert second.under_token(3)(second.rest(2)).shape == (2, second.dim)


def test_a_mixer_that_reads_positions_has_no_map_of_the_state_alone() -> None:
    with pytest.raises(InputError, match="reads the position of each token"):
        StateMap(tiny("retnet"), 0).under_token(3)
    with pytest.raises(InputError, match="say which one it is"):
        StateMap(tiny("retnet"), 0).step(torch.zeros(1, 512, dtype=F64), torch.zeros(1, 32, dtype=F64))
    assert "seen" not in [name for name, _ in StateMap(tiny("rg_lru"), 0).parts]
    StateMap(tiny("rg_lru"), 0).under_token(3)


def test_a_cell_is_mapped_in_double_precision_whatever_the_model_is() -> None:
    model = tiny("lstm", units=6)
    tokens = torch.randint(40, (1, 5))
    double = StateMap(model, 0).trajectory(tokens)
    model.float()
    single = StateMap(model, 0).trajectory(tokens)
    assert single.dtype == F64
    torch.testing.assert_close(single, double, rtol=1e-4, atol=1e-5)


def test_the_jacobian_of_a_torch_rnn_is_its_matrix_and_its_fixed_point_is_solved() -> None:
    transition = torch.tensor([[0.6, 0.2], [0.1, 0.5]], dtype=F64)
    inputs, embedding = torch.rand(2, 3, dtype=F64), torch.rand(7, 3, dtype=F64)
    recurrence = StateMap(linear_rnn(transition, inputs, embedding), 0)
    step = recurrence.under_token(4)
    found = find_fixed_points(step, recurrence.rest(3) + torch.rand(3, 2, dtype=F64), iterations=20)
    expected = torch.linalg.solve(torch.eye(2, dtype=F64) - transition, inputs @ embedding[4])
    torch.testing.assert_close(found.points[0], expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(state_jacobian(step, expected), transition)


def test_the_jacobian_of_a_gru_is_what_autograd_makes_of_torchs_own_cell() -> None:
    model = tiny("gru", layers=1, units=5)
    recurrence = StateMap(model, 0)
    read = recurrence.inputs(torch.tensor([[7]]))[0, 0]
    weights = model.wrapped.blocks[0].mixer.weights
    state = torch.randn(5, dtype=F64)

    def cell(hidden: torch.Tensor) -> torch.Tensor:
        parts = (weights.input, weights.recurrent, weights.input_bias, weights.recurrent_bias)
        return torch.gru_cell(read[None], hidden[None], *parts)[0]

    expected = torch.autograd.functional.jacobian(cell, state)
    found = state_jacobian(recurrence.under(read), state)
    torch.testing.assert_close(found, expected)
    sizes = eigenvalues(found).abs()
    assert (sizes.diff() <= 1e-12).all() and sizes.prod().item() == pytest.approx(
        abs(torch.linalg.det(expected).item())
    )


def test_tokens_and_states_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="is no recurrence"):
        StateMap(tiny("attention"), 0)
    recurrence = StateMap(tiny("gru", units=4), 0)
    with pytest.raises(InputError, match="has 4 numbers here, not 3"):
        recurrence.step(torch.zeros(1, 3, dtype=F64), torch.zeros(1, 32, dtype=F64))
    with pytest.raises(InputError, match="no part 'carry'"):
        recurrence.part("carry")
    with pytest.raises(InputError, match="reads 32 numbers"):
        recurrence.under(torch.zeros(3))
