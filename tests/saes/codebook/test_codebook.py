"""Codebooks choose by cosine, let gradients through, learn their codes, and steer a model by them."""

import pytest
import torch

import workbench as wb
from workbench.errors import DivergenceError, InputError, LoadError
from workbench.saes import Bottleneck, Codebook, CodebookAutoencoder, TextSource, VectorSite, code_table, judge_sae
from workbench.saes.codebook import first_codes, fit_codebook, train_codebook, train_with_codebooks

HOOK = "blocks.1.hook_resid_post"
TEXTS = ["My fellow citizens of the Senate and of the House of Representatives. " * 6, "The state of the union. " * 9]


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:mamba")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_codes_are_chosen_by_cosine_and_added():
    codes = torch.tensor([[10.0, 0.0], [0.0, 0.1], [-1.0, 0.0], [1.0, 1.0]])
    book = Codebook(codes, k=2)
    x = torch.tensor([[0.1, 3.0], [-5.0, 1.0]])
    assert book.chosen(x).tolist() == [[1, 3], [2, 1]]
    assert book(x).tolist() == [[1.0, pytest.approx(1.1)], [-1.0, pytest.approx(0.1)]]
    assert book.chosen(x, on=torch.tensor([0])).tolist() == [[0, 1], [0, 2]]
    assert book.chosen(x, off=torch.tensor([1])).tolist() == [[3, 0], [2, 3]]


def test_gradients_go_straight_through_and_to_the_chosen_codes():
    book, x, weights = Codebook(random(9, 4), k=3), random(5, 4, seed=1).requires_grad_(), random(5, 4, seed=2)
    (book(x) * weights).sum().backward()
    assert torch.equal(x.grad, weights)
    want = torch.zeros(9, 4)
    for row, chosen in enumerate(book.chosen(x).tolist()):
        for code in chosen:
            want[code] += weights[row]
    torch.testing.assert_close(book.codes.grad, want)
    x.grad = None
    book.reconstruction_loss(x).backward()
    assert x.grad is None


def test_a_codebook_finds_the_codes_that_made_the_vectors():
    made = 3 * torch.nn.functional.normalize(random(12, 16), dim=-1)

    def batches():
        for seed in range(400):
            generator = torch.Generator().manual_seed(seed)
            yield made[torch.randint(12, (128,), generator=generator)] + 0.02 * torch.randn(
                128, 16, generator=generator
            )

    book = fit_codebook(batches(), 12, k=1, steps=60, learning_rate=0.02, progress=False)
    near = torch.cdist(made, book.codes)
    assert float(near.min(1).values.max()) < 0.1
    assert not book.codes.requires_grad
    again = fit_codebook(batches(), 12, k=1, steps=60, learning_rate=0.02, progress=False)
    assert torch.equal(again.codes, book.codes)


def test_first_codes_are_directions_of_the_vectors_and_k_make_one():
    vectors = random(4, 8).repeat(5, 1) * torch.arange(1, 21)[:, None]
    codes = first_codes(vectors, 4, k=2, seed=3, rounds=20)
    cosine = torch.nn.functional.normalize(codes, dim=-1) @ torch.nn.functional.normalize(vectors[:4], dim=-1).T
    assert float(cosine.max(1).values.min()) > 0.7
    torch.testing.assert_close(codes.norm(dim=-1), vectors.norm(dim=-1).mean().expand(4) / 2)


def test_in_a_model_it_stands_in_the_hooks_place_and_codes_are_switched(model):
    book = Codebook(random(30, 128), k=4, hook=HOOK, model_name="zoo:mamba")
    seen = []
    tokens = model.to_tokens(TEXTS[0])[:, :20]
    edits = [*Bottleneck(book, on=[7], off=[2]).hooks(model, tokens), (HOOK, lambda x, hook: seen.append(x))]
    clean = model.run_with_cache(tokens, names_filter=HOOK)[1][HOOK]
    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=edits)
        cosine = torch.nn.functional.cosine_similarity(clean[..., None, :], book.codes, dim=-1)
        cosine[..., 2] = -2
        cosine[..., 7] = 2
        torch.testing.assert_close(seen[0], book.codes[cosine.topk(4).indices].sum(-2), atol=1e-5, rtol=1e-5)
        with Bottleneck(book).applied(model):
            assert model.generate(tokens, max_new_tokens=3).shape[1] == 23


def test_states_and_heads_have_codebooks(model):
    site = VectorSite.of(model, "blocks.1.mixer.hook_state", head=2, every=4)
    width = site.width(model)
    book = Codebook(random(6, width), k=2, hook=site.hook, head=2, every=4)
    tokens = model.to_tokens(TEXTS[0])[:, :9]
    with torch.no_grad():
        changed = model.run_with_hooks(tokens, fwd_hooks=Bottleneck(book).hooks(model, tokens))
    clean = model(tokens)
    assert torch.equal(changed[:, :3], clean[:, :3]) and not torch.equal(changed[:, 3:], clean[:, 3:])
    table = code_table(model, book, TEXTS, tokens=64, length=16)
    assert table["count"].sum() == 2 * round(table["count"].sum() / 2) > 0


def test_the_table_tells_what_each_code_is_chosen_at(model):
    book = train_codebook(model, TEXTS, HOOK, n_codes=40, k=3, batch=64, length=32, steps=8, progress=False)
    assert (book.hook, book.model_name, len(book.codes)) == (HOOK, "zoo:mamba", 40)
    source = TextSource(TEXTS, length=32, seed=None)
    table = code_table(model, book, source, top=2)
    count, tokens, ids, best = torch.zeros(40), 0, {}, {}
    for batch in source.batches(model, 4):
        vectors = model.run_with_cache(batch.tokens, names_filter=HOOK)[1][HOOK]
        cosine = torch.nn.functional.cosine_similarity(vectors[..., None, :], book.codes, dim=-1)
        for row, time in batch.text.nonzero().tolist():
            tokens += 1
            for code in cosine[row, time].topk(3).indices.tolist():
                count[code] += 1
                ids.setdefault(code, []).append(int(batch.tokens[row, time]))
                value = float(cosine[row, time, code])
                if value > best.get(code, (-9, ""))[0] + 1e-6:
                    best[code] = value, model.to_string(batch.tokens[row, max(0, time - 8) : time + 1].tolist())
    by = table.set_index("code")
    assert table["count"].is_monotonic_decreasing
    for code in range(40):
        assert by.loc[code, "count"] == count[code]
        assert by.loc[code, "share"] == pytest.approx(float(count[code]) / tokens)
        if not count[code]:
            assert by.loc[code, "tokens"] == [] and by.loc[code, "example"] == ""
            continue
        want = sorted(set(ids[code]), key=lambda token, of=ids[code]: (-of.count(token), token))[:2]
        assert by.loc[code, "tokens"] == [model.to_string([token]) for token in want]
        assert by.loc[code, "token_share"] == pytest.approx(sum(map(ids[code].count, want)) / len(ids[code]))
        assert by.loc[code, "similarity"] == pytest.approx(best[code][0], abs=1e-5)
        assert by.loc[code, "example"] == best[code][1]


@pytest.mark.parametrize("train_model", [True, False])
def test_codebooks_inside_a_model_learn_its_loss(train_model):
    model = wb.load("zoo:gla")
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    books = [Codebook(random(64, 128, seed=layer), k=4, hook=f"blocks.{layer}.hook_mlp_out") for layer in (1, 2)]
    first = [book.codes.detach().clone() for book in books]
    losses = train_with_codebooks(
        model, TEXTS, books, train_model=train_model, steps=25, windows=4, length=32, learning_rate=3e-3, progress=False
    )
    assert len(losses) == 25 and sum(losses[-5:]) < sum(losses[:5])
    assert all(not torch.equal(book.codes, codes) for book, codes in zip(books, first, strict=True))
    moved = any(not torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())
    assert moved == train_model
    assert all(tensor.grad is None for tensor in model.parameters())


def test_a_codebook_is_judged_as_an_autoencoder_whose_features_are_on_or_off(model):
    book = Codebook(random(30, 128), k=4, hook=HOOK, model_name="zoo:mamba")
    sae, x = CodebookAutoencoder(book), random(7, 128, seed=5)
    features = sae.encode(x)
    assert set(features.unique().tolist()) == {0.0, 1.0}
    assert [sorted(row.nonzero()[:, 0].tolist()) for row in features] == [
        sorted(row) for row in book.chosen(x).tolist()
    ]
    torch.testing.assert_close(sae(x), book(x))
    judged = judge_sae(model, {"book": sae}, TEXTS, length=32, windows=6, baselines=["pca"])
    rows = judged.table().set_index("autoencoder")
    windows = torch.stack([batch.tokens for batch in TextSource(TEXTS, 32, seed=None).batches(model, 1)][0:6:2])[:, 0]
    with torch.no_grad(), Bottleneck(book).applied(model):
        assert rows.loc["book", "loss"] == pytest.approx(float(model(windows, return_type="loss")), rel=1e-5)
    assert rows.loc["book", "l0"] == 4 == judged.k


def test_codebooks_come_back_from_disk(tmp_path):
    book = Codebook(random(6, 4), k=2, hook=HOOK, head=3, every=2, model_name="m")
    again = Codebook.load(book.save(tmp_path / "books" / "a.safetensors"))
    assert torch.equal(again.codes, book.codes) and repr(again) == repr(book) and (again.head, again.every) == (3, 2)
    (tmp_path / "b.safetensors").write_bytes(b"x")
    with pytest.raises(LoadError, match="corrupt"):
        Codebook.load(tmp_path / "b.safetensors")


def test_what_cannot_be_is_one_sentence(model):
    book = Codebook(random(6, 128), k=2, hook=HOOK)
    for wrong, says in (
        (lambda: Codebook(random(6, 4), k=7), "k is 7"),
        (lambda: Codebook(torch.zeros(3, 4), k=1), "points nowhere"),
        (lambda: book(random(3, 5)), "have 5 numbers; this codebook takes 128"),
        (lambda: Bottleneck(book, on=[6]), "no code 6"),
        (lambda: Bottleneck(book, on=[1, 2, 3]), "3 codes are on; a vector has 2"),
        (lambda: Bottleneck(book, on=[1], off=[1]), "both on and off"),
        (lambda: Bottleneck(book, off=[0, 1, 2, 3, 4]), "not 2 left"),
        (lambda: Codebook(random(6, 3), hook=HOOK, k=1).site(model), "trained on 3 numbers"),
        (lambda: Codebook(random(6, 3), k=1).site(model), "does not say which hook"),
        (lambda: train_with_codebooks(model, TEXTS, []), "no codebook"),
        (lambda: train_with_codebooks(model, TEXTS, [book, book]), "at one place"),
        (lambda: fit_codebook(iter([random(3, 4)]), 9), "9 codes cannot begin with 3 vectors"),
        (lambda: fit_codebook(iter([]), 9), "not a single batch"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()
    bad = [random(40, 4), torch.full((40, 4), 1e30)]
    with pytest.raises(DivergenceError, match="not finite at step 1"):
        fit_codebook(iter(bad), 9, k=1, steps=3, progress=False)
