"""Every token of every document is in one window, wherever the text comes from and wherever reading goes on."""

import json

import datasets
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError
from workbench.saes import DatasetTexts, TextFiles, TextSource
from workbench.saes.streams import documents, files
from workbench.saes.streams.order import Order

HOSTILE = ["שלום", "你好", "\x00", "\u202eabc", "<|endoftext|>", "\ud800", "é\u0301", "🙂", "</script>\r\n", " \t"]
WORDS = ["the", "meeting", "began", "at", "noon", "nobody", "was", "late", *HOSTILE]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), min_size=1, max_size=6)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def model():
    return wb.load("zoo:attention")


def tokens_of(model, text):
    """The tokens of a text that has no special one in it, whatever it looks like."""
    legal = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    pieces = legal.split("<|endoftext|>")
    ids = [model.tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in pieces]
    return ids[0] if len(pieces) == 1 else None


def gathered(batches):
    """Token ids by document and position, each of which may come only once."""
    found = {}
    for batch in batches:
        for row, column in batch.text.nonzero().tolist():
            key = (int(batch.document[row, column]), int(batch.position[row, column]))
            assert key not in found
            found[key] = int(batch.tokens[row, column])
    return found


def documents_of(found):
    every = {}
    for (document, position), token in sorted(found.items()):
        assert position == len(every.setdefault(document, []))
        every[document].append(token)
    return every


def as_json(batches):
    return [
        [batch.tokens.tolist(), batch.text.tolist(), batch.document.tolist(), batch.position.tolist()]
        for batch in batches
    ]


@FEW
@given(texts=TEXTS, length=st.integers(3, 20), windows=st.integers(1, 5), bos=st.booleans(), pack=st.booleans())
def test_every_token_of_every_document_is_in_one_window(model, texts, length, windows, bos, pack):
    source = TextSource(texts, length, bos=bos, pack=pack, seed=3)
    if not any(texts):
        with pytest.raises(InputError, match="holds no text"):
            list(source.batches(model))
        return
    batches = list(source.batches(model, windows))
    found = documents_of(gathered(batches))
    assert set(found) == {number for number, text in enumerate(texts) if text}
    for number, ids in found.items():
        expected = tokens_of(model, texts[number])
        assert 0 not in ids  # the end-of-text token's id
        if expected is not None:
            assert ids == expected
    for batch in batches:
        assert batch.tokens.shape[1] <= length and len(batch.tokens) <= windows
        for row in range(len(batch.tokens)):
            real = int(batch.lengths[row])
            assert not batch.text[row, real:].any() and (batch.document[row, real:] == -1).all()
            marks = ~batch.text[row, :real]
            assert (batch.tokens[row, :real][marks] == 0).all()
            assert not bos or marks[0]
            if not pack:
                assert len(set(batch.document[row, :real].tolist())) == 1
                assert int(marks.sum()) == bos


@FEW
@given(texts=TEXTS, length=st.integers(3, 9), pack=st.booleans(), epochs=st.integers(1, 3), data=st.data())
def test_reading_goes_on_from_any_batch_as_if_it_had_not_stopped(model, texts, length, pack, epochs, data):
    if not any(texts):
        return
    source = TextSource(texts, length, pack=pack, epochs=epochs)
    batches = list(source.batches(model, 2))
    at = data.draw(st.integers(0, len(batches) - 1))
    after = json.loads(json.dumps(batches[at].after))
    again = TextSource(texts, length, pack=pack, epochs=epochs)
    assert as_json(again.batches(model, 2, after)) == as_json(batches[at + 1 :])


@given(count=st.integers(1, 300), seed=st.integers(0, 5), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_an_order_is_a_permutation(count, seed, epoch):
    found = [Order(seed, epoch).of(place, count) for place in range(count)]
    assert sorted(found) == list(range(count))
    assert [Order(None).of(place, count) for place in range(count)] == list(range(count))
    if count > 20:
        assert found != list(range(count))
        assert found != [Order(seed, epoch + 1).of(place, count) for place in range(count)]
        assert found != [Order(seed + 1, epoch).of(place, count) for place in range(count)]


def test_the_first_place_of_an_order_is_anywhere_alike():
    counts = np.bincount([Order(seed).of(0, 10) for seed in range(2000)], minlength=10)
    # Chi-squared with 9 degrees of freedom: 27.9 is exceeded once in a thousand.
    assert ((counts - 200) ** 2 / 200).sum() < 27.9


@pytest.mark.parametrize("text", ["one line\nand another", "word " * 60])
def test_a_string_that_cannot_be_a_path_is_one_text(model, text):
    alone, in_a_list = (list(TextSource(content, 16).batches(model)) for content in (text, [text]))
    assert len(alone) == len(in_a_list) > 0
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(alone, in_a_list, strict=True))


def test_what_looks_like_a_special_token_in_a_text_is_text(model):
    (batch,) = TextSource(["one <|endoftext|> two"], 32).batches(model)
    ids = batch.tokens[batch.text].tolist()
    assert 0 not in ids and len(ids) > 5
    assert model.tokenizer.decode(ids) == "one <|endoftext|> two"


@pytest.mark.parametrize("separator", [None, "\n\n", "###"])
def test_files_are_read_in_pieces_that_make_up_their_text(model, tmp_path, monkeypatch, separator):
    monkeypatch.setattr(files, "PIECE", 50)
    texts = [f"\ufeffword{n} é שלום 🙂 " * n + ("x" * 130 if n == 3 else "") for n in range(6)]
    joined = (separator or "").join(texts[1:])
    (tmp_path / "a.txt").write_text(texts[0] + "nothing", "utf-8")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b.txt").write_bytes(joined.encode())
    source = TextFiles(tmp_path, separator=separator)
    passages = list(source.passages(Order(None)))
    by_document = {}
    for passage in passages:
        assert len(passage.content.encode()) <= 50
        assert passage.continues == (passage.document in by_document)
        by_document[passage.document] = by_document.get(passage.document, "") + passage.content
    expected = ["nothing", *((texts[1:]) if separator else [joined])]
    expected = [text.removeprefix("\ufeff") if n in (0, 1) else text for n, text in enumerate(expected)]
    assert list(by_document.values()) == expected
    for number, passage in enumerate(passages):
        cursor = json.loads(json.dumps(passage.cursor))
        again = list(source.passages(Order(None), cursor))
        assert [(one.content, one.document, one.continues) for one in again] == [
            (one.content, one.document, one.continues) for one in passages[number:]
        ]
    assert len({source.name(document) for document in by_document}) == len(by_document)


def test_pieces_of_a_file_end_between_words(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE", 40)
    (tmp_path / "a.txt").write_text("some words and more words " * 20)
    pieces = [passage.content for passage in TextFiles(tmp_path).passages(Order(None))]
    assert len(pieces) > 10
    assert all(piece.startswith(" ") and not piece.endswith(" ") for piece in pieces[1:-1])


def test_long_texts_in_lists_come_in_pieces_with_the_tokens_of_the_whole(model, monkeypatch):
    text = "The meeting began at noon, and nobody was late. " * 30
    whole = tokens_of(model, text)
    monkeypatch.setattr(documents, "PIECE", 100)
    found = documents_of(gathered(TextSource([text], 16).batches(model)))
    assert found == {0: whole}


def test_lines_of_json_hold_texts_or_token_ids(model, tmp_path):
    rows = [{"text": "one two"}, {"text": [5, 6, 7]}, {"text": ""}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:2]) + "\n\n" + json.dumps(rows[2]))
    source = TextSource(tmp_path, 8)
    found = documents_of(gathered(source.batches(model)))
    assert list(found.values()) == [tokens_of(model, "one two"), [5, 6, 7]]
    assert source.name(1) == "a.jsonl line 2"
    for bad, sentence in [("{", "line 1 is no JSON"), ('{"body": "x"}', "no 'text': it has body"), ("3", "no object")]:
        (tmp_path / "a.jsonl").write_text(bad)
        with pytest.raises(InputError, match=sentence):
            list(TextSource(tmp_path).batches(model))


def test_datasets_are_read_from_memory_from_disk_and_streamed(model, tmp_path):
    texts = [f"Document {n} is here." for n in range(7)]
    expected = {n: tokens_of(model, text) for n, text in enumerate(texts)}
    table = datasets.Dataset.from_dict({"id": list(range(7)), "text": texts})
    table.save_to_disk(tmp_path / "saved")
    saved = DatasetTexts(str(tmp_path / "saved"))
    for content in (table, table.to_iterable_dataset(), datasets.DatasetDict({"train": table}), saved):
        source = TextSource(content, 4)
        batches = list(source.batches(model, 2))
        assert documents_of(gathered(batches)) == expected
        assert as_json(source.batches(model, 2, batches[1].after)) == as_json(batches[2:])
    with pytest.raises(InputError, match="no column 'body'; it has id, text"):
        DatasetTexts(table, "body")
    with pytest.raises(InputError, match="no split 'test'; it has train"):
        DatasetTexts(datasets.DatasetDict({"train": table}), split="test")


def test_token_ids_come_without_their_padding_and_their_marks(model):
    table = datasets.Dataset.from_dict(
        {"input_ids": [[9, 9, 5, 6], [0, 7, 8, 0]], "attention_mask": [[0, 0, 1, 1], [1, 1, 1, 1]]}
    )
    found = gathered(TextSource(table, 8).batches(model))
    assert found == {(0, 0): 5, (0, 1): 6, (1, 1): 7, (1, 2): 8}
    rows = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    for content in (rows, rows.numpy(), rows.tolist()):
        assert documents_of(gathered(TextSource(content, 3).batches(model))) == dict(enumerate(rows.tolist()))


def test_a_dataset_that_cannot_be_had_is_one_sentence():
    with pytest.raises(InputError, match=r"^The dataset nobody/nothing cannot be loaded here: ") as refused:
        DatasetTexts("nobody/nothing")
    assert "\n" not in str(refused.value)


def test_an_iterator_is_read_once_and_a_function_as_often_as_one_likes(model):
    texts = ["one two three", "four five six"]
    once = TextSource(iter(texts), 8, epochs=2)
    with pytest.raises(InputError, match="give a function that makes one"):
        list(once.batches(model))
    often = TextSource(lambda: iter(texts), 8, epochs=2)
    assert len(list(often.batches(model, 1))) == 4
    fresh = TextSource(iter(texts), 8)
    first, second = TextSource(iter(texts), 8).batches(model, 1)
    assert as_json(fresh.batches(model, 1, first.after)) == as_json([second])


def test_without_a_seed_documents_keep_their_order_and_with_one_each_epoch_has_another(model):
    rows = torch.arange(1, 61).reshape(20, 3)  # windows of one length, which stay in the order of their documents

    def order(**options):
        batches = TextSource(rows, 8, **options).batches(model, 1)
        return [int(batch.document[0, 0]) for batch in batches]

    assert order(seed=None) == list(range(20))
    twice = order(seed=1, epochs=2)
    assert sorted(twice[:20]) == sorted(twice[20:]) == list(range(20))
    assert twice[:20] != twice[20:] != list(range(20))
    assert order(seed=1, epochs=2) == twice != order(seed=2, epochs=2)


def test_short_documents_share_passes_with_others_as_short(model):
    texts = ["word " * (1 if n % 2 else 60) for n in range(64)]
    batches = list(TextSource(texts, 64).batches(model, 8))
    filled = sum(batch.tokens.numel() for batch in batches)
    assert filled <= 1.1 * sum(int(batch.lengths.sum()) for batch in batches)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the list is empty"),
        ([""], "not a single token"),
        (["", "\n" * 0], "not a single token"),
        (iter([]), "not a single token"),
        ([3], "Document 0 is int"),
        (["a", None], "Document 1 is NoneType"),
        ([b"bytes"], "Document 0 is bytes"),
        ([[0.5, 1.5]], "Document 0 is list"),
        ("no/such/place", "There is no file or folder 'no/such/place'"),
        ("a\x00b", r"There is no file or folder 'a\\x00b'|cannot be read"),
        ("one line", "no file or folder 'one line'; a text goes in a list"),
        (torch.zeros(3, dtype=torch.long), r"\[rows, time\], not \[3\]"),
        (3.5, "float is no source of text"),
    ],
)
def test_content_that_is_none_is_one_sentence(model, content, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        list(TextSource(content).batches(model))
    assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read_are_one_sentence(model, tmp_path):
    with pytest.raises(InputError, match=r"There is no \*.txt or \*.jsonl in"):
        TextSource(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 noir")
    with pytest.raises(InputError, match=r"a.txt is not UTF-8 text \(byte 3\)"):
        list(TextSource(tmp_path).batches(model))
    source = TextSource(tmp_path)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a\.txt cannot be read"):
        list(source.batches(model))


def test_numbers_out_of_range_are_refused(model):
    for options, sentence in [
        ({"length": 1}, "at least 2"),
        ({"length": 2, "bos": True}, "at least 3"),
        ({"epochs": 0}, "at least once"),
    ]:
        with pytest.raises(InputError, match=sentence):
            TextSource(["text"], **options)
    with pytest.raises(InputError, match="at least one window"):
        list(TextSource(["text"]).batches(model, 0))


def test_the_number_of_tokens_is_estimated_from_a_sample(model, tmp_path):
    texts = ["one two three " * (1 + n % 7) for n in range(200)]
    exact = sum(len(tokens_of(model, text)) for text in texts)
    assert TextSource(texts[:20], 8).estimate_tokens(model) == sum(len(tokens_of(model, text)) for text in texts[:20])
    assert TextSource(texts, 8, epochs=3).estimate_tokens(model) == pytest.approx(3 * exact, rel=0.25)
    (tmp_path / "a.txt").write_text("\n".join(texts))
    assert TextSource(tmp_path).estimate_tokens(model) == pytest.approx(exact, rel=0.1)
    assert TextSource(iter(texts)).estimate_tokens(model) is None
    assert TextSource(texts, epochs=None).estimate_tokens(model) is None
