"""Trajectories, clusters and silenced units, checked by construction."""

import pytest
import torch

from tests.probes.memory.models import linear_rnn, tiny
from workbench.errors import InputError
from workbench.loss import next_token_loss
from workbench.probes.dynamics import (
    cluster_states,
    compare_partitions,
    principal_trajectories,
    silence_units,
    trajectory_figure,
)

F64 = torch.float64


def test_states_in_a_plane_have_two_components_and_are_where_they_were() -> None:
    basis = torch.linalg.qr(torch.randn(5, 2, dtype=F64))[0]
    flat = torch.randn(3, 40, 2, dtype=F64) * torch.tensor([3.0, 1.0], dtype=F64)
    states = flat @ basis.T + 2
    found = principal_trajectories(states, 3)
    assert found.explained.sum().item() == pytest.approx(1) and found.explained[2] < 1e-12
    rebuilt = found.projected @ found.directions + found.mean
    torch.testing.assert_close(rebuilt, states)
    torch.testing.assert_close(found.project(states[1]), found.projected[1])
    eigen = torch.linalg.eigvalsh(flat.flatten(0, 1).T.cov())
    assert found.dimension == pytest.approx(float(eigen.sum() ** 2 / eigen.square().sum()))
    assert list(found.table().columns) == ["sequence", "step", "pc1", "pc2", "pc3"] and len(found.table()) == 120


def test_the_figure_shows_lines_labels_and_fixed_points() -> None:
    states = torch.randn(2, 10, 4, dtype=F64)
    trajectories = principal_trajectories(states, 2)
    labels = torch.arange(20).reshape(2, 10) % 3
    figure = trajectory_figure(trajectories, labels=labels, points=states[0, :2], label_names=["a", "b", "<c>"])
    names = [trace.name for trace in figure.data]
    assert names[:2] == ["sequence 0", "sequence 1"] and names[-1] == "fixed points" and "<c>" not in names
    assert list(figure.data[-1].x) == pytest.approx(trajectories.projected[0, :2, 0].tolist())
    assert trajectory_figure(principal_trajectories(states, 3)).data[0].type == "scatter3d"
    with pytest.raises(InputError, match="two components"):
        trajectory_figure(principal_trajectories(states, 1))


def test_clusters_that_are_the_hidden_states_agree_and_shuffled_ones_do_not() -> None:
    labels = torch.randint(3, (4, 50))
    centres = torch.tensor([[0.0, 10], [10, 0], [-10, -10]], dtype=F64)
    states = centres[labels] + 0.1 * torch.randn(4, 50, 2, dtype=F64)
    found = cluster_states(states, labels)
    assert found.adjusted_rand == pytest.approx(1) and found.mutual_information == pytest.approx(1)
    assert found.purity == 1 and found.chance < 0.5
    assert (found.table() > 0).to_numpy().sum() == 3
    shuffled = labels.flatten()[torch.randperm(200)].reshape(4, 50)
    assert abs(cluster_states(states, shuffled).adjusted_rand) < 0.05
    unlabelled = labels.clone()
    unlabelled[:, :10] = -1
    assert len(cluster_states(states, unlabelled).labels) == 160


def test_agreement_is_what_the_contingency_says() -> None:
    found = compare_partitions(torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 1, 1]))
    # Hubert and Arabie 1985, by hand: index 4, expected 6 * 7 / 15, maximum (6 + 7) / 2.
    assert found.adjusted_rand == pytest.approx((4 - 42 / 15) / (6.5 - 42 / 15))
    assert found.purity == pytest.approx(5 / 6) and found.chance == pytest.approx(4 / 6)


def test_a_silenced_unit_of_a_linear_network_is_one_without_its_row_and_column() -> None:
    transition = torch.rand(4, 4, dtype=F64) * 0.3
    inputs, embedding = torch.rand(4, 3, dtype=F64), torch.rand(9, 3, dtype=F64)
    model = linear_rnn(transition, inputs, embedding)
    tokens = torch.randint(9, (3, 12))
    found = silence_units(model, tokens, 0, rows_at_once=6).set_index("unit")
    head = model.wrapped.head.weight.detach()
    for unit in range(4):
        alive = torch.ones(4, dtype=F64)
        alive[unit] = 0
        hidden, logits = torch.zeros(3, 4, dtype=F64), []
        for token in tokens.T:
            hidden = alive * (hidden @ transition.T + embedding[token] @ inputs.T)
            logits.append(hidden @ head.T)
        expected = next_token_loss(torch.stack(logits, 1), tokens)
        assert found.loc[unit, "loss"] == pytest.approx(expected.item(), rel=1e-9)
    changes = silence_units(model, tokens, 0)["effect"].tolist()
    assert changes == sorted(changes, reverse=True)


def test_silencing_what_a_unit_writes_leaves_what_it_remembers() -> None:
    model = tiny("lstm", layers=1, units=4)
    tokens = torch.randint(40, (2, 8))
    output = silence_units(model, tokens, 0, units=[1, 2], at="head_out").set_index("unit")
    weight = model.wrapped.blocks[0].mixer.o_proj.weight
    with torch.no_grad():
        weight[:, 2] = 0
    assert output.loc[2, "loss"] == pytest.approx(next_token_loss(model(tokens), tokens).item(), rel=1e-9)
    state = silence_units(model, tokens, 0, units=[1], at="state")
    assert state["loss"][0] != pytest.approx(output.loc[1, "loss"], rel=1e-6)


def test_pads_do_not_count_when_units_are_silenced() -> None:
    model = tiny("gru", layers=1, units=4)
    tokens = torch.randint(1, 40, (2, 6))
    padded = torch.cat([torch.zeros(2, 2, dtype=torch.long), tokens], 1)
    mask = torch.tensor([[0, 0] + [1] * 6] * 2)
    alone = silence_units(model, tokens, 0).set_index("unit").sort_index()
    beside = silence_units(model, padded, 0, attention_mask=mask).set_index("unit").sort_index()
    assert beside["loss"].tolist() == pytest.approx(alone["loss"].tolist(), rel=1e-9)


def test_bad_units_and_labels_are_refused() -> None:
    model = tiny("gru", layers=1, units=4)
    tokens = torch.randint(40, (1, 6))
    with pytest.raises(InputError, match="from 0 to 3"):
        silence_units(model, tokens, 0, units=[4])
    with pytest.raises(InputError, match="must be one of 'state', 'head_out'"):
        silence_units(model, tokens, 0, at="gate")
    with pytest.raises(InputError, match="one label"):
        cluster_states(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(InputError, match="do not pair up"):
        cluster_states(torch.zeros(1, 3, 2), torch.zeros(1, 4, dtype=torch.long))
