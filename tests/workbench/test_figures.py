import base64
import struct
import zlib

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.figures import ablation_bars, attention_map, pool_causal, score_map, thumbnail_png, token_label
from workbench.figures.bars import Bar
from workbench.figures.canvas import causal_matrix
from workbench.figures.colours import is_signed, signed_limit
from workbench.figures.levels import MASKED_LEVEL
from workbench.figures.tokens import visible_token

HOSTILE = ["<script>alert(1)</script>", "</script>", '"><img src=x onerror=alert(1)>', "`${x}`", "$x^2$", "it's"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "·the"),
        ("\n", "↵"),
        ("a\tb", "a⇥b"),
        ("", "∅"),
        ("\u200b", "U+200B"),
        ("\u202eabc", "U+202Eabc"),
        ("\x00", "U+0000"),
        ("\u00a0", "U+00A0"),
        ("naïve 字", "naïve·字"),
    ],
)
def test_what_a_browser_would_hide_or_reorder_is_shown(text, shown):
    assert visible_token(text) == shown


def test_a_label_holds_no_character_that_markup_or_mathjax_reads():
    for text in HOSTILE:
        assert not set("<>\"'$") & set(token_label(text, width=100))


def test_a_long_label_is_cut_before_it_is_escaped():
    assert token_label("<" * 100, width=4) == "&lt;&lt;&lt;…"


def test_pooling_keeps_the_largest_entry_with_its_sign():
    matrix = np.zeros((6, 6), dtype=np.float32)
    matrix[5, 1] = -3.0
    matrix[5, 0] = 2.0
    pixels, factor = pool_causal(matrix, 3)
    assert factor == 2
    assert pixels.shape == (3, 3)
    assert pixels[2, 0] == -3.0
    assert np.count_nonzero(pixels) == 1


def test_pooling_ignores_missing_entries_and_uneven_ends():
    matrix = np.full((5, 5), np.nan, dtype=np.float32)
    matrix[4, 4] = 0.5
    pixels, factor = pool_causal(matrix, 3)
    assert factor == 2
    assert pixels[2, 2] == 0.5
    assert np.isnan(pixels[0, 0])


def test_a_small_matrix_is_left_as_it_is():
    matrix = np.tril(np.ones((4, 4), dtype=np.float32))
    pixels, factor = pool_causal(matrix, 4)
    assert factor == 1
    np.testing.assert_array_equal(pixels, matrix)


def test_signed_colours_are_symmetric_blue_below_zero_vermillion_above():
    weights = np.array([[0.5, 0.0], [-2.0, 1.0]], dtype=np.float32)
    axis = attention_map(weights, ["a", "b"]).layout.coloraxis
    assert axis.cmin == -axis.cmax
    assert axis.colorscale[0] == (0.0, "rgba(0,114,178,1)")
    assert axis.colorscale[-1] == (1.0, "rgba(213,94,0,1)")
    # Zero is transparent from either side, so that it is the page itself.
    assert [colour for at, colour in axis.colorscale if at == 0.5] == ["rgba(0,114,178,0)", "rgba(213,94,0,0)"]


def test_the_limit_of_signed_colours_ignores_one_outlier_and_says_what_it_clips():
    values = np.tril(np.random.default_rng(0).normal(size=(60, 60))).astype(np.float32)
    values[50, 3] = 1000.0
    limit, clipped = signed_limit(values)
    assert limit < 5
    assert 0 < clipped <= 0.006
    assert "clipped at" in attention_map(values, ["x"] * 60).layout.coloraxis.colorbar.title.text


def test_probabilities_start_at_zero_with_the_page_as_background():
    axis = attention_map(np.array([[1.0, 0.0], [0.25, 0.75]], dtype=np.float32), ["a", "b"]).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (0, 1.0)
    assert axis.colorscale[0][1].endswith(",0)")


def test_rounding_below_zero_does_not_make_probabilities_signed():
    assert not is_signed(np.array([1.0, -1e-9]))
    assert is_signed(np.array([1.0, -0.1]))


def test_axes_are_numeric_so_that_repeated_tokens_stay_apart():
    figure = attention_map(np.tril(np.ones((4, 4), dtype=np.float32)), ["a", "b", "a", "b"])
    assert list(figure.layout.xaxis.tickvals) == [0, 1, 2, 3]
    assert list(figure.layout.xaxis.ticktext) == ["a", "b", "a", "b"]


def test_every_label_of_a_map_is_escaped():
    tokens = HOSTILE
    figure = attention_map(np.tril(np.ones((len(tokens), len(tokens)), dtype=np.float32)), tokens)
    for text in (*figure.layout.xaxis.ticktext, *figure.layout.yaxis.ticktext):
        assert not set("<>\"'$") & set(text)


def test_the_future_is_hatched_and_not_coloured_as_zero():
    figure = attention_map(np.tril(np.ones((3, 3), dtype=np.float32)), ["a", "b", "c"])
    z = np.array(figure.data[0].z)
    assert np.isnan(z[0, 1]) and np.isnan(z[1, 2]) and z[2, 0] == 1
    hatch = figure.data[-1]
    assert hatch.fillpattern.shape == "/"
    # The staircase runs along the cells' edges: from the right of (0, 0) to the right of (2, 2) and back at the top.
    assert (hatch.x[0], hatch.y[0]) == (0.5, -0.5)
    assert max(hatch.x) == 2.5


def test_entries_that_are_no_numbers_are_grey_and_counted():
    weights = np.array([[1.0, 0.0], [np.nan, 0.5]], dtype=np.float32)
    figure = attention_map(weights, ["a", "b"])
    assert "1 not a number" in figure.layout.coloraxis.colorbar.title.text
    assert np.array(figure.data[1].z)[1, 0] == 1


def test_labels_are_thinned_before_they_overlap():
    figure = attention_map(np.tril(np.ones((100, 100), dtype=np.float32)), [f"t{i}" for i in range(100)])
    assert len(figure.layout.xaxis.ticktext) <= 32
    assert figure.layout.xaxis.ticktext[1] == f"{figure.layout.xaxis.tickvals[1]} t{figure.layout.xaxis.tickvals[1]}"


def test_ticks_of_a_pooled_map_name_the_first_token_of_the_pixel():
    pixels, factor = pool_causal(np.tril(np.ones((12, 12), dtype=np.float32)), 4)
    figure = attention_map(pixels, [f"t{i}" for i in range(12)], factor=factor)
    assert list(figure.layout.xaxis.ticktext) == ["0 t0", "3 t3", "6 t6", "9 t9"]


def test_a_score_map_keeps_heads_in_place_and_marks_the_chosen_ones():
    scores = [np.array([0.1, 0.9, 0.2]), np.array([0.3, 0.4])]
    figure = score_map(scores, marked=[np.array([False, True, False]), np.array([False, False])])
    z = np.array(figure.data[0].z)
    np.testing.assert_allclose(z[0], [0.1, 0.9, 0.2], rtol=1e-6)
    assert np.isnan(z[1, 2])
    assert (list(figure.data[1].x), list(figure.data[1].y)) == ([1], [0])


def test_a_layer_of_channels_is_sorted_and_hovering_names_the_channel():
    scores = np.linspace(0, 1, 100)
    figure = score_map([scores], marked=[scores > 0.895], unit="channel")
    z, names = np.array(figure.data[0].z), np.array(figure.data[0].customdata)
    assert z[0, 0] == 1.0 and names[0, 0] == 99
    assert (np.diff(z[0]) <= 0).all()
    assert list(figure.data[1].x) == [10.5]


def test_a_map_of_nothing_looks_like_one():
    figure = score_map([np.array([0.001, 0.002])], full_scale=0.1)
    assert figure.layout.coloraxis.cmax == 0.1


def test_bars_carry_their_intervals_and_escape_their_names():
    bars = [
        Bar("loss", "second <b>", "ablated <i>", 2.0, 1.5, 2.25),
        Bar("loss", "first", "ablated <i>", 1.0),
    ]
    figure = ablation_bars(bars)
    trace = figure.data[0]
    assert list(trace.y) == [2.0, 1.0]
    assert list(trace.error_y.array) == [0.25, 0.0]
    assert list(trace.error_y.arrayminus) == [0.5, 0.0]
    assert "<i>" not in trace.name and "<i>" not in trace.hovertemplate
    assert list(figure.layout.xaxis.ticktext) == ["second &lt;b&gt;", "first"]


def test_each_condition_has_its_own_place_in_a_group():
    bars = [Bar("loss", "first", name, 1.0) for name in ("a", "b", "c")]
    places = [trace.x[0] for trace in ablation_bars(bars).data]
    assert len(set(places)) == 3
    assert places[1] == pytest.approx(0.0)


def test_a_thumbnail_is_a_png_whose_opacity_is_size_and_whose_colour_is_sign():
    png = thumbnail_png(np.array([[2.0, -1.0], [0.0, np.nan]], dtype=np.float32), signed=True, limit=2.0)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (2, 2)
    start = png.index(b"IDAT") + 4
    rows = zlib.decompress(png[start : png.index(b"IEND") - 8])
    assert rows == bytes([0, 213, 94, 0, 255, 0, 114, 178, 128]) + bytes([0, 213, 94, 0, 0, 213, 94, 0, 0])
    assert base64.b64encode(png)


@pytest.mark.parametrize("corner", [(0, 0), (5, 2), (2, 5)])
def test_a_window_into_a_causal_picture_has_the_cells_and_names_of_the_whole(corner):
    tokens = [f" {at}" for at in range(12)]
    values = np.random.default_rng(0).random((12, 12))
    rows, columns = slice(corner[0], corner[0] + 6), slice(corner[1], corner[1] + 4)
    whole = causal_matrix(values, tokens, name="weight", signed=False)
    part = causal_matrix(values[rows, columns], tokens, name="weight", signed=False, corner=corner)
    hatched = whole.levels.levels == MASKED_LEVEL
    assert (hatched == np.triu(np.ones((12, 12), dtype=bool), k=1)).all()
    assert ((part.levels.levels == MASKED_LEVEL) == hatched[rows, columns]).all()
    assert whole.header["notes"] == [
        "Hatched: a token that comes later."
    ]  # a cell is a token, and there is no more to say
    assert part.header["rowNames"] == whole.header["rowNames"][rows]
    assert part.header["columnNames"] == whole.header["columnNames"][columns]


def test_a_pooled_causal_picture_hatches_the_pixels_of_the_future_and_says_what_a_pixel_is():
    tokens = [str(at) for at in range(10)]
    pixels, factor = pool_causal(np.tril(np.ones((10, 10))), 4)
    drawn = causal_matrix(pixels, tokens, name="weight", signed=True, factor=factor)
    assert factor == 3 and ((drawn.levels.levels == MASKED_LEVEL) == np.triu(np.ones((4, 4), dtype=bool), k=1)).all()
    assert drawn.header["rowNames"][1] == "3–5 “3…”" and drawn.header["rowNames"][3] == "9 “9”"
    assert "Pixel = 3 × 3 tokens: the largest entry by size, with its sign." in drawn.header["notes"]


def test_a_window_into_a_pooled_causal_picture_hatches_what_the_whole_does():
    tokens = [str(at) for at in range(12)]
    pixels, factor = pool_causal(np.tril(np.ones((12, 12))), 4)
    whole = causal_matrix(pixels, tokens, name="weight", signed=False, factor=factor)
    part = causal_matrix(pixels[1:3, 2:], tokens, name="weight", signed=False, factor=factor, corner=(3, 6))
    assert factor == 3 and (part.levels.levels == whole.levels.levels[1:3, 2:]).all()
    assert part.header["rowNames"] == whole.header["rowNames"][1:3]
    assert part.header["columnNames"] == whole.header["columnNames"][2:]
    assert whole.header["notes"] == [
        "Pixel = 3 × 3 tokens: the largest entry by size.",
        "Hatched: a token that comes later.",
    ]


def test_a_causal_picture_of_more_rows_than_tokens_is_refused():
    with pytest.raises(InputError, match="2 rows and 2 columns are named, the values are 3 x 3"):
        causal_matrix(np.ones((3, 3)), ["a", "b"], name="weight", signed=False)
