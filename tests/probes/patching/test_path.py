"""Path patching follows the one path of a hand-built circuit, and equals the algorithm written out on GPT-2."""

import pytest
import torch
from torch import Tensor

from tests.probes.hand_built import induction_gpt2, induction_mamba2
from tests.probes.patching.cases import pick, repeats, small_gpt2, zoo
from workbench.errors import InputError
from workbench.model import HookedModel
from workbench.probes.patching import answer_metric, head_operands, path_patching
from workbench.tasks import repeated_random_tokens


def test_the_induction_circuits_path_runs_from_the_previous_token_head_to_the_keys() -> None:
    lm = HookedModel(induction_gpt2())
    task = repeated_random_tokens(lm, 8, batch=4, seed=0, avoid=[0])
    other = repeated_random_tokens(lm, 8, batch=4, seed=1, avoid=[0])
    table = path_patching(
        lm,
        task,
        other,
        answer_metric(task, label="second"),
        senders=["L0H0", "L0H1", "L0H2", "L0H3", "L0.mlp"],
        receivers=["L1H2.q", "L1H2.k", "L1H2.v", "L1H2", "L1H0", "logits"],
    )
    effect = table.set_index(["sender", "receiver"])["effect"]
    assert effect["L0H1", "L1H2.k"] < -1
    assert effect["L0H1", "L1H2"] == pytest.approx(effect["L0H1", "L1H2.k"], rel=0.05)
    for pair, value in effect.items():
        if pair not in (("L0H1", "L1H2.k"), ("L0H1", "L1H2")):
            assert abs(value) < 0.05 * abs(effect["L0H1", "L1H2.k"]), pair


@torch.no_grad()
def test_a_heads_path_to_a_key_is_what_the_published_algorithm_gives() -> None:
    stock = small_gpt2()
    lm = HookedModel(stock)
    task, source = repeats(lm)
    metric = pick(-1, 3, 4)
    table = path_patching(lm, task.tokens, source, metric, senders=["L0H1"], receivers=["L1H2.k", "L1.mlp", "logits"])
    expected = {"L1H2.k": by_hand(task.tokens, source, 2), "logits": by_hand(task.tokens, source, None)}
    plain = metric(small_gpt2()(task.tokens).logits)
    for receiver, logits in expected.items():
        effect = float(table.set_index("receiver")["effect"][receiver])
        assert effect == pytest.approx(float((metric(logits) - plain).mean()), abs=1e-9)
        assert abs(effect) > 1e-3


@torch.no_grad()
def test_a_path_between_two_positions_is_what_the_published_algorithm_gives() -> None:
    stock = small_gpt2()
    lm = HookedModel(stock)
    task, source = repeats(lm)

    def metric(logits: Tensor) -> Tensor:  # of several rows, so that it matters which of them are exchanged
        return logits[:, -1, 3] - 2 * logits[:, 4, 5] + logits[:, 1, 1]

    table = path_patching(
        lm,
        task.tokens,
        source,
        metric,
        senders="L0H1",
        receivers=["L1H2.k", "logits"],
        sender_positions=[1, 4],
        receiver_positions=[4, -9],
    )
    assert table["sender_position"].unique().tolist() == [1, 4]
    effects = table.set_index(["receiver", "sender_position", "receiver_position"])["effect"]
    plain = metric(stock(task.tokens).logits)
    for (receiver, at, there), effect in effects.items():
        logits = by_hand(task.tokens, source, None if receiver == "logits" else 2, at, there)
        assert effect == pytest.approx(float((metric(logits) - plain).mean()), abs=1e-9)
        # The residual stream leads from a position to itself alone.
        assert (abs(effect) > 1e-4) == (at == there)


def test_a_short_convolution_carries_a_path_to_the_next_positions() -> None:
    lm = zoo("mamba2")
    task, source = repeats(lm)
    table = path_patching(
        lm,
        task,
        source,
        answer_metric(task, label="second"),
        senders="L0.mixer",
        receivers="L1H0.v",
        sender_positions=[1],
        receiver_positions="each",
    )
    reached = table.loc[table["effect"].abs() > 1e-6, "receiver_position"].tolist()
    assert reached == [1, 2, 3, 4]  # the convolution has four taps


def by_hand(
    tokens: Tensor, source: Tensor, receiver: int | None, at: int | None = None, there: int | None = None
) -> Tensor:
    """Logits of GPT-2 when layer 0's head 1 reaches layer 1's keys (or the final norm) by the residual stream alone.

    What it writes is exchanged at position `at` and what comes of it is read at `there`, or everywhere.
    """
    sender = 1
    model = small_gpt2()
    first, second = model.transformer.h

    def heads_of(text: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = first.attn.c_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        model(text)
        handle.remove()
        return seen[0]

    width = 4
    rows = slice(sender * width, (sender + 1) * width)
    moved = (heads_of(source) - heads_of(tokens))[..., rows] @ first.attn.c_proj.weight[rows]
    if at is not None:
        moved = moved * (torch.arange(tokens.shape[1]) == at)[:, None]
    read = slice(None) if there is None else [there]
    hidden = model(tokens, output_hidden_states=True).hidden_states
    if receiver is None:
        seen = []
        handle = second.register_forward_hook(lambda module, args, output: seen.append(output))
        model(tokens)
        handle.remove()
        last = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
        logits = model(tokens).logits
        logits[:, read] = model.lm_head(model.transformer.ln_f(last + moved))[:, read]
        return logits
    keys = second.attn.c_attn(second.ln_1(hidden[1] + moved))
    columns = slice(16 + receiver * width, 16 + (receiver + 1) * width)

    def exchange(module: object, args: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, read, columns] = keys[:, read, columns]
        return output

    handle = second.attn.c_attn.register_forward_hook(exchange)
    logits = model(tokens).logits
    handle.remove()
    return logits


@torch.no_grad()
def test_answering_mlps_add_their_paths() -> None:
    lm = HookedModel(small_gpt2())
    task, source = repeats(lm)
    options = {"senders": "L0H1", "metric": pick(-1, 3, 4)}
    held = path_patching(lm, task.tokens, source, **options)  # type: ignore[arg-type]
    free = path_patching(lm, task.tokens, source, freeze_mlps=False, **options)  # type: ignore[arg-type]
    assert abs(float(held["effect"][0]) - float(free["effect"][0])) > 1e-3


def test_recurrent_heads_send_and_receive_by_their_own_operands() -> None:
    lm = zoo("mamba2")
    assert head_operands(lm.mixer(2)) == ["q", "k", "v", "log_decay", "write", "gate"]
    task, source = repeats(lm)
    receivers = ["logits", "L2H1", *(f"L2H1.{name}" for name in head_operands(lm.mixer(2)))]
    table = path_patching(
        lm, task, source, answer_metric(task, label="second"), senders=["L0.mixer", "L3H0"], receivers=receivers
    )
    effect = table.set_index(["sender", "receiver"])["effect"]
    assert effect["L0.mixer"].drop("logits").abs().min() > 0
    # Nothing that layer 3 writes is read in layer 2.
    assert effect["L3H0"].drop("logits").abs().max() < 1e-5
    assert abs(effect["L3H0", "logits"]) > 1e-4


def test_the_one_layer_induction_head_reaches_the_logits_directly() -> None:
    lm = HookedModel(induction_mamba2())
    task = repeated_random_tokens(lm, 8, batch=4, seed=0, avoid=[0])
    other = repeated_random_tokens(lm, 8, batch=4, seed=1, avoid=[0])
    table = path_patching(
        lm, task, other, answer_metric(task, label="second"), senders=[f"L0H{head}" for head in range(6)]
    )
    share = table.set_index("sender")["share"]
    assert share["L0H2"] == pytest.approx(1, abs=0.1)
    assert share.drop("L0H2").abs().max() < 0.1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"receivers": "L1H2.beta"}, "read no 'beta'"),
        ({"receivers": "L1"}, "is no receiver"),
        ({"receivers": "L9H2"}, "layer 9"),
        ({"senders": []}, "at least one sender"),
        ({"sender_positions": [10]}, "from 0 to 9"),
        ({"receiver_positions": "last"}, "positions is 'last'"),
        ({"source": torch.ones(3, 9, dtype=torch.long)}, "position by position"),
    ],
)
def test_paths_that_make_no_sense_are_refused_with_a_sentence(asked: dict[str, object], said: str) -> None:
    lm = zoo("attention")
    task, source = repeats(lm)
    options = {"source": source, "metric": pick(-1, 0, 1), "senders": "L0H1", **asked}
    with pytest.raises(InputError, match=said):
        path_patching(lm, task.tokens, **options)  # type: ignore[arg-type]
