import json

import pytest

from tests.workbench.studies.inputs.studies import read
from workbench.errors import InputError

FRANCE = {"prompt": "The capital of France is", "answer": " Paris"}


def lines(tmp_path, *given):
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in given)
    (tmp_path / "own.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def read_lines(zoo, tmp_path, *given, **more):
    return read({"prompts": "own.jsonl", **more}, zoo("attention"), lines(tmp_path, *given))


def test_the_answer_s_first_token_is_that_of_the_whole_text(zoo, tmp_path):
    model = zoo("attention")
    (prompt,) = read_lines(zoo, tmp_path, {**FRANCE, "foil": [" London", " Rome"], "group": "cities"})
    whole = model.tokens.encode("The capital of France is Paris")[0][0].tolist()
    assert list(prompt.tokens) == whole[: len(prompt.tokens)]
    assert prompt.scored == (len(prompt.tokens) - 1,)
    assert prompt.answers == (whole[len(prompt.tokens)],)
    alone = [model.tokens.encode(foil, prepend_bos=False)[0][0, 0].item() for foil in (" London", " Rome")]
    assert prompt.foils == (tuple(alone),)
    assert prompt.group == "cities"


def test_lines_without_a_group_are_their_own_and_blank_lines_are_left_out(zoo, tmp_path):
    prompts = read_lines(zoo, tmp_path, FRANCE, "", {"prompt": "one two", "answer": " three", "group": 7}, FRANCE)
    assert [prompt.group for prompt in prompts] == ["line 1", "7", "line 4"]
    assert [prompt.number for prompt in prompts] == [0, 0, 1]
    assert len({prompt.prompt_id for prompt in prompts}) == 3


def test_a_corrupt_prompt_is_kept_where_it_is_as_long(zoo, tmp_path):
    (prompt,) = read_lines(zoo, tmp_path, {**FRANCE, "corrupt": "The capital of France as"})
    assert prompt.corrupt is not None and len(prompt.corrupt) == len(prompt.tokens)
    assert sum(a != b for a, b in zip(prompt.corrupt, prompt.tokens, strict=True)) == 1
    with pytest.raises(InputError, match=r"own.jsonl, line 2: the corrupt prompt is (\d+) tokens long and the prompt"):
        read_lines(zoo, tmp_path, FRANCE, {**FRANCE, "corrupt": "The capital"})


def test_the_first_so_many_are_read(zoo, tmp_path):
    numbered = [{"prompt": f"item {n} is", "answer": " good"} for n in range(5)]
    some = read_lines(zoo, tmp_path, *numbered, "not even JSON", count=5)
    assert len(some) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON"),
        ("[1, 2]", "a JSON object is needed, with prompt and answer, not list"),
        ({"prompt": "a", "anser": " b"}, "no key 'anser'; there is: prompt, answer"),
        ({"prompt": "a"}, "the key 'answer' is missing"),
        ({"prompt": "a", "answer": 3}, "'answer': input should be a valid string"),
        ({"prompt": "", "answer": " b"}, "'prompt': string should have at least 1 character"),
        ({"prompt": "a ", "answer": "b"}, "move the space from the end of the prompt to the answer"),
        ({"prompt": "The th", "answer": "e"}, "joins 'e' with the end of the prompt"),
        ({"prompt": "The th", "answer": "e cat"}, "joins 'e cat' with the end of the prompt"),
        ({**FRANCE, "foil": " Paris"}, "the foil ' Paris' begins with the same token as the answer"),
    ],
)
def test_a_line_that_makes_no_sense_is_told_by_file_and_number(zoo, tmp_path, line, said):
    with pytest.raises(InputError, match=rf"own\.jsonl, line 2: .*{said}"):
        read_lines(zoo, tmp_path, FRANCE, line)


def test_a_file_without_prompts_is_refused(zoo, tmp_path):
    with pytest.raises(InputError, match="holds no prompt"):
        read_lines(zoo, tmp_path, "", "  ")
    with pytest.raises(InputError, match="cannot be read"):
        read({"prompts": "missing.jsonl"}, zoo("attention"), tmp_path)
