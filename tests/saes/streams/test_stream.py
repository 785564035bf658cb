"""Streamed vectors are those of the model, each token's once, in batches that a resumed stream gives again."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError, NotFiniteError
from workbench.saes import TextSource, VectorSite, activation_stream, read_rows
from workbench.saes.streams.blocks import ShuffledBlocks

TEXTS = [f"Document {n}: the meeting began at noon{', and nobody was late' * (n % 4)}." for n in range(9)]
SITES = [
    ("zoo:attention", "blocks.1.hook_resid_post", {}),
    ("zoo:attention", "hook_embed", {}),
    ("zoo:attention", "ln_final.hook_normalized", {}),
    ("zoo:attention", "blocks.2.mixer.hook_z", {"head": 1}),
    ("zoo:gated_delta", "blocks.1.mixer.hook_state", {"head": 1, "every": 3}),
    ("zoo:gated_delta", "blocks.3.mixer.hook_z", {}),
    ("zoo:gated_delta", "blocks.0.hook_mlp_out", {"every": 4}),
    ("zoo:mamba", "blocks.1.mixer.hook_state", {"head": 5}),
    ("zoo:mamba", "blocks.2.mixer.hook_out", {}),
    ("zoo:lstm", "blocks.1.mixer.hook_state", {"every": 2}),
]


@pytest.fixture(scope="module")
def models():
    loaded = {}
    return lambda name: loaded.setdefault(name, wb.load(name, dtype=torch.float64))


@pytest.fixture
def model(models):
    return models("zoo:attention")


def cached(model, site, ids):
    """A site's vectors at every token of one row, from the cache and the tensor's own axes."""
    _, cache = model.run_with_cache(torch.tensor([ids]), names_filter=site.hook)
    tensor = cache[site.hook][0]
    return (tensor if site.head is None else tensor[:, site.head]).flatten(1)


@pytest.mark.parametrize("place", SITES, ids=lambda place: f"{place[0][4:]}-{place[1]}-{place[2]}")
def test_rows_are_what_the_cache_holds_for_each_window_alone(models, place):
    name, hook, options = place
    model = models(name)
    site = VectorSite.of(model, hook, **options)
    length = 12
    expected = {}
    for number, text in enumerate(TEXTS[:2]):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), length):
            vectors = cached(model, site, ids[start : start + length])
            for at in range(site.every - 1, len(vectors), site.every):
                expected[number, start + at] = vectors[at]
    seen = []
    for rows in read_rows(model, TEXTS[:2], site, length=length, windows=3):
        for row, key in enumerate(zip(rows.document.tolist(), rows.position.tolist(), strict=True)):
            seen.append(key)
            torch.testing.assert_close(rows.values[0][row], expected[key], atol=1e-10, rtol=1e-10)
    assert sorted(seen) == sorted(expected)


def test_sites_that_are_read_together_have_the_same_tokens(models):
    model = models("zoo:mamba")
    sites = ["blocks.1.mixer.hook_in", VectorSite.of(model, "blocks.1.mixer.hook_state", head=0)]
    together = list(activation_stream(model, TEXTS, sites, length=10, batch=32, dtype=torch.float64))
    alone = [list(activation_stream(model, TEXTS, site, length=10, batch=32, dtype=torch.float64)) for site in sites]
    assert sum(len(x) for x, _ in together) == sum(len(x) for x in alone[0])
    # Blocks are larger than the text, and the shuffle depends on the seed alone: the same row stands in the same place.
    for (x, y), only_x, only_y in zip(together, *alone, strict=True):
        torch.testing.assert_close(x, only_x)
        torch.testing.assert_close(y, only_y)
    with pytest.raises(InputError, match="read the same tokens"):
        activation_stream(model, TEXTS, [sites[0], VectorSite.of(model, sites[0], every=2)])


def test_a_stream_gives_every_row_once_and_goes_on_anywhere(models):
    model = models("zoo:mamba")
    site = VectorSite.of(model, "blocks.0.mixer.hook_state", head=0, every=2)

    def stream():
        return activation_stream(model, TEXTS[:6], site, length=9, batch=7, windows=2, buffer_bytes=8_000, seed=5)

    first = stream()
    states, batches = [first.state()], []
    for batch in first:
        assert first.nbytes <= 8_000
        batches.append(batch)
        states.append(json.loads(json.dumps(first.state())))
    assert first.state()["block"] > 2  # the text does not fit into the buffer
    every = torch.cat(batches)
    ordered = torch.cat([rows.values[0] for rows in read_rows(model, TEXTS[:6], site, length=9, windows=2)]).float()
    assert not torch.equal(every, ordered)
    for one, other in zip(every.T[:8], ordered.T[:8], strict=True):
        torch.testing.assert_close(one.sort().values, other.sort().values)
    assert len(json.dumps(states[-1])) < 2000
    for at in (len(batches) // 2, len(batches)):
        again = stream()
        again.resume(states[at])
        rest = list(again)
        assert len(rest) == len(batches) - at
        assert all(torch.equal(one, other) for one, other in zip(rest, batches[at:], strict=True))
        assert again.rows == first.rows
    first.restart()
    assert torch.equal(next(first), batches[0])


@dataclass
class Piece:
    values: tuple[torch.Tensor, ...]
    after: dict


class Numbers:
    """A feed of the numbers from 0 on, in pieces of given sizes."""

    widths, dtype, device = (1, 2), torch.float32, torch.device("cpu")

    def __init__(self, sizes):
        self.sizes = sizes
        self.most_rows = max(sizes)

    def rows(self, position=None):
        for number in range(0 if position is None else position["piece"], len(self.sizes)):
            first = sum(self.sizes[:number])
            x = torch.arange(first, first + self.sizes[number], dtype=torch.float32)[:, None]
            yield Piece((x, torch.cat([x, -x], 1)), {"piece": number + 1})

    def about(self):
        return {}


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    batch=st.integers(1, 12),
    room=st.integers(0, 60),
    drop_last=st.booleans(),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_blocks_hand_out_every_row_once_in_bounded_memory_and_go_on_anywhere(sizes, batch, room, drop_last, data):
    feed = Numbers([*sizes, 1])
    row = 3 * 4
    least = feed.most_rows * row + batch * (row + 8)
    budget = least + room * (row + 8)
    with pytest.raises(InputError, match=f"take {least}"):
        ShuffledBlocks(feed, batch, least - 1)
    blocks = ShuffledBlocks(feed, batch, budget, 7, drop_last)
    assert blocks.capacity == (batch + room) // batch * batch

    def rest(blocks):
        found, states = [], []
        while True:
            assert blocks.nbytes <= budget
            try:
                found.append(blocks.next())
            except StopIteration:
                return found, states
            states.append(json.loads(json.dumps(blocks.state())))

    begin = blocks.state()
    batches, states = rest(blocks)
    total = sum(feed.sizes)
    counts = [len(x) for x, _ in batches]
    expected = [batch] * (total // batch) + ([total % batch] if total % batch and not drop_last else [])
    assert counts == expected
    seen = torch.cat([x for x, _ in batches])[:, 0].tolist() if batches else []
    assert len(set(seen)) == len(seen) and set(seen) <= set(range(total))
    assert drop_last or sorted(seen) == list(range(total))
    for number, (x, y) in enumerate(batches):
        assert torch.equal(y, torch.cat([x, -x], 1))
        block = number * batch // blocks.capacity
        assert ((x >= block * blocks.capacity) & (x < (block + 1) * blocks.capacity)).all()
    at = data.draw(st.integers(0, len(batches)))
    again = ShuffledBlocks(Numbers([*sizes, 1]), batch, budget, 7, drop_last)
    again.resume([begin, *states][at])
    found, _ = rest(again)
    assert [x.tolist() for x, _ in found] == [x.tolist() for x, _ in batches[at:]]


def test_blocks_are_shuffled_by_their_seed():
    def first(seed):
        return ShuffledBlocks(Numbers([50] * 4), 200, 10**6, seed).next()[0][:, 0].tolist()

    assert first(1) == first(1) != first(2)
    blocks = ShuffledBlocks(Numbers([50] * 4), 50, 50 * (12 + 20))
    assert blocks.capacity == 50
    one, two = (blocks.next()[0][:, 0] for _ in range(2))
    assert (one + 50).tolist() != two.tolist()  # each block has an order of its own
    ranks = np.corrcoef(first(3), range(200))[0, 1]
    assert abs(ranks) < 0.25


@pytest.mark.parametrize(
    ("hook", "last"),
    [
        ("hook_embed", "embed"),
        ("blocks.1.hook_resid_pre", "blocks.0"),
        ("blocks.1.mixer.hook_z", "blocks.1.mixer.v_proj"),
        ("blocks.1.hook_resid_mid", "blocks.1.mixer"),
        ("blocks.1.hook_resid_post", "blocks.1"),
        ("blocks.1.mixer.hook_state", "blocks.1.mixer"),
    ],
)
def test_the_model_runs_no_further_than_the_site(models, hook, last):
    model = models("zoo:mamba" if hook.endswith("state") else "zoo:attention")
    tokens = model.to_tokens(TEXTS[0])
    before = model(tokens)
    name_of = {module: name for name, module in model.wrapped.named_modules()}
    site = VectorSite.of(model, hook, head=0 if hook.endswith("state") else None)
    stream = activation_stream(model, TEXTS, site)
    ended = []
    handles = [module.register_forward_hook(lambda module, *_: ended.append(name_of[module])) for module in name_of]
    try:
        next(stream)
    finally:
        for handle in handles:
            handle.remove()
    assert ended[-1].startswith(last)
    assert hook.endswith("resid_post") or "blocks.1" not in ended
    assert torch.equal(model(tokens), before)  # the next run goes to its end


def test_marks_and_first_tokens_are_read_when_asked_for(model):
    text = "The meeting began at noon, and nobody was late."
    count = len(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    def rows(**options):
        source = TextSource([text], 64, bos=True)
        (found,) = read_rows(model, source, "blocks.0.hook_resid_post", **options)
        return found

    plain, special, later = rows(), rows(special=True), rows(drop_first=3)
    assert (len(plain), len(special), len(later)) == (count, count + 1, count - 2)
    assert special.position.tolist() == [-1, *range(count)]
    assert later.position.tolist() == list(range(2, count))
    torch.testing.assert_close(special.values[0][1:], plain.values[0])
    ids = [model.tokenizer.bos_token_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    site = VectorSite.of(model, "blocks.0.hook_resid_post")
    torch.testing.assert_close(special.values[0], cached(model, site, ids))


def test_dtype_of_the_batches_is_what_was_asked_for(model):
    batch = next(activation_stream(model, TEXTS, "blocks.0.hook_resid_post", dtype=torch.bfloat16))
    assert batch.dtype == torch.bfloat16
    single = next(activation_stream(model, TEXTS, "blocks.0.hook_resid_post", dtype=torch.float32))
    torch.testing.assert_close(batch, single.bfloat16())


@pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "NaN|infinite")])
def test_a_number_that_is_none_stops_the_stream_and_names_its_token(model, value, what):
    # Before attention, in which a masked NaN is still a NaN: nothing times NaN.
    texts = ["The meeting began at noon.", "Nobody was late, said zebra."]
    ids = model.tokenizer(texts[1], add_special_tokens=False)["input_ids"]
    only = next(i for i in reversed(ids) if i not in model.tokenizer(texts[0], add_special_tokens=False)["input_ids"])
    at = ids.index(only)
    weight = model.layout.embed.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[only] = value
        stream = activation_stream(model, texts, "blocks.0.mixer.hook_in")
        where = rf"^blocks.0.mixer.hook_in of .*attention.* is ({what}) at token {at} of document 1\.$"
        with pytest.raises(NotFiniteError, match=where):
            next(stream)
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_a_state_of_another_stream_is_refused_in_one_sentence(model, models):
    def stream(site="blocks.0.hook_resid_post", source=TEXTS, of=model, **options):
        return activation_stream(of, source, site, **{"length": 16, **options})

    state = stream().state()
    stream().resume(json.loads(json.dumps(state)))
    for other, sentence in [
        (stream("blocks.1.hook_resid_post"), "sites differ"),
        (stream(source=TEXTS[:-1]), "documents was 9 and is 8"),
        (stream(source=["changed", *TEXTS[1:]]), "source sample"),
        (stream(length=8), "source length was 16 and is 8"),
        (stream(seed=1), "seed was 0 and is 1"),
        (stream(batch=8), "batch was 4096 and is 8"),
        (stream("hook_embed", of=models("zoo:mamba")), "model was"),
    ]:
        with pytest.raises(InputError, match=f"The state is of another stream: .*{sentence}"):
            other.resume(state)
    with pytest.raises(InputError, match="This is no state of a stream: it lacks about"):
        stream().resume({"at": None, "skip": 0, "block": 0, "served": 0, "rows": 0})
    with torch.no_grad():
        weight = next(model.wrapped.parameters())
        weight[0] += 1
    try:
        with pytest.raises(InputError, match="weights was"):
            stream().resume(state)
    finally:
        with torch.no_grad():
            weight[0] -= 1


def test_options_out_of_range_are_refused_in_one_sentence(model):
    site = "blocks.0.hook_resid_post"
    for options, sentence in [
        ({"batch": 0}, "at least one row a batch"),
        ({"windows": 0}, "at least one window"),
        ({"drop_first": 128}, "Nothing is read"),
        ({"drop_first": -1}, "Nothing is read"),
        ({"buffer_bytes": 1000}, "buffer_bytes is 1000; a batch of 4096 rows of 128 numbers"),
        ({"length": 100_000}, "positions|buffer_bytes"),
    ]:
        with pytest.raises(InputError, match=sentence):
            next(activation_stream(model, TEXTS, site, **options))
    with pytest.raises(InputError, match="There is no site"):
        activation_stream(model, TEXTS, [])
    with pytest.raises(InputError, match="windows of 16 tokens, not 32"):
        activation_stream(model, TextSource(TEXTS, 16), site, length=32)


def test_a_corpus_of_one_token_gives_one_row(models):
    for name in ("zoo:attention", "zoo:mamba"):
        (batch,) = activation_stream(models(name), ["a"], "blocks.0.mixer.hook_out")
        assert batch.shape == (1, 128)
    every = VectorSite.of(models("zoo:mamba"), "blocks.0.mixer.hook_state", head=0, every=8)
    assert list(activation_stream(models("zoo:mamba"), ["a b"], every)) == []
