from types import SimpleNamespace
from typing import Any

import pytest
import torch

from workbench.errors import InputError
from workbench.tasks import Vocabulary, repeated_random_tokens


class Words:
    """A tokenizer with a token for each word it knows, and single letters for the others."""

    bos_token_id = 1
    all_special_ids = (0, 1)

    def __init__(self) -> None:
        self.known = ["<pad>", "<bos>", " red", " blue", " green", "red", *"abcdefghijklmnopqrstuvwxyz ", " crimson"]

    def __len__(self) -> int:
        return len(self.known)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = [self.known.index(text)] if text in self.known else [self.known.index(letter) for letter in text]
        return [1, *ids] if add_special_tokens else ids


def model(d_vocab: int, *, tokenizer: Any = None, n_ctx: int | None = None) -> Any:
    cfg = SimpleNamespace(d_vocab=d_vocab, n_ctx=n_ctx, device=torch.device("cpu"))
    return SimpleNamespace(cfg=cfg, tokenizer=tokenizer)


def test_a_number_a_tokenizer_and_a_model_are_vocabularies() -> None:
    assert Vocabulary.of(7).size == 7
    words = Words()
    own = Vocabulary.of(words)
    assert (own.size, own.special, own.tokenizer, own.context) == (len(words), (0, 1), words, None)
    of_model = Vocabulary.of(model(50, tokenizer=words, n_ctx=99))
    # The embedding has more rows than the tokenizer has tokens.
    assert (of_model.size, of_model.special, of_model.context) == (len(words), (0, 1), 99)
    assert Vocabulary.of(model(5, tokenizer=words)).size == 5
    assert Vocabulary.of(model(50)).size == 50
    assert Vocabulary.of(own) is own


@pytest.mark.parametrize("source", [True, None, "gpt2", 3.0])
def test_what_is_no_vocabulary_gets_a_sentence(source: Any) -> None:
    with pytest.raises(InputError, match=rf"and {type(source).__name__} is neither"):
        Vocabulary.of(source)


def test_no_tokens_get_a_sentence() -> None:
    with pytest.raises(InputError, match="vocabulary size is 0"):
        Vocabulary.of(0)


def test_plain_ids_are_all_but_the_special_ones_or_those_named() -> None:
    words = Vocabulary.of(Words())
    assert words.plain().tolist() == list(range(2, len(Words())))
    assert Vocabulary.of(4).plain([2, 2]).tolist() == [0, 1, 3]
    assert words.plain([]).tolist() == list(range(len(Words())))
    with pytest.raises(InputError, match=r"avoid names token 4, outside 0\.\.3"):
        Vocabulary.of(4).plain([4])


def test_the_first_token_is_the_tokenizers_own_or_the_one_given() -> None:
    words = Vocabulary.of(Words())
    assert words.bos(True) == 1
    assert words.bos(3) == 3
    assert words.bos(0) == 0
    assert words.bos(None) is None and words.bos(False) is None
    with pytest.raises(InputError, match="bos=True needs"):
        Vocabulary.of(5).bos(True)
    with pytest.raises(InputError, match=r"outside 0\.\.4"):
        Vocabulary.of(5).bos(5)


def test_symbols_are_the_tokens_of_words_and_first_ids_without_any() -> None:
    words = Vocabulary.of(Words())
    assert words.symbols(["red", "blue"]).tolist() == [2, 3]
    assert words.symbols(["red"], space=False).tolist() == [5]
    assert Vocabulary.of(model(9, tokenizer=None)).symbols(["red", "blue"]).tolist() == [0, 1]
    assert Vocabulary(6, special=(0,)).symbols(["red", "blue"]).tolist() == [1, 2]


def test_words_that_are_cut_are_all_named() -> None:
    words = Vocabulary.of(Words())
    with pytest.raises(InputError, match="no single token for: 'purple', 'teal'"):
        words.symbols(["red", "purple", "teal"])
    with pytest.raises(InputError, match="share a token"):
        words.symbols(["red", "red"])
    with pytest.raises(InputError, match="3 symbols cannot be drawn from 2"):
        Vocabulary.of(2).symbols(["a", "b", "c"])


def test_text_is_encoded_without_special_tokens_and_needs_a_tokenizer() -> None:
    assert Vocabulary.of(Words()).encode(" red") == [2]
    with pytest.raises(InputError, match="give it a model with a tokenizer"):
        Vocabulary.of(9).encode("red")


def test_a_task_longer_than_the_models_context_is_refused() -> None:
    short = model(30, n_ctx=10)
    assert repeated_random_tokens(short, 5, batch=1).time == 10
    with pytest.raises(InputError, match="has 12 tokens at these sizes, and the model reads at most 10"):
        repeated_random_tokens(short, 6, batch=1)
    with pytest.raises(InputError, match="has 11 tokens"):
        repeated_random_tokens(short, 5, batch=1, bos=0)
