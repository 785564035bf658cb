"""A pass that begins at a later layer is the plain pass, in every family, with and without edits above."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.families.case import VOCABULARY, Case, build, hooked
from tests.families.cases import every_case
from tests.workbench import decoder_cases
from workbench.errors import InputError
from workbench.hooks import HookPoint
from workbench.model import HookedModel
from workbench.restarting import Entered, lowest_layer, recording, restarting
from workbench.zoo.config import ZooConfig
from workbench.zoo.model import ZooModel

# Their layers are no blocks of a stream: the module reads every layer's state at its end.
STACKS = {"nn.LSTM", "nn.LSTM, time first, projected, without biases", "nn.GRU", "nn.RNN"}
FAMILIES = [pytest.param(case, id=name) for name, case in every_case().items() if name not in STACKS]
DECODERS = [pytest.param(make, id=name) for name, make in decoder_cases.CASES.items()]
ROWS, TIME = 2, 11


def texts(vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(3, vocabulary, (ROWS, TIME), generator=torch.Generator().manual_seed(5))


def recorded(model: HookedModel, tokens: Tensor, layer: int) -> list[Entered]:
    """What entered a layer, each text read alone."""
    return [entered[layer] for entered in every_layer(model, tokens)]


def every_layer(model: HookedModel, tokens: Tensor) -> list[dict[int, Entered]]:
    """What entered the layers, and the final norm, each text read alone."""
    found: list[dict[int, Entered]] = [{} for _ in tokens]
    for row, into in zip(tokens, found, strict=True):
        with torch.no_grad(), recording(model, range(1, model.cfg.n_layers + 1), into, stop=True):
            assert model(row[None], return_type=None) is None
    return found


def turned(tensor: Tensor, hook: HookPoint) -> Tensor:
    """An edit that no layer hides."""
    return tensor.flip(-1) * 1.5 + 0.25


def check_every_layer(model: HookedModel, tokens: Tensor) -> None:
    """Begin at every layer and behind the last, with the texts in another order and one twice, and edit the last."""
    order, n_layers = [1, 0, 1], model.cfg.n_layers
    edits = [(f"blocks.{n_layers - 1}.hook_resid_post", turned)]
    with torch.no_grad():
        expected = model(tokens[order])
        edited = model.run_with_hooks(tokens[order], fwd_hooks=edits)
        assert (edited - expected).abs().max() > 1e-3 * expected.abs().max()
        texts_read = every_layer(model, tokens)
        for layer in range(1, n_layers + 1):
            entered = Entered.joined([text[layer] for text in texts_read]).rows(order)
            with restarting(model, entered):
                close(model(tokens[order]), expected)
                if layer < n_layers:
                    close(model.run_with_hooks(tokens[order], fwd_hooks=edits), edited)
        assert torch.equal(model(tokens[order]), expected)  # everything is as it was


def close(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("case", FAMILIES)
def test_a_pass_may_begin_at_any_layer_of_a_family(case: Case) -> None:
    with hooked(build(case)) as model:
        check_every_layer(model, texts())


@pytest.mark.parametrize("make", DECODERS)
def test_a_pass_may_begin_at_any_layer_of_a_softmax_decoder(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    with hooked(make().eval()) as model:
        check_every_layer(model, texts())


@pytest.mark.parametrize("name", sorted(STACKS))
def test_layers_that_leave_states_with_their_model_are_refused(name: str) -> None:
    with hooked(build(every_case()[name])) as model, pytest.raises(InputError, match="none can be left out"):
        recorded(model, texts(), 1)


def zoo_model(mixer: str = "rwkv7", **options: int) -> nn.Module:
    torch.manual_seed(0)
    config = ZooConfig(mixer, vocab_size=VOCABULARY, d_model=16, n_layers=3, d_mlp=16, mixer_options=options)
    return ZooModel(config).eval()


def test_a_hook_below_the_layer_is_refused_and_one_in_it_fires() -> None:
    with hooked(zoo_model("attention", n_heads=2)) as model:
        tokens = texts()
        entered = Entered.joined(recorded(model, tokens, 2))
        for below in ("blocks.1.hook_resid_post", "blocks.0.mixer.hook_q", "hook_embed"):
            with (
                pytest.raises(InputError, match=f"{below} does not fire .* at layer 2"),
                model.hooks([(below, turned)]),
                restarting(model, entered),
            ):
                model(tokens)
        seen: list[Tensor] = []
        with model.hooks([("blocks.2.hook_resid_pre", lambda tensor, hook: seen.append(tensor.clone()))]):
            with restarting(model, entered):
                model(tokens)
            model(tokens)
        close(*seen)


def test_blocks_are_put_back_after_an_error() -> None:
    with hooked(zoo_model("attention", n_heads=2)) as model:
        tokens = texts()
        expected = model(tokens)
        entered = recorded(model, tokens, 2)[0]
        for other in (tokens[:1, :5], tokens):
            with pytest.raises(InputError, match="1 x 11 tokens"), restarting(model, entered):
                model(other)
        assert torch.equal(model(tokens), expected)


def test_what_is_kept_does_not_change_when_layers_write_in_place() -> None:
    with hooked(zoo_model(head_dim=8)) as model:
        tokens = texts()
        entered = Entered.joined(recorded(model, tokens, 1))
        before = entered.output.clone()

        def spoil(tensor: Tensor, hook: HookPoint) -> None:
            tensor.zero_()

        with restarting(model, entered), model.hooks([("blocks.1.hook_resid_post", spoil)]):
            model(tokens)
        assert torch.equal(entered.output, before)
        assert "values" in entered.handed  # RWKV-7's first values go beside the stream


def test_parts_of_a_batch() -> None:
    handed = {"values": torch.arange(24.0).reshape(2, 4, 3), "scale": torch.tensor([1.0, 2.0, 3.0])}
    entered = Entered(1, 2, 4, (torch.arange(8.0).reshape(2, 4), None), {"keys": {"a": torch.ones(2, 5, 4)}}, handed)
    assert entered.nbytes == 4 * (24 + 3 + 8 + 40)
    rows = entered.rows([1, 1, 0])
    assert rows.batch == 3
    assert torch.equal(rows.output[0], entered.output[0][[1, 1, 0]])
    assert torch.equal(rows.shared["keys"]["a"], torch.ones(3, 5, 4))
    assert torch.equal(rows.handed["scale"], handed["scale"])  # no axis of the batch
    at = entered.at(torch.tensor([[0, 3], [2, 2]]))
    assert at.output[0].tolist() == [[0, 3], [6, 6]]
    assert at.shared["keys"]["a"].shape == (2, 5, 4)  # no sequence of positions
    since = entered.since(3)
    assert (since.time, since.output[0].tolist()) == (1, [[3], [7]])
    joined = Entered.joined([entered, rows])
    assert torch.equal(joined.handed["values"], torch.cat([handed["values"], rows.handed["values"]]))
    with pytest.raises(InputError, match="different lengths"):
        Entered.joined([entered, since])


def test_layers_that_there_are_not() -> None:
    with hooked(zoo_model("attention", n_heads=2)) as model:
        for layer in (0, 4):
            with pytest.raises(InputError, match="from 1 to 3"), recording(model, [layer], {}):
                pass


def test_lowest_layers() -> None:
    assert lowest_layer(["blocks.7.mixer.hook_out", "blocks.3.hook_mlp_out", "ln_final.hook_normalized"], 9) == 3
    assert lowest_layer(["hook_embed", "blocks.3.hook_mlp_out"], 9) == 0
    assert lowest_layer(["hook_logits"], 9) == 9
