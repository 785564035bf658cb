"""Activations come from the right hook, row and token, padded or not; sweeps say where a planted label can be read."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import HookNameError, InputError
from workbench.interventions.selection import selections
from workbench.model import HookedModel
from workbench.probes.linear import (
    collect_activations,
    labelled_texts,
    labelled_tokens,
    places,
    plot_by_layer,
    probe_sweep,
)
from workbench.probes.neurons.streaming import unit_places
from workbench.probes.patching import activation_patching
from workbench.probes.steering import contrastive_vector

MEMBERS = ("lstm", "mamba", "attention")


@pytest.fixture(scope="module", params=MEMBERS)
def model(request) -> HookedModel:
    return wb.load(f"zoo:{request.param}", check=False)


@pytest.fixture(scope="module")
def lstm() -> HookedModel:
    return wb.load("zoo:lstm", check=False)


def random_rows(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 2000, (length,), generator=generator) for length in lengths]


def test_rows_hold_what_the_cache_holds_at_their_place(model: HookedModel) -> None:
    rows = random_rows([9, 4, 7, 9, 5])
    labels = [[None] * len(row) for row in rows]
    for number, position in ((0, 8), (0, 2), (1, 0), (2, 6), (3, 4), (4, 1)):
        labels[number][position] = number % 2
    data = labelled_tokens(model, rows, labels)
    hooks = ["resid_post", "mlp.hook_post", "z", "mixer.hook_out"]
    hooks += ["state"] if "blocks.1.mixer.hook_state" in model.points else []
    found = collect_activations(model, data, hooks, [1, 3], batch=3)
    assert len(found) == 2 * len(hooks)
    for n, (number, position) in enumerate(zip(data.sequence, data.position, strict=True)):
        _, cache = model.run_with_cache(rows[number][None], names_filter=list(found))
        for name, activations in found.items():
            expected = cache[name][0, position].detach().flatten().numpy()
            np.testing.assert_allclose(activations.values[n], expected, rtol=1e-3, atol=1e-4)


def test_places_are_numbered_without_the_padding(lstm: HookedModel) -> None:
    data = labelled_texts(lstm, random_rows([6, 3]), [0, 1], position=[-2, 0])
    assert data.position.tolist() == [4, 0]
    assert data.groups.tolist() == [0, 1]
    assert data.types.tolist() == [int(data.sequences[0][4]), int(data.sequences[1][0])]


def test_heads_are_parts_of_the_whole(lstm: HookedModel) -> None:
    attention = wb.load("zoo:attention", check=False)
    data = labelled_texts(attention, random_rows([5, 5, 5]), [0, 1, 0])
    whole = collect_activations(attention, data, "z", 2)["blocks.2.mixer.hook_z"]
    heads = whole.shape[0]
    parts = np.concatenate([whole.head(head).values for head in range(heads)], axis=1)
    np.testing.assert_array_equal(parts, whole.values)
    with pytest.raises(InputError, match=f"heads 0 to {heads - 1}"):
        whole.head(heads)


def test_the_token_can_be_read_where_it_was_written_and_everybody_says_how_well(model: HookedModel) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = list(torch.randint(3, 2000, (80, 6), generator=generator))
    labels = []
    for number, row in enumerate(rows):
        row[3] = 40 if number % 2 else 41
        labels.append("odd" if number % 2 else "even")
    data = labelled_texts(model, rows, labels, position=3)
    sweep = probe_sweep(model, data, ["embed", "resid_post"], [0, 3], folds=4)
    table = sweep.table()
    assert table["hook"].tolist() == ["hook_embed", "blocks.0.hook_resid_post", "blocks.3.hook_resid_post"]
    assert table["asked"].tolist() == ["embed", "resid_post", "resid_post"]
    assert table["layer"].tolist() == [-1, 0, 3] and table["head"].tolist() == [-1, -1, -1]
    assert (table["accuracy"] > 0.9).all() and (table["groups"] == 80).all()
    assert table["features"].tolist() == [128] * 3
    embedding = model.layout.embed.weight.detach().numpy()
    probe = sweep.probe("hook_embed")
    assert probe.direction @ (embedding[40] - embedding[41]) > 0  # from "even" to "odd"
    earlier = labelled_texts(model, rows, labels, position=2)
    assert probe_sweep(model, earlier, "resid_post", 3, folds=4).best().score.mean < 0.75
    figure = plot_by_layer(table)
    assert [trace.name for trace in figure.data] == ["resid_post", "commonest class"]
    assert list(figure.data[0].x) == [0, 3]


def test_a_probe_a_head(lstm: HookedModel) -> None:
    attention = wb.load("zoo:attention", check=False)
    data = labelled_texts(attention, random_rows([4] * 12), [0, 1] * 6)
    table = probe_sweep(attention, data, "z", [0, 1], per_head=True, folds=2).table()
    assert table["head"].tolist() == [*range(len(table) // 2)] * 2
    with pytest.raises(InputError, match="not split into heads"):
        probe_sweep(attention, data, "resid_post", 0, per_head=True)
    with pytest.raises(InputError, match="single heads"):
        plot_by_layer(table)


def test_repetitions_of_a_text_are_one_group_and_never_in_two(lstm: HookedModel) -> None:
    texts = ["a cat", "a dog", "a cat"]
    assert labelled_texts(lstm, texts, [0, 1, 0]).groups.tolist() == [0, 1, 0]
    with pytest.raises(InputError, match="Text 2 is the same as text 0, and they are in groups c and a"):
        labelled_texts(lstm, texts, [0, 1, 0], groups=["a", "b", "c"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"labels": [0]}, "1 labels for 2 texts"),
        ({"groups": [0]}, "1 groups for 2 texts"),
        ({"position": 5}, "Position 5 is outside text 0, which has 2 tokens"),
        ({"position": [0, 1, 1]}, "3 positions for 2 texts"),
        ({"texts": ["a cat", ""]}, "Text 1 is empty"),
        ({"texts": [], "labels": []}, "the list is empty"),
    ],
)
def test_texts_and_labels_that_do_not_match_are_refused(lstm: HookedModel, options, says) -> None:
    given = {"texts": [torch.tensor([5, 6]), torch.tensor([7, 8])], "labels": [0, 1], **options}
    with pytest.raises(InputError, match=says):
        labelled_texts(lstm, given.pop("texts"), given.pop("labels"), **given)


def test_a_label_a_token_is_needed(lstm: HookedModel) -> None:
    rows = random_rows([3, 2])
    with pytest.raises(InputError, match="Text 1 has 2 tokens and 3 labels"):
        labelled_tokens(lstm, rows, [[0, 1, 0], [0, 1, 0]])
    with pytest.raises(InputError, match="No token has a label"):
        labelled_tokens(lstm, rows, [[None] * 3, [None] * 2])


@pytest.mark.parametrize(
    ("at", "layers", "error", "says"),
    [
        ("resid_post", [1, 1], InputError, "Layer 1 is given twice"),
        ("resid_post", [3, -1], InputError, "Layer 3 is given twice"),
        ("resid_post", [9], InputError, "out of range"),
        ("resid_post", [], InputError, "list of layers is empty"),
        ([], None, InputError, "list of places is empty"),
        (["resid_post", "hook_resid_post"], 0, InputError, "blocks.0.hook_resid_post a second time"),
        ("mixer.hook_pattern", 0, InputError, "one vector a token"),
        ("resid_pots", 0, HookNameError, "nearest"),
    ],
)
def test_places_that_make_no_sense_are_refused(lstm: HookedModel, at, layers, error, says) -> None:
    with pytest.raises(error, match=says):
        places(lstm, at, layers)


@pytest.mark.parametrize(
    ("at", "layers", "names"),
    [
        ("resid_post", [0, -1], ["blocks.0.hook_resid_post", "blocks.3.hook_resid_post"]),
        ("hook_resid_post", 1, ["blocks.1.hook_resid_post"]),
        ("blocks.2.hook_resid_post", 1, ["blocks.2.hook_resid_post"]),
        ("blocks.*.mixer.hook_z", 3, ["blocks.3.mixer.hook_z"]),
        ("mixer.hook_out", [1], ["blocks.1.mixer.hook_out"]),
        ("blocks.1.attn.hook_z", None, ["blocks.1.mixer.hook_z"]),
        ("embed", [1], ["hook_embed"]),
        ("L2.mlp", None, ["blocks.2.hook_mlp_out"]),
        (wb.Site.parse("L1.mixer"), None, ["blocks.1.mixer.hook_out"]),
        (["z", "L0.mlp"], [1], ["blocks.1.mixer.hook_z", "blocks.0.hook_mlp_out"]),
    ],
)
def test_every_spelling_of_a_place_is_read_alike_everywhere(at, layers, names) -> None:
    model = wb.load("zoo:attention", check=False)
    assert [place.name for place in places(model, at, layers)] == names
    assert [one.name for one in selections(model, at, layers=layers)] == names
    run, other = torch.arange(3, 9)[None], torch.arange(13, 19)[None]
    options = {"at": at, "layers": layers, "positions": "all", "by_head": False}
    table = activation_patching(model, run, other, lambda logits: logits[:, -1, 5], **options)
    assert sorted(table["hook"]) == sorted(names)
    assert list(contrastive_vector(model, run, other, at, layers).values) == names


def test_a_site_that_is_heads_reads_and_steers_those_heads_alone() -> None:
    model = wb.load("zoo:attention", check=False)
    rows = random_rows([5] * 12)
    data = labelled_texts(model, rows, [0, 1] * 6)
    (whole,) = collect_activations(model, data, "mixer.hook_head_out", 2).values()
    (some,) = collect_activations(model, data, ["L2H1", "L2H3"]).values()
    assert [place.heads for place in places(model, ["L2H1", "L2H3"])] == [(1, 3)]
    np.testing.assert_array_equal(some.head(1).values, whole.head(3).values)
    table = probe_sweep(model, data, ["L2H1", "L2H3"], folds=2).table()
    every = probe_sweep(model, data, "mixer.hook_head_out", 2, per_head=True, folds=2).table()
    assert table["head"].tolist() == [1, 3]
    assert table["accuracy"].tolist() == every["accuracy"][[1, 3]].tolist()
    good, bad = torch.stack(rows[:3]), torch.stack(rows[3:6])
    (full,) = contrastive_vector(model, good, bad, "blocks.2.mixer.hook_head_out").values.values()
    (alone,) = contrastive_vector(model, good, bad, "L2H1").values.values()
    torch.testing.assert_close(alone[1], full[1])
    assert not alone[[0, 2, 3]].any()


def test_units_are_those_of_whole_hooks() -> None:
    with pytest.raises(InputError, match="L2H1 is a part of blocks"):
        unit_places(wb.load("zoo:attention", check=False), "L2H1", None)


def test_arrays_that_would_be_too_large_are_refused(lstm: HookedModel) -> None:
    data = labelled_texts(lstm, random_rows([3, 3]), [0, 1])
    with pytest.raises(InputError, match="take fewer places"):
        collect_activations(lstm, data, "resid_post", most_bytes=2 * 128 * 4 * 3)
    assert len(collect_activations(lstm, data, "resid_post", most_bytes=2 * 128 * 4 * 4)) == 4
    assert len(data.sample(1)) == 1
