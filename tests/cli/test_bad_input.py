import pytest


def test_a_path_that_is_not_there(refused, tmp_path):
    assert "There is no file or directory" in refused("info", tmp_path / "missing")


def test_a_directory_that_is_no_model(refused, tmp_path):
    assert str(tmp_path) in refused("info", tmp_path)


def test_a_member_that_the_zoo_has_not(refused):
    assert "nobody" in refused("info", "zoo:nobody") or "empty" in refused("info", "zoo:nobody")


def test_a_layer_out_of_range(refused, gpt2):
    assert "has layers 0 to 1" in refused("attention", gpt2, "the cat", "--layer", 2)


def test_a_head_out_of_range(refused, gpt2):
    assert "has heads 0 to 3" in refused("attention", gpt2, "the cat", "--layer", 0, "--head", 4)


def test_empty_text(refused, gpt2):
    assert "empty" in refused("attention", gpt2, "", "--layer", 0).lower()


def test_no_text_at_all_and_text_twice(refused, gpt2, tmp_path):
    sentence = "Give a text as PROMPT, or a file with --text, and not both."
    assert refused("attention", gpt2, "--layer", 0) == sentence
    assert refused("attention", gpt2, "a", "--layer", 0, "--text", tmp_path / "a.txt") == sentence


def test_a_text_file_that_is_missing_or_no_text(refused, gpt2, tmp_path):
    assert "cannot be read: No such file" in refused("attention", gpt2, "--layer", 0, "--text", tmp_path / "a")
    (tmp_path / "b").write_bytes(b"abc\xff\xfe")
    assert "is not UTF-8 text (byte 3)" in refused("attention", gpt2, "--layer", 0, "--text", tmp_path / "b")


def test_a_text_longer_than_the_models_positions(refused, gpt2):
    assert "64" in refused("attention", gpt2, "cat " * 200, "--layer", 0)


def test_a_text_longer_than_the_limit(refused, gpt2):
    sentence = refused("attention", gpt2, "the cat sat " * 3, "--layer", 0, "--max-tokens", 5)
    assert "the limit is 5" in sentence and "--max-tokens" in sentence


def test_text_for_a_model_without_a_tokenizer(refused, mamba):
    assert "tokenizer" in refused("attention", mamba, "the cat", "--layer", 0)


def test_a_kind_of_head_that_nobody_knows(refused, gpt2):
    sentence = refused("heads", gpt2, "--kind", "inductoin")
    assert "'inductoin'" in sentence and "induction" in sentence


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        ("H1", "is no site"),
        ("L0H9", "has heads 0..3"),
        ("L7H0", "layers 0..1"),
        ("L0H0,L0H0", "overlaps"),
        ("L0H0,L1.mlp", "of different kinds or sizes"),
        (",", "names nothing"),
    ],
)
def test_sites_that_make_no_sense(refused, gpt2, sites, says):
    assert says in refused("ablate", gpt2, "--sites", sites)


def test_more_heads_than_there_are(refused, gpt2):
    assert "8 heads" in refused("ablate", gpt2, "--best", 99, "--block", 10)


def test_a_result_that_could_not_be_written_is_refused_before_the_work(refused, tmp_path):
    missing = tmp_path / "missing"
    assert "does not exist" in refused("heads", "never-loaded", "--out", missing / "a.html")
    assert "is a directory" in refused("heads", "never-loaded", "--json", tmp_path)


def test_a_folder_for_the_demo_that_cannot_be_made(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused("demo", "--out", tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["heads", "zoo:gla", "--top", "-3"], "'--top'"),
        (["heads", "zoo:gla", "--tpo", "3"], "--top"),
        (["heads"], "'MODEL'"),
        (["lens", "train", "zoo:gla"], "'--text'"),
        (["ablate", "zoo:gla", "--method", "x"], "'mean', 'zero', 'resample'"),
        (["memory", "zoo:gla", "--text", "a", "--length", "x"], "'--length'"),
        (["haeds", "zoo:gla"], "'heads'"),
    ],
)
def test_arguments_that_cannot_be_read_are_one_sentence_that_names_them_and_the_help(refused, arguments, says):
    sentence = refused(*arguments)
    assert says in sentence and sentence.endswith(" --help.") and "see " in sentence


def test_a_group_without_a_command_shows_its_commands(run):
    result = run("lens")
    assert "train" in result.output and "Error" not in result.output
