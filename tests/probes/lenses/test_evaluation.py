import json
import math

import numpy as np
import pytest
import torch

import workbench as wb
from tests.probes.lenses.models import random_model, rows
from workbench.errors import InputError
from workbench.probes.lenses import (
    LogitLens,
    TunedLens,
    depth_curves,
    early_exit,
    evaluate_lenses,
    residual_streams,
    trajectory,
    unembedding,
)


@pytest.mark.parametrize("at_once", [2**24, 40 * 5])
def test_every_measure_is_what_the_papers_define(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unembedding, "LOGITS_AT_ONCE", at_once)
    model = random_model("mamba", dtype=torch.float64)
    tokens = rows(model, 3)
    mask = torch.ones_like(tokens)
    mask[1, :4] = 0
    table = evaluate_lenses(LogitLens(model), tokens, attention_mask=mask, depths=[1, -1])
    assert list(table["depth"]) == [1, 2] and list(table["lens"]) == ["logit lens"] * 2
    with torch.no_grad():
        target = model(tokens, attention_mask=mask).log_softmax(-1)
        predicted = LogitLens(model).logits(residual_streams(model, tokens, mask)[1], 1).log_softmax(-1)
    found: dict[str, list[float]] = {}
    for row in range(3):
        first = 4 * (row == 1)
        p, q, text = target[row, first:], predicted[row, first:], tokens[row, first:]
        ranks = [(q[t] > q[t, p[t].argmax()]).sum() for t in range(len(q))]
        measures = {
            "kl": (p.exp() * (p - q)).sum(-1).mean(),
            "surprisal": -q[torch.arange(len(q)), p.argmax(-1)].mean(),
            "precision@1": (p.argmax(-1) == q.argmax(-1)).double().mean(),
            "precision@5": sum(rank < 5 for rank in ranks) / len(ranks),
            "precision@10": sum(rank < 10 for rank in ranks) / len(ranks),
            "bits_per_token": torch.nn.functional.cross_entropy(q[:-1], text[1:]) / math.log(2),
            "accuracy": (q[:-1].argmax(-1) == text[1:]).double().mean(),
        }
        for name, value in measures.items():
            found.setdefault(name, []).append(float(value))
    for name, values in found.items():
        assert table[name][0] == pytest.approx(np.mean(values), rel=1e-6), name
        assert table[f"{name}_low"][0] <= table[name][0] <= table[f"{name}_high"][0]
    assert table["kl"][1] == pytest.approx(0, abs=1e-9) and table["precision@1"][1] == 1
    assert "bits_per_byte" not in table  # there is no tokenizer


def test_bits_a_byte_are_counted_in_the_texts_own_bytes() -> None:
    model = wb.load("zoo:retnet")
    text = "My fellow citizens, the state of the Union is strong."
    tokens = model.to_tokens(text)
    table = evaluate_lenses(LogitLens(model), tokens, depths=[-1])
    loss = model(tokens, return_type="loss").item()
    predicted = model.to_string(tokens[0, 1:])
    assert text.endswith(predicted)
    bits = loss * (tokens.shape[1] - 1) / math.log(2) / len(predicted.encode())
    assert table["bits_per_byte"][0] == pytest.approx(bits, rel=1e-5)


def test_what_cannot_be_compared_is_refused() -> None:
    model = random_model()
    with pytest.raises(InputError, match="no lens"):
        evaluate_lenses([], rows(model))
    with pytest.raises(InputError, match="one name"):
        evaluate_lenses([TunedLens(model), TunedLens(model)], rows(model))
    with pytest.raises(InputError, match="different models"):
        evaluate_lenses([LogitLens(model), LogitLens(random_model())], rows(model))
    with pytest.raises(InputError, match="at least two tokens"):
        evaluate_lenses(LogitLens(model), rows(model)[:, :1])
    with pytest.raises(InputError, match="from 0 to 1"):
        early_exit(LogitLens(model), rows(model), [1.5])


def test_early_exit_leaves_where_the_margin_is_passed_first() -> None:
    model = random_model(layers=3)
    with torch.no_grad():
        model.wrapped.norm.weight.mul_(0.1)  # no distribution is so sure that margins are equal
    tokens = rows(model, 2)
    streams = residual_streams(model, tokens)
    probabilities = torch.stack([LogitLens(model).logits(streams[d], d).softmax(-1) for d in range(4)]).detach()
    top = probabilities.sort(-1, descending=True)
    # Between the gaps of the tokens that are read: equal tokens have equal gaps, which rounding would tell apart.
    gaps = (top.values[0, ..., 0] - top.values[0, ..., 1]).unique()
    margins = [float(gaps[place : place + 2].mean()) for place in (3, len(gaps) // 2, len(gaps) - 3)]
    table = early_exit(LogitLens(model), tokens, margins)
    for number, margin in enumerate(margins):
        depths, right = [], []
        for b in range(2):
            for t in range(12):
                depth = 0
                while depth < 3 and top.values[depth, b, t, 0] - top.values[depth, b, t, 1] <= margin:
                    depth += 1
                depths.append(depth)
                right.append(bool(top.indices[depth, b, t, 0] == top.indices[3, b, t, 0]))
        assert table["depth"][number] == pytest.approx(np.mean(depths))
        assert table["agreement"][number] == pytest.approx(np.mean(right))
        assert table["saved"][number] == pytest.approx(1 - np.mean(depths) / 3)
    assert table["depth"][0] < table["depth"][1] < table["depth"][2]


def test_a_trajectory_holds_what_the_lens_reads_and_its_figure_is_inert() -> None:
    model = wb.load("zoo:gla")
    text = "the <b>Union</b> of"
    lens = LogitLens(model)
    shown = trajectory(lens, text)
    tokens = model.to_tokens(text)
    log_q = lens.logits(residual_streams(model, tokens)[2, 0], 2).log_softmax(-1).detach()
    assert shown.top[2].tolist() == log_q.argmax(-1).tolist()
    assert shown.words[2] == model.to_str_tokens(log_q.argmax(-1))
    torch.testing.assert_close(shown.probability[2], log_q.exp().amax(-1))
    torch.testing.assert_close(shown.entropy[2], torch.distributions.Categorical(logits=log_q).entropy())
    assert float(shown.kl[-1].abs().max()) < 1e-5 < float(shown.kl[0].min())
    table = shown.table()
    assert len(table) == 5 * tokens.shape[1] and "".join(table["token"][: tokens.shape[1]]) == text
    following = tokens[0, 1:]
    loss = torch.nn.functional.cross_entropy(log_q[:-1], following, reduction="none")
    torch.testing.assert_close(shown.loss[2, :-1], loss)
    order = log_q[:-1].argsort(-1, descending=True)
    places = [row.tolist().index(int(token)) for row, token in zip(order, following, strict=True)]
    assert shown.rank[2].tolist() == [*(1 + place for place in places), 0]
    assert shown.loss[:, -1].isnan().all()
    for colour in ("probability", "entropy", "kl"):
        spelled = json.dumps(shown.figure(colour).to_dict(), default=lambda array: array.tolist())
        assert "<b>" not in spelled and "&lt;" in spelled
        assert np.allclose(shown.figure(colour).data[0].z, getattr(shown, colour).numpy())
    with pytest.raises(InputError, match="of one text"):
        trajectory(lens, ["a", "b"])


def test_a_window_of_a_trajectory_is_that_part_of_the_whole() -> None:
    lens = LogitLens(random_model("mamba", dtype=torch.float64))
    tokens = rows(lens.model, 1)
    whole, part = trajectory(lens, tokens), trajectory(lens, tokens, first=2, count=3)
    assert part.tokens == whole.tokens[2:5] and part.first == 2
    for name in ("top", "probability", "entropy", "kl", "loss", "rank"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[:, 2:5], equal_nan=True)
    assert list(part.table()["position"].unique()) == [2, 3, 4]
    with pytest.raises(InputError, match="no 11 from position 2"):
        trajectory(lens, tokens, first=2, count=11)


def test_curves_show_each_lens_with_its_interval() -> None:
    model = random_model()
    tuned = TunedLens(model)
    table = evaluate_lenses([LogitLens(model), tuned], rows(model))
    band, line, *_ = depth_curves(table, "kl").data
    logit = table[table["lens"] == "logit lens"]
    assert list(line.y) == list(logit["kl"]) and list(line.x) == [0, 1, 2] and line.name == "logit lens"
    assert list(band.y) == [*logit["kl_high"], *list(logit["kl_low"])[::-1]]
    with pytest.raises(InputError, match="no measure 'loss'; it has: kl, surprisal"):
        depth_curves(table, "loss")
