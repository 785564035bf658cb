import pytest

from tests.workbench.studies.inputs.studies import read
from workbench.errors import InputError
from workbench.windows import text_windows

TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 30


def test_windows_predict_every_next_token(zoo, tmp_path):
    (tmp_path / "two.txt").write_text(TEXT)
    model = zoo("attention")
    rows = text_windows(model, TEXT, 16).tolist()
    prompts = read({"text": "two.txt", "length": 16, "count": 3}, model, tmp_path)
    assert [list(prompt.tokens) for prompt in prompts] == [rows[0], rows[(len(rows) - 1) // 2], rows[-1]]
    for prompt in prompts:
        assert prompt.scored == tuple(range(15))
        assert prompt.answers == prompt.tokens[1:]
        assert prompt.foils == () and prompt.corrupt is None
    assert len({prompt.group for prompt in prompts}) == 3


def test_all_windows_come_where_there_are_no_more(zoo, tmp_path):
    (tmp_path / "two.txt").write_text(TEXT)
    every = read({"text": "two.txt", "length": 16, "count": 10_000}, zoo("attention"), tmp_path)
    assert len(every) == len(text_windows(zoo("attention"), TEXT, 16))


def test_windows_of_several_files_are_grouped_by_file(zoo, tmp_path):
    (tmp_path / "books" / "old").mkdir(parents=True)
    for name in ("a.txt", "old/b.txt"):
        (tmp_path / "books" / name).write_text(TEXT)
    (tmp_path / "books" / "short.txt").write_text("It")
    (tmp_path / "books" / "blank.txt").write_text(" \n")
    prompts = read({"text": "books", "length": 16, "count": 9}, zoo("attention"), tmp_path)
    assert {prompt.group for prompt in prompts} == {"a.txt", "old/b.txt"}
    # The two files hold the same text, and both their first windows are wanted.
    assert len({prompt.prompt_id for prompt in prompts}) == 9


@pytest.mark.parametrize(
    ("content", "length", "said"),
    [
        (b"\xff\xfe", 16, "not UTF-8 text"),
        (b"  \n", 16, "holds no text"),
        (b"It was", 16, "holds 0 rows of 16 tokens"),
        (None, 16, "cannot be read"),
        (TEXT.encode(), 100_000, "holds 0 rows of 100000 tokens"),
    ],
)
def test_text_that_cannot_be_read_is_refused(zoo, tmp_path, content, length, said):
    if content is not None:
        (tmp_path / "one.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read({"text": "one.txt", "length": length}, zoo("attention"), tmp_path)


def test_a_folder_without_text_is_refused(zoo, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \*\.txt"):
        read({"text": "empty"}, zoo("attention"), tmp_path)


def test_nothing_outside_the_study_s_folder_is_read(zoo, tmp_path):
    (tmp_path / "one.txt").write_text(TEXT)
    (tmp_path / "study").mkdir()
    with pytest.raises(InputError, match="outside the folder of the study file"):
        read({"text": "../one.txt"}, zoo("attention"), tmp_path / "study")
