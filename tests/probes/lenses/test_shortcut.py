import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tests.probes.lenses.models import affine_model, random_model, rows
from workbench.errors import InputError
from workbench.probes.lenses import (
    LeastSquares,
    evaluate_lenses,
    fit_replacement,
    fit_shortcuts,
    fit_state_lens,
    replaced,
    residual_streams,
    shortcut,
)


def examples(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = torch.randn(count, 5) + 1, torch.randn(count, 3)
    return x, (x @ torch.randn(5, 3) + 0.3 * y + 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_maps_from_running_sums_are_scikit_learns(bias: bool, ridge: float) -> None:
    x, y = examples()
    sums = LeastSquares(5, 3)
    for part in range(0, 60, 7):
        sums.add(x[part : part + 7], y[part : part + 7])
    centred = x - x.mean(0) if bias else x
    penalty = ridge * 60 * float(centred.square().mean())
    want = Ridge(alpha=penalty, fit_intercept=bias).fit(x.double().numpy(), y.double().numpy())
    found = sums.solve(bias=bias, ridge=ridge)
    np.testing.assert_allclose(found.weight.numpy().T, want.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.bias.numpy(), np.broadcast_to(want.intercept_, 3), rtol=1e-5, atol=1e-7)


def test_features_that_repeat_each_other_give_the_map_of_least_norm() -> None:
    x, y = examples()
    x = torch.cat([x, x[:, :2]], dim=1).double()
    sums = LeastSquares(7, 3)
    sums.add(x, y)
    want = np.linalg.lstsq(x.numpy(), y.double().numpy(), rcond=1e-10)[0]
    np.testing.assert_allclose(sums.solve(bias=False).weight.numpy(), want, atol=1e-8)


def test_a_rank_keeps_the_best_approximation_of_the_predictions() -> None:
    x, y = examples()
    sums = LeastSquares(5, 3)
    sums.add(x, y)
    full = np.linalg.lstsq(x.double().numpy(), y.double().numpy(), rcond=None)[0]
    u, s, vt = np.linalg.svd(x.double().numpy() @ full, full_matrices=False)
    found = sums.solve(bias=False, rank=1)
    np.testing.assert_allclose(x.double().numpy() @ found.weight.numpy(), s[0] * np.outer(u[:, 0], vt[0]), atol=1e-6)
    with pytest.raises(InputError, match="a rank is at least 1"):
        sums.solve(rank=0)
    with pytest.raises(InputError, match="no examples"):
        LeastSquares(5, 3).solve()


@pytest.mark.parametrize("budget", [2**29, 1])
def test_shortcuts_through_affine_blocks_are_exact(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut, "BYTES_AT_ONCE", budget)  # 1: a pass over the tokens for each pair
    model = affine_model(3)
    lens = fit_shortcuts(model, rows(model, 16), targets=[2, 3], bias=True)
    assert sorted(lens.maps) == [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    streams = residual_streams(model, rows(model, 4, seed=9)).float()
    for (source, target), map_ in lens.maps.items():
        torch.testing.assert_close(lens.jump(streams[source], source, target), streams[target])
        want = torch.eye(8, dtype=torch.float64)
        for block in model.wrapped.blocks[source:target]:
            want = want + want @ block.drift.weight.T
        torch.testing.assert_close(map_.weight, want)
    table = evaluate_lenses(lens, rows(model, 4, seed=9))
    assert float(table["kl"].abs().max()) < 1e-9 and bool((table["precision@1"] == 1).all())
    with pytest.raises(InputError, match="No shortcut was fitted from depth 0 to depth 1"):
        lens.jump(streams[0], 0, 1)


def test_depths_given_twice_or_in_the_wrong_order_are_refused() -> None:
    model = affine_model()
    with pytest.raises(InputError, match="given twice"):
        fit_shortcuts(model, rows(model), sources=[0, 2, -1])
    with pytest.raises(InputError, match="no shortcut to fit"):
        fit_shortcuts(model, rows(model), sources=[2], targets=[0, 1])


@pytest.mark.parametrize("part", ["mixer", "mlp"])
def test_a_replaced_part_writes_the_best_linear_map_of_what_it_reads(part: str) -> None:
    model = random_model(dtype=torch.float64)
    tokens = rows(model)
    block = model.wrapped.blocks[1]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    module = block.mixer if part == "mixer" else block.mlp
    handle = module.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    model(tokens)
    handle.remove()
    (x, y) = (tensor.detach().flatten(0, 1).numpy() for tensor in seen[0])
    replacement = fit_replacement(model, tokens, -1, part)
    want = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(replacement.map.weight.numpy(), want, rtol=1e-6, atol=1e-9)

    before = model(tokens)
    with replaced(model, replacement):
        _, cache = model.run_with_cache(tokens)
    name = "blocks.1.mixer.hook_out" if part == "mixer" else "blocks.1.hook_mlp_out"
    # What the part reads in this run is what it read before: nothing ahead of it was changed.
    np.testing.assert_allclose(cache[name].detach().flatten(0, 1).numpy(), x @ want, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(cache["hook_logits"], before)
    assert torch.equal(model(tokens), before)


def test_parts_that_are_not_there_or_replaced_twice_are_refused() -> None:
    model = random_model()
    with pytest.raises(InputError, match="no part 'attention'"):
        fit_replacement(model, rows(model), 0, "attention")
    one = fit_replacement(model, rows(model), 0)
    with pytest.raises(InputError, match="replaced twice"), replaced(model, one, one):
        pass
    with pytest.raises(InputError, match="no module of its own"):
        fit_replacement(affine_model(), rows(affine_model()), 0, "mlp")


@pytest.mark.parametrize(("mixer", "head"), [("gla", None), ("gla", 1), ("mamba", 3), ("lstm", None)])
def test_a_state_lens_is_the_ridge_map_from_states_to_the_last_stream(mixer: str, head: int | None) -> None:
    model = random_model(mixer)
    tokens, at = rows(model, 12), [3, 7, 11]
    lens = fit_state_lens(model, tokens, 0, head=head, positions=at, ridge=0.1)
    states = model.recurrent_states(tokens, 0, at)
    chosen = states if head is None else states[:, :, head : head + 1]
    x = chosen.flatten(2).flatten(0, 1).double()
    y = residual_streams(model, tokens)[-1][:, at].flatten(0, 1).double()
    penalty = 0.1 * len(x) * float((x - x.mean(0)).square().mean())
    want = Ridge(alpha=penalty).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(lens.map.weight.numpy().T, want.coef_, rtol=1e-3, atol=1e-5)
    guess = torch.tensor(want.predict(x.numpy())).float().unflatten(0, (12, 3))
    torch.testing.assert_close(lens.transform(states), guess, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        target, predicted = model(tokens)[:, at].log_softmax(-1), lens.logits(states).log_softmax(-1)
    measured = lens.evaluate(tokens, at)
    assert measured["kl"][0] == pytest.approx(float((target.exp() * (target - predicted)).sum(-1).mean()), rel=1e-4)
    agreement = (target.argmax(-1) == predicted.argmax(-1)).double().mean()
    assert measured["precision@1"][0] == pytest.approx(float(agreement))


def test_states_that_are_not_there_or_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="keeps no recurrent state"):
        fit_state_lens(random_model("attention"), rows(random_model()), 0)
    model = random_model()
    with pytest.raises(InputError, match="has heads 0 to"):
        fit_state_lens(model, rows(model), 0, head=9)
    monkeypatch.setattr("workbench.probes.lenses.states.MOST_FEATURES", 3)
    with pytest.raises(InputError, match="Give a head"):
        fit_state_lens(model, rows(model), 0)
