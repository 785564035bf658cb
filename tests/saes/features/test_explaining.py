"""Explainers and scores on features whose answers are known."""

import pytest

from workbench.errors import InputError
from workbench.saes import Example
from workbench.saes.features.explaining import (
    CallableExplainer,
    CallableJudge,
    Explainer,
    Judge,
    Pattern,
    PatternJudge,
    PlantedFeature,
    TokenExplainer,
    planted_features,
    score_label,
    scores_table,
)

SENTENCES = [
    "The cat sat on the mat , and 12 dogs ran after it .",
    "In 1848 the people of France rose against the king .",
    "She quickly ran home ; nobody was running after her .",
    "Paris is the capital of France , Rome of Italy .",
    "He bought 3 apples and 44 pears at the market today .",
    "the night was dark and the wind blew strongly again",
    "unhappy people often undo what unkind words did",
    "Water boils at one hundred degrees , ice melts at zero",
]
ROWS = [[(" " if at else "") + word for at, word in enumerate(one.split())] for one in SENTENCES * 3]


def halves(feature, seed=0):
    examples = feature.examples(ROWS, seed=seed)
    return [one for one in examples if one.fires], [one for one in examples if not one.fires]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (Pattern("tokens", ('the "', "a, b")), 'the token is one of "the \\"", "a, b"'),
        (Pattern("after", ("of",)), 'the token before is one of "of"'),
        (Pattern("digits"), "the token is made of digits"),
        (Pattern("capital"), "the token begins with a capital letter"),
    ],
)
def test_a_patterns_name_says_all_of_it(pattern, name):
    assert str(pattern) == name and Pattern.parse(name) == pattern
    assert Pattern.parse("words about the sea") is None and Pattern.parse("the token is one of [") is None


def test_patterns_fire_where_they_say():
    tokens = [" The", " un", "happy", " 12", ",", "\n", " of", " 3"]
    places = {
        Pattern("tokens", ("The", "of")): [0, 6],
        Pattern("begins", ("ha", "u")): [1, 2],
        Pattern("ends", ("y",)): [2],
        Pattern("contains", ("f",)): [6],
        Pattern("after", ("of", "un")): [2, 7],
        Pattern("digits"): [3, 7],
        Pattern("capital"): [0],
        Pattern("punctuation"): [4],
        Pattern("space"): [5],
    }
    for pattern, want in places.items():
        assert pattern.places(tokens) == want, pattern
    with pytest.raises(InputError, match="lists something"):
        Pattern("tokens")
    with pytest.raises(InputError, match="No kind of pattern"):
        Pattern("rhymes")


@pytest.mark.parametrize(
    "answer",
    [
        Pattern("digits"),
        Pattern("tokens", ("France",)),
        Pattern("tokens", ("ran", "people")),
        Pattern("after", ("of",)),
        Pattern("begins", ("un",)),
        Pattern("capital"),
        Pattern("punctuation"),
    ],
)
def test_the_explainer_finds_what_was_planted(answer):
    firing, silent = halves(PlantedFeature(answer))
    label = TokenExplainer().explain([*firing[: len(firing) // 2], *silent[::2]])
    named = Pattern.parse(label)
    assert [named.places(row) for row in ROWS] == [answer.places(row) for row in ROWS]


def test_a_right_label_scores_one_and_a_half_right_one_what_it_is_worth():
    answer = Pattern("tokens", ("France", "market"))
    firing, silent = halves(PlantedFeature(answer))
    assert len(firing) == 9 and len(silent) == 15
    for score in score_label(str(answer), firing, silent, PatternJudge()):
        assert score.score == pytest.approx(1.0) == pytest.approx(score.low)
    # It says nothing of the market, three of the nine; what it says of silent pieces is right.
    half = score_label(str(Pattern("tokens", ("France",))), firing, silent, PatternJudge())
    detection, fuzzing = half
    assert detection.measure == "detection" and fuzzing.measure == "fuzzing"
    for score in half:
        assert score.sensitivity == pytest.approx(6 / 9) and score.specificity == 1.0
        assert score.score == pytest.approx((6 / 9 + 1) / 2) and score.low < score.score < score.high
        assert score.pairs == 9
    # A label of something else: each firing piece is missed unless the other thing is in it by chance.
    wrong = Pattern("digits")
    detection = score_label(str(wrong), firing, silent, PatternJudge())[0]
    hits = [bool(wrong.places(one.tokens)) for one in firing]
    false = [bool(wrong.places(one.tokens)) for one in silent[:9]]
    assert detection.score == pytest.approx((sum(hits) + 9 - sum(false)) / 18)
    table = scores_table(half)
    assert table["measure"].tolist() == ["detection", "fuzzing"] and table["score"].between(0.5, 1).all()


def test_fuzzing_tells_a_label_that_detection_takes():
    # "the" is in each sentence of which this feature's word is, so naming it detects and does not place.
    rows = [
        [" the", " old", " king"],
        [" the", " young", " king"],
        [" a", " red", " boat"],
        [" one", " blue", " sky"],
    ] * 5
    examples = PlantedFeature(Pattern("tokens", ("king",))).examples(rows)
    firing, silent = [one for one in examples if one.fires], [one for one in examples if not one.fires]
    detection, fuzzing = score_label(str(Pattern("tokens", ("the",))), firing, silent, PatternJudge())
    assert detection.score == 1.0
    assert fuzzing.sensitivity == 0.0 and fuzzing.score <= 0.5


def test_generated_features_are_found_again_and_noise_lowers_their_scores():
    clean = planted_features(ROWS, 8, seed=1)
    assert clean == planted_features(ROWS, 8, seed=1) != planted_features(ROWS, 8, seed=2)
    assert len({str(one.answer) for one in clean}) == 8
    means = []
    for noise in (0.0, 0.3):
        scores = []
        for number, one in enumerate(planted_features(ROWS, 8, seed=1, noise=noise)):
            firing, silent = halves(one, seed=number)
            if silent:
                scores.append(score_label(str(one.answer), firing, silent, PatternJudge())[0].score)
        means.append(sum(scores) / len(scores))
    assert means[0] == 1.0 and means[1] < 0.9
    with pytest.raises(InputError, match="only 0 of the 3"):
        planted_features([["a"]], 3)


def test_anything_that_answers_a_prompt_can_explain_and_judge():
    prompts = []

    def ask(prompt):
        prompts.append(prompt)
        return "  kings \n" if "Say in one" in prompt else "Yes" if "king" in prompt.rsplit("\n", 1)[1] else "no."

    example = Example(0, "top", 0, 0, 2, 0, 1.5, (1, 2, 3, 4), (" the", " old", " ki", "ng"), (0.0, 0.0, 1.5, 1.0))
    silent = Example(0, "silent", 0, 1, 0, 0, 0.0, (1,), (" boat", " <b>"), (0.0, 0.0))
    explainer, judge = CallableExplainer(ask), CallableJudge(ask)
    assert isinstance(explainer, Explainer) and isinstance(judge, Judge)
    assert isinstance(TokenExplainer(), Explainer) and isinstance(PatternJudge(), Judge)
    assert explainer.explain([example, silent]) == "kings"
    assert "the old<< king>>" in prompts[0] and "boat" not in prompts[0]
    assert judge.detects("kings", example) and not judge.detects("kings", silent)
    judge.accepts("kings", example, [1])
    assert "' the<< old>> king'" in prompts[-1]
    with pytest.raises(InputError, match="gave no answer"):
        CallableExplainer(lambda prompt: " ").explain([example])
    with pytest.raises(InputError, match="fires in none"):
        TokenExplainer().explain([silent])
    with pytest.raises(InputError, match="there are 1 and 0"):
        score_label("x", [example], [example], judge)
    with pytest.raises(InputError, match="no pattern of tokens"):
        PatternJudge().detects("kings", example)
