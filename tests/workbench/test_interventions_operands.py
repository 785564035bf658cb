"""Scaling heads and channels, and fixing gates and decays, against stock models with other weights and by hand."""

import functools

import pytest
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.interventions import Ablate, Fix, Scale
from workbench.model import HookedModel


@functools.cache
def model(name: str) -> HookedModel:
    return wb.load(f"zoo:{name}")


def tokens(time: int = 7) -> torch.Tensor:
    return torch.randint(5, 2000, (2, time), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["attention", "mamba2", "gru"])
@torch.no_grad()
def test_a_head_scaled_by_zero_is_ablated_and_by_one_untouched(name: str) -> None:
    lm = model(name)
    plain = lm(tokens())
    with Scale(["L1H0", "L2.mlp"], 0.0).applied(lm):
        gone = lm(tokens())
    with Ablate(["L1H0", "L2.mlp"]).applied(lm):
        torch.testing.assert_close(gone, lm(tokens()), rtol=1e-5, atol=1e-5)
    assert (gone - plain).abs().max() > 1e-3
    with Scale(["L1H0", "L2.mlp"], 1.0).applied(lm):
        torch.testing.assert_close(lm(tokens()), plain, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_only_the_channel_is_scaled() -> None:
    lm, name = model("attention"), "blocks.2.mixer.hook_in"
    columns = torch.randn(128, 3)
    _, cache = lm.run_with_cache(tokens(), name)
    kept = {}
    centre = torch.randn(128)
    edit = Scale(name, 4.0, subspace=columns, centre=centre, positions=[2])
    lm.run_with_hooks(tokens(), fwd_hooks=[*edit.hooks(lm), (name, lambda x, hook: kept.__setitem__(0, x.clone()))])
    # The projection by least squares, in float64, in place of the orthonormal basis.
    x = (cache[name][:, 2] - centre).double()
    part = x @ columns.double() @ torch.linalg.pinv(columns.double())
    part = (columns.double() @ torch.linalg.lstsq(columns.double(), x.T).solution).T
    expected = cache[name].double().clone()
    expected[:, 2] += 3 * part
    torch.testing.assert_close(kept[0].double(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_scaling_a_head_twice_is_doubling_its_columns_of_the_output_projection() -> None:
    lm = wb.load("zoo:attention")
    with Scale("L1H2", 2.0).applied(lm):
        scaled = lm(tokens())
    projection = lm.mixer(1).module.get_submodule("o_proj")
    width = lm.mixer(1).d_value
    projection.weight[:, 2 * width : 3 * width] *= 2  # type: ignore[index,operator]
    torch.testing.assert_close(scaled, lm(tokens()), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_writing_nothing_leaves_the_state_empty_and_forgetting_nothing_sums_it() -> None:
    lm = model("mamba2")
    state, operands = "blocks.1.mixer.hook_state", ["blocks.1.mixer.hook_k", "blocks.1.mixer.hook_v"]
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor, hook: object) -> None:
        kept[hook.step] = tensor.clone()  # type: ignore[attr-defined]

    lm.run_with_hooks(tokens(), fwd_hooks=[*Fix("blocks.1.mixer.hook_write", 0.0).hooks(lm), (state, keep)])
    assert kept[6].abs().max() == 0
    both = [Fix("blocks.1.mixer.hook_log_decay", 0.0), Fix("blocks.1.mixer.hook_write", 1.0)]
    lm.run_with_hooks(tokens(), fwd_hooks=[*(hook for fix in both for hook in fix.hooks(lm)), (state, keep)])
    _, cache = lm.run_with_cache(tokens(), operands)
    k, v = (cache[name].double() for name in operands)
    k = k.repeat_interleave(v.shape[2] // k.shape[2], dim=2)
    torch.testing.assert_close(kept[6].double(), torch.einsum("bthk,bthv->bhkv", k, v), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_lstm_whose_forget_gate_is_fixed_is_the_published_recurrence_with_that_gate() -> None:
    lm = model("lstm")
    with Fix("blocks.0.mixer.hook_log_decay", 0.0).applied(lm):
        _, cache = lm.run_with_cache(tokens(), ["blocks.0.mixer.hook_in", "blocks.0.mixer.hook_head_out"])
    x = cache["blocks.0.mixer.hook_in"].double()
    parameters = {name: p.double() for name, p in lm.mixer(0).module.named_parameters()}
    w, u = parameters["x_proj.weight"], parameters["h_proj.weight"]
    b = parameters["x_proj.bias"] + parameters["h_proj.bias"]
    hidden = cell = torch.zeros(2, u.shape[1], dtype=torch.double)
    written = []
    for step in range(x.shape[1]):  # Hochreiter and Schmidhuber's equations, forget gate 1
        i, _, g, o = (x[:, step] @ w.T + hidden @ u.T + b).chunk(4, dim=-1)
        cell = cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        written.append(hidden)
    torch.testing.assert_close(
        cache["blocks.0.mixer.hook_head_out"].double().flatten(2), torch.stack(written, 1), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_fixing_some_heads_and_positions_leaves_the_others() -> None:
    lm, name = model("mamba2"), "blocks.0.mixer.hook_log_decay"
    _, cache = lm.run_with_cache(tokens(), name)
    kept = {}
    edit = Fix(name, -3.0, heads=[1], positions=slice(2, 4))
    lm.run_with_hooks(tokens(), fwd_hooks=[*edit.hooks(lm), (name, lambda x, hook: kept.__setitem__(0, x.clone()))])
    expected = cache[name].clone()
    expected[:, 2:4, 1] = -3
    assert kept[0].equal(expected)


@torch.no_grad()
def test_interventions_of_all_kinds_act_in_one_run() -> None:
    lm = model("gla")
    edits = [Scale("L0H1", 0.0), Fix("blocks.1.mixer.hook_log_decay", 0.0), Ablate("L2.mlp")]
    with lm.hooks([hook for edit in edits for hook in edit.hooks(lm)]):
        together = lm(tokens())
    with edits[0].applied(lm), edits[1].applied(lm), edits[2].applied(lm):
        assert together.equal(lm(tokens()))
    with edits[0].applied(lm), edits[1].applied(lm):
        assert (together - lm(tokens())).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scale("hook_resid_post", 0.0, subspace=torch.ones(128, 2)), "span only 1 dimensions"),
        (lambda: Scale("hook_resid_post", 0.0, subspace=torch.ones(64)), "is 128 wide, and the subspace 64"),
        (lambda: Scale("hook_resid_post", 0.0, subspace=torch.ones(128), units=3), "another way"),
        (lambda: Scale("hook_resid_post", 0.0, units=[128]), "numbers 0 to 127"),
        (lambda: Fix("hook_resid_post", float("nan")), "NaN is no value"),
        (lambda: Fix("hook_resid_post", torch.ones(3)), "does not fit"),
        (lambda: Fix([], 0.0), "list of places is empty"),
    ],
)
def test_edits_that_make_no_sense_are_refused_with_a_sentence(make: object, said: str) -> None:
    lm = model("gla")
    with pytest.raises(InputError, match=said):
        lm.run_with_hooks(tokens(), fwd_hooks=make().hooks(lm))  # type: ignore[operator]
