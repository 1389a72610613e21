"""A figure shows the numbers of its table: each is drawn from a small one and read back from its artists."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

import tokalign_helpers as ta
from tokalign_helpers.course import plots
from tokalign_helpers.reading.vocabulary import KINDS

INTERVALS = pd.DataFrame({"value": [0.5, 0.25], "low": [0.4, np.nan], "high": [0.6, np.nan]})


@pytest.fixture(autouse=True)
def closed():
    """Draw every figure once, so that what fails only then fails here, and close it."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def lines(ax, marker=None):
    """The x and y of the lines with a marker, or of those without."""
    found = [line for line in ax.get_lines() if (line.get_marker() != "None") == bool(marker)]
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in found]


def labels(ax, axis="y"):
    return [label.get_text() for label in getattr(ax, f"get_{axis}ticklabels")()]


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def said(ax):
    return [text.get_text() for text in ax.texts]


def intervals_of(ax):
    """(value, low, high) of the points that were drawn; None where there is no interval."""
    points = [float(x[0]) for x, _ in lines(ax, "o")]
    bars = {y[0]: (float(x[0]), float(x[1])) for x, y in lines(ax) if len(set(x)) == 2 and len(set(y)) == 1}
    return [(point, bars.get(place)) for place, point in enumerate(points)]


def test_the_style_and_the_colours():
    plt.rcParams.update({"figure.facecolor": "black"})
    plots.use_style()
    assert plt.rcParams["figure.facecolor"] == "white"
    assert plots.color_of("smol-eol") == plots.EMBEDDER_COLORS["smol-eol"]
    assert plots.color_of("some other model") == "#000000"


# What red- and green-blind eyes see, on linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
SEEN = np.stack([
    np.eye(3),
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
])  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def difference(one, other, eyes=3):
    """The CIE 1976 difference of two colours, for those of the first so many kinds of eyes that see least of it."""
    both = []
    for color in (one, other):
        rgb = np.array(to_rgb(color))
        rgb = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        ratio = (SEEN @ rgb).clip(0, 1) @ XYZ.T / XYZ.sum(axis=1)
        x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116).T
        both.append(np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)]))
    return np.linalg.norm(both[0] - both[1], axis=0)[:eyes].min()


def test_a_colour_means_one_thing():
    own, kinds = [plots.IN_TEXT, plots.BEGINS_WORD, plots.NEITHER], list(plots.KIND_COLORS.values())
    embedders = list(plots.EMBEDDER_COLORS.values())
    groups = [[*own, *kinds], [plots.FIRST, plots.REST], embedders, [plots.INK]]
    for one, other in itertools.combinations(groups, 2):  # they do not meet in a figure: for usual eyes
        assert min(difference(a, b, eyes=1) for a in one for b in other) > 20
    for group in (embedders, own, [plots.FIRST, plots.REST, plots.GREY]):  # they do meet
        assert min(difference(a, b) for a, b in itertools.combinations(group, 2)) > 15
    assert min(difference(a, b) for a, b in itertools.pairwise(kinds)) > 12  # neighbours in a bar


def test_every_embedder_of_the_course_has_a_colour_of_its_own():
    assert {"smol-distil", "smol-eol-spaced", "smol-eol-open"} <= set(plots.EMBEDDER_COLORS)
    ours = [name for name in ta.embedder_table()["embedder"] if name.startswith("smol-")]
    assert [name for name in ours if name not in plots.EMBEDDER_COLORS] == []


LONG = "A finding that is told in a whole sentence, which is a good deal longer than the axes of the figure are wide"
TOKENS = pd.DataFrame({
    "token": [f"token {i}" for i in range(12)], "score": np.linspace(9, 8, 12), "folded_in_text": True,
    "begins_word": True, "contribution": 0.1,
})  # fmt: skip
RATES = pd.DataFrame({"value": [0.5, 0.25], "low": 0.2, "high": 0.6, "embedder": ["smol-eol", "smol-sim"]})
SWEEP = pd.DataFrame({"amount": [0.0, 1.0], "Hit@K": 0.1, "LAR": 0.1, "GAR": 0.2, "content words": 0.3})
LINE = pd.DataFrame({"texts": ["1", "2"], "recall": [0.1, 0.4]})
CURVE = pd.DataFrame(
    {"way": "cut", "numbers": [72, 144], "GAR": [0.1, 0.2], "frame": "a", "k": [10, 100], "value": 0.1}
)
TIMES = pd.DataFrame({
    "retriever": ["dense", "dense", "recipe", "recipe"] * 2, "n": [10, 1000] * 4, "asked": ["one"] * 4 + ["all"] * 4,
    "value": np.arange(1.0, 9), "low": np.arange(0.5, 8.5), "high": np.arange(1.5, 9.5),
})  # fmt: skip
FIGURES = {
    "aligned_tokens": lambda t: plots.plot_aligned_tokens(TOKENS, t),
    "rates": lambda t: plots.plot_rates(RATES.assign(rate="GAR"), t),
    "kind_shares": lambda t: plots.plot_kind_shares(
        pd.DataFrame([[0.5, 0.3, 0.1, 0.05, 0.05, 0]], columns=KINDS, index=["smol-eol"]), t
    ),
    "recall": lambda t: plots.plot_recall_by_frequency({"smol-eol": LINE}, t),
    "key_shares": lambda t: plots.plot_key_shares(
        {"smol-eol": pd.DataFrame({"text": [0.1, 0.2], "aligned": [0.5, 0.6]})}, t
    ),
    "spectrum": lambda t: plots.plot_spectrum({"smol-eol": np.array([0.6, 0.3])}, t),
    "variation": lambda t: plots.plot_variation({"smol-eol-spaced → smol-distil-long": np.array([-55.0, 2.0])}, t),
    "contribution": lambda t: plots.plot_contribution(
        pd.DataFrame({"token": ["a", "b"], "first": [3.0, -1.0], "rest": [-2.0, 4.0]}), t
    ),
    "sweep": lambda t: plots.plot_sweep({"smol-eol": SWEEP}, t, mark=1),
    "controls": lambda t: plots.plot_controls(INTERVALS.assign(direction=["u_1", "at random"]), t, before=0.1),
    "differences": lambda t: plots.plot_differences(RATES.assign(what=[LONG[:50], "b"]), t, value="difference"),
    "layers": lambda t: plots.plot_layers(RATES.assign(layer=[0, 1], reading="as it is"), t),
    "grid": lambda t: plots.plot_grid(pd.DataFrame([[0.1, 0.2]]), t, xlabel="M", ylabel="K"),
    "interaction": lambda t: plots.plot_interaction(
        RATES.assign(labels="topic", **{"asked for": ["topic", "emotion"]}), t, value="V"
    ),
    "pair_kinds": lambda t: plots.plot_pair_kinds(
        pd.DataFrame({"kind": ["negation"] * 3, "smol-sim": [0.1, 0.2, 0.6]}), t
    ),
    "contributions": lambda t: plots.plot_contributions({"smol-eol-spaced": TOKENS}, t),
    "quality_and_cost": lambda t: plots.plot_quality_and_cost(RATES.assign(retriever="dense", cost=[5.0, 3.0]), t),
    "energy_along_spectrum": lambda t: plots.plot_energy_along_spectrum({"u_1": np.full(4, 0.25)}, t),
    "changes": lambda t: plots.plot_changes(RATES.assign(change=["raw", "centred"], measure="GAR"), t),
    "lengths": lambda t: plots.plot_lengths(CURVE[["way", "numbers", "GAR", "value"]], t),
    "ladder": lambda t: plots.plot_ladder(RATES.assign(step=["plain", LONG[:40]]), t, {"dense": 0.4, "BM25": 0.5}),
    "forest": lambda t: plots.plot_forest(RATES.assign(group="all", row="one", series=["a", "b"]), t, xlabel="x"),
    "inverted_index": lambda t: plots.plot_inverted_index({"par": {"d1": 0.5, "d2": 0.2}}, t),
    "search_times": lambda t: plots.plot_search_times(TIMES, t),
    "cutoffs": lambda t: plots.plot_cutoffs(CURVE, t, limit=0.4, limit_name="all"),
}


def titles_of(figure):
    found = [text for ax in figure.axes for text in (ax.title, ax._left_title)]
    return [text for text in [figure._suptitle, *found] if text is not None and text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_titles_are_no_wider_than_the_axes_and_legends_cover_no_bar(name):
    ax = np.ravel(FIGURES[name](LONG))[0]
    figure = ax.figure
    figure.canvas.draw()
    end = max(ax.get_window_extent().x1 for ax in figure.axes)
    titles = titles_of(figure)
    assert any(" ".join(text.get_text().split()) == LONG for text in titles)
    for text in titles:
        assert text.get_window_extent().x1 <= end + 1
        assert text.get_window_extent().y1 <= figure.bbox.y1 + 1
    for ax in figure.axes:
        legend, bars = ax.get_legend(), [p for p in ax.patches if p.get_width() and p.get_height()]
        if legend and bars and name != "energy_along_spectrum":  # its one patch is the shaded middle
            assert not any(legend.get_window_extent().overlaps(bar.get_window_extent()) for bar in bars)
        if legend:
            assert legend.get_window_extent().y0 >= -1 and legend.get_window_extent().x1 <= figure.bbox.x1 + 1


def test_every_figure_is_looked_at():
    drawn = {name.removeprefix("plot_") for name in vars(plots) if name.startswith("plot_")}
    assert drawn - set(FIGURES) <= {"recall_by_frequency", "states"}


def test_a_title_keeps_its_formula_in_one_line():
    ax = plots.plot_controls(INTERVALS.assign(direction=["a", "b"]), LONG + r" $a + b + c + d + e$ for 3 \$")
    assert "$a + b + c + d + e$" in ax.get_title("left") and r"\$" in ax.get_title("left")
    assert "\n" in ax.get_title("left")


def test_aligned_tokens():
    tokens = pd.DataFrame({
        "token": ["$a$", "b", "c", "d"], "score": [9.0, 7.0, 4.0, 1.0],
        "folded_in_text": [True, False, False, False], "begins_word": [True, True, False, False],
    })  # fmt: skip
    ax = plots.plot_aligned_tokens(tokens, "$ stays a dollar", shown=3)
    assert widths(ax)[:3] == [8, 6, 3]
    assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches[:3]] == [plots.ORANGE, plots.PALE, plots.GREY]
    assert labels(ax) == [r"\$a\$", "b", "c"]
    assert (ax.get_title("left"), ax.get_xlabel()) == (r"\$ stays a dollar", "score above the token of rank 4")
    given = plt.subplots()[1]
    assert plots.plot_aligned_tokens(tokens, "", shown=2, ax=given) is given


def test_rates_with_their_intervals():
    table = pd.concat(INTERVALS.assign(rate=rate, embedder=["smol-eol", "smol-sim"]) for rate in ("LAR", "GAR"))
    axes = plots.plot_rates(table, "")
    assert [ax.get_xlabel() for ax in axes] == ["LAR, share", "GAR, share"]
    for ax in axes:
        assert intervals_of(ax) == [(0.5, (0.4, 0.6)), (0.25, None)]
        assert said(ax) == ["0.50", "0.25"]
    assert labels(axes[0]) == ["smol-eol", "smol-sim"]


def test_differences_are_grey_where_zero_is_inside():
    table = pd.DataFrame({"what": ["a", "b"], "value": [-0.2, 0.1], "low": [-0.3, -0.1], "high": [-0.1, 0.2]})
    ax = plots.plot_differences(table, "", value="difference")
    assert intervals_of(ax) == [(-0.2, (-0.3, -0.1)), (0.1, (-0.1, 0.2))]
    assert [to_hex(line.get_color()).upper() for line in ax.get_lines() if line.get_marker() == "o"] == [
        plots.INK, plots.GREY,
    ]  # fmt: skip
    assert (labels(ax), ax.get_xlabel()) == (["a", "b"], "difference")


def test_layers_have_a_line_for_each_embedder():
    table = pd.DataFrame({"layer": [0, 1] * 4, "value": np.arange(8) / 10, "low": 0.0, "high": 1.0})
    table["embedder"] = np.repeat(["smol-eol", "smol-sim"] * 2, 2)
    table["reading"] = np.repeat(["as it is", "less the mean"], 4)
    left, right = plots.plot_layers(table, "")
    assert [list(y) for _, y in lines(left)] == [[0, 0.1], [0.2, 0.3]]
    assert [list(y) for _, y in lines(right)] == [[0.4, 0.5], [0.6, 0.7]]
    assert right.get_title("left") == "embedding less the mean" or right.get_title() == "embedding less the mean"


def test_kinds_are_stacked_to_one():
    shares = pd.DataFrame([[0.5, 0.3, 0.1, 0.05, 0.05, 0]], columns=KINDS, index=["smol-eol"])
    ax = plots.plot_kind_shares(shares, "")
    assert widths(ax) == pytest.approx([0.5, 0.3, 0.1, 0.05, 0.05, 0])
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 0.5, 0.8, 0.9, 0.95, 1])
    assert said(ax) == ["50", "30", "10"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(KINDS)


def test_lines_of_the_spectrum_and_of_the_recall():
    ax = plots.plot_spectrum({"smol-eol": np.array([0.6, 0.3, 0.1])}, "", shown=2)
    ((x, y),) = lines(ax, "o")
    assert (list(x), list(y), ax.get_ylim()) == ([1, 2], [0.6, 0.3], (0, 1))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["smol-eol: 60% in the first"]
    table = pd.DataFrame({"texts": ["1", "2–3"], "recall": [0.1, 0.4]})
    ax = plots.plot_recall_by_frequency({"smol-eol": table, "smol-sim": table}, "")
    assert [list(y) for _, y in lines(ax, "o")] == [[0.1, 0.4]] * 2
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 > ax.get_window_extent().x1  # where no line is
    assert labels(ax, "x") == ["1", "2–3"]


def test_the_variation_marks_the_first_component():
    (ax,) = plots.plot_variation({"f → g": np.array([-55.0, 2.0, 1.0])}, "", shown=2)
    assert [bar.get_height() for bar in ax.patches] == [-55, 2]
    assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == [plots.FIRST, plots.GREY]
    assert (ax.get_title() or ax.get_title(loc="left")) == "f → g\n$v_1$ = −55.0"


def test_both_parts_of_the_contribution():
    parts = pd.DataFrame({"token": [" the", " parrot"], "first": [3.0, -1.0], "rest": [-2.0, 4.0]})
    ax = plots.plot_contribution(parts, "")
    assert widths(ax) == [3, -1, -2, 4]
    assert labels(ax) == [" the", " parrot"]


def test_a_sweep_has_a_star_at_the_mark_nearest():
    table = pd.DataFrame({"amount": [0.0, 0.9, 2.0], "Hit@K": [0.1, 0.5, 0.2], "LAR": 0.1, "GAR": 0.2})
    table["content words"] = [0.0, 0.3, 0.1]
    axes = plots.plot_sweep({"smol-eol": table, "random": table * 0.5}, "", mark=1)
    assert [ax.get_ylabel().split(",")[0] for ax in axes] == ["Hit@K", "LAR", "GAR", "content words"]
    stars = [(x, y) for x, y in lines(axes[0], "*") if np.size(x)]  # an empty one is for the legend
    assert [(list(np.atleast_1d(x)), list(np.atleast_1d(y))) for x, y in stars] == [([0.9], [0.5])]
    assert list(lines(axes[3])[0][1]) == [0.0, 0.3, 0.1]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["smol-eol", "λ = 1", "no shift"]
    assert plots.plot_sweep({"random": table}, "")[0].get_legend() is None


def test_controls_and_the_ladder():
    table = INTERVALS.assign(direction=["u_1", "random"])
    ax = plots.plot_controls(table, "", value="GAR")
    assert (intervals_of(ax), labels(ax)) == ([(0.5, (0.4, 0.6)), (0.25, None)], ["$u_{1}$", "random"])
    assert ax.get_legend() is None
    assert [0.05, 0.05] in [list(x) for x, _ in lines(plots.plot_controls(table, "", before=0.05))]
    assert said(ax) == ["0.500", "0.250"]
    steps = INTERVALS.assign(step=["plain", "centred"], low=[0.4, 0.2], high=[0.6, 0.3])
    ax = plots.plot_ladder(steps, "", {"dense": 0.45})
    assert [point for point, _ in intervals_of(ax)][:2] == [0.5, 0.25]
    assert intervals_of(ax)[1] == (0.25, (0.2, 0.3))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["dense: 0.450"]
    assert [0.45, 0.45] in [list(x) for x, _ in lines(ax)]


def test_the_states_of_each_pair_stand_on_the_line_of_their_measure():
    values = {"raw": 0.1, "adjusted": 0.3, "without u_1": 0.9, "trained": 0.4}
    rows = [(f, g, measure, state, value) for f, g in (("smol-eol", "smol-sim"), ("smol-wmean", "smol-cse"))
            for measure in ("GAR", "search") for state, value in values.items()]  # fmt: skip
    axes = plots.plot_states(pd.DataFrame(rows, columns=["raw", "trained", "measure", "state", "value"]), "How much?")
    titles = [ax.get_title("left") or ax.get_title() for ax in axes]
    assert titles == ["smol-eol → smol-sim", "smol-wmean → smol-cse"]
    assert len({ax.get_xlim() for ax in axes}) == 1
    assert labels(axes[0]) == ["GAR", "search"]
    drawn = {c.get_label(): np.asarray(c.get_offsets()).tolist() for c in axes[1].collections}
    for name, value in values.items():
        assert drawn[name.replace("u_1", "$u_1$")] == [[value, 0], [value, 1]]


def test_the_best_cell_of_a_grid_is_framed():
    table = pd.DataFrame([[0.1, 0.2], [0.4, 0.3]], index=[100, 300], columns=[0, 30])
    ax = plots.plot_grid(table, "", xlabel="M", ylabel="K")
    assert said(ax) == ["0.100", "0.200", "0.400", "0.300"]
    assert {frame.get_xy() for frame in ax.patches} == {(0, 1)}
    assert (labels(ax, "x"), labels(ax), ax.get_ylabel()) == (["0", "30"], ["100", "300"], "K")


def test_the_interaction_marks_what_was_asked_for():
    table = pd.concat(INTERVALS.fillna(0.25).assign(labels=what) for what in ("topic", "emotion"))
    axes = plots.plot_interaction(table.assign(**{"asked for": ["topic", "emotion"] * 2}), "", value="V")
    assert [ax.get_xlabel() for ax in axes] == ["V: topic", "V: emotion"]
    for asked, ax in enumerate(axes):
        assert [point for point, _ in intervals_of(ax)] == [0.5, 0.25]
        points = [line.get_color() for line in ax.get_lines() if line.get_marker() == "o"]
        assert points == [plots.INK if place == asked else plots.GREY for place in range(2)]


def test_kinds_of_pairs_have_their_medians():
    table = pd.DataFrame({"kind": ["negation"] * 3 + ["unrelated"] * 3, "smol-sim": [0.1, 0.2, 0.6, 0.0, 0.3, 0.4]})
    (ax,) = plots.plot_pair_kinds(table, "")
    medians = max((c for c in ax.collections if hasattr(c, "get_segments")), key=lambda c: len(c.get_segments()))
    assert [segment[0][0] for segment in medians.get_segments()] == pytest.approx([0.2, 0.3])
    assert (labels(ax), ax.get_title() or ax.get_title("left")) == (["negation", "unrelated"], "smol-sim")


def test_contributions_and_their_sum():
    table = pd.DataFrame({"token": ["a", "b", "c"], "contribution": [0.2, 0.1, 0.05]})
    (ax,) = plots.plot_contributions({"smol-sim": table}, "", shown=2)
    assert widths(ax) == pytest.approx([200, 100])
    assert (ax.get_title() or ax.get_title("left")) == "smol-sim: 0.35 in all"


def test_differences_have_a_panel_for_each_group_and_a_colour_for_each_series():
    keys = [(g, r, s) for g in ("SciFact", "Cranfield") for r in ("one", "two", "three") for s in ("a", "b")]
    table = pd.DataFrame(keys, columns=["group", "row", "series"]).assign(value=0.1, low=-0.1, high=0.3)
    panels = plots.plot_forest(table, "T", xlabel="x")
    assert [ax.get_title(loc="left") for ax in panels] == ["SciFact", "Cranfield"]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["one", "two", "three"]
    dots = [line for line in panels[0].lines if line.get_marker() in "os"]
    assert len(dots) == 6 and len({line.get_color() for line in dots}) == 2
    assert len({float(line.get_ydata()[0]) for line in dots}) == 6


def test_cutoffs_reach_their_limit():
    table = pd.DataFrame({"frame": ["a", "a", "b"], "k": [10, 100, 10], "value": [0.1, 0.2, 0.3]})
    ax = plots.plot_cutoffs(table, "T", limit=0.4, limit_name="all")
    assert [line.get_label() for line in ax.lines] == ["a", "b", "all"]
    assert ax.get_xscale() == "log"


def test_times_have_a_panel_for_each_way_to_ask_and_a_line_for_each_retriever():
    panels = plots.plot_search_times(TIMES, "T")
    assert [ax.get_title() or ax.get_title("left") for ax in panels] == ["queries one", "queries all"]
    drawn = [[(line.get_label(), *line.get_xydata().ravel().tolist()) for line in ax.lines] for ax in panels]
    assert drawn[0] == [("dense", 10, 1, 1000, 2), ("recipe", 10, 3, 1000, 4)]
    assert drawn[1] == [("dense", 10, 5, 1000, 6), ("recipe", 10, 7, 1000, 8)]
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in panels[0].lines}) == 2
    assert {(ax.get_xscale(), ax.get_yscale()) for ax in panels} == {("log", "log")}
    spread = panels[0].collections[0].get_paths()[0].vertices
    assert (spread[:, 1].min(), spread[:, 1].max()) == (0.5, 2.5)
    assert [text.get_text() for text in panels[0].figure.legends[0].get_texts()] == ["dense", "recipe"]


def test_quality_against_cost():
    table = INTERVALS.fillna(0.25).assign(retriever=["dense", "sparse"], cost=[576.0, 3.0])
    ax = plots.plot_quality_and_cost(table, "")
    assert [(float(x[0]), float(y[0])) for x, y in lines(ax, "o")] == [(576, 0.5), (3, 0.25)]
    assert (said(ax), ax.get_xscale()) == (["dense", "sparse"], "log")
    low, high = lines(ax)[0][1]
    assert (low, high) == (0.4, 0.6)


def test_energy_is_added_up():
    ax = plots.plot_energy_along_spectrum({"u_1": np.array([0.5, 0.25, 0.25, 0.0])}, "", kept=0.5)
    x, y = lines(ax)[-1]
    assert (list(x), list(y)) == ([0, 1, 2, 3, 4], [0, 0.5, 0.75, 1, 1])
    (shade,) = ax.patches
    assert (shade.get_x(), shade.get_width()) == (1, 2)


def test_changes_mark_the_best():
    table = INTERVALS.fillna(0.25).assign(change=["raw", "centred"], measure="GAR")
    (ax,) = plots.plot_changes(table, "")
    assert [point for point, _ in intervals_of(ax)] == [0.5, 0.25]
    assert [line.get_color() for line in ax.get_lines() if line.get_marker() == "o"] == [plots.INK, plots.GREY]
    assert labels(ax) == ["raw", "centred"]


def test_lengths():
    table = pd.DataFrame({"way": ["filter"] * 2, "numbers": [144, 72], "nDCG@10": [0.4, 0.3], "GAR": [0.2, 0.1]})
    axes = plots.plot_lengths(table, "")
    ((x, y),) = lines(axes[1], "o")
    assert (list(x), list(y), labels(axes[0], "x")) == ([144, 72], [0.2, 0.1], ["72", "144"])


def test_tokens_in_html():
    tokens = pd.DataFrame({
        "token": ["<b>", "par", "c"], "score": [3.0, 2.0, 1.0], "folded_in_text": [True, False, False],
        "begins_word": [True, True, False],
    })  # fmt: skip
    bars = plots.token_bars(tokens)
    assert "<b><u>&lt;b&gt;</u></b>" in bars and "<i>par</i>" in bars and ">c</td>" in bars
    assert bars.index(plots.ORANGE) < bars.index(plots.PALE) < bars.index(plots.GREY)
    table = plots.token_table({"smol-eol": tokens, "<x>": tokens}).data
    assert "<b><u>&lt;b&gt;</u></b>" in table and ">par</td>" in table
    assert "smol-eol" in table and "&lt;x&gt;" in table and "<x>" not in table
    assert plots.highlighted_text([("a<", True), ("b", False)]).count("<mark") == 1
    plain = plots.text_table(pd.DataFrame({"claim": ["a < b"], "n": [3]})).data
    assert "a &lt; b" in plain and ">3</td>" in plain and "text-align:left" in plain and "<style" not in plain


def test_html_has_a_key_and_no_style_that_a_viewer_strips():
    tokens = pd.DataFrame({"token": ["a"], "score": [3.0], "folded_in_text": [True], "begins_word": [True]})
    for text in (
        plots.token_bars(tokens), plots.token_table({"f": tokens}).data, plots.highlighted_text([("a", True)]),
    ):  # fmt: skip
        assert "<style" not in text and "class=" not in text
        assert text.count("<small>") == 1
    for text in (plots.token_bars(tokens), plots.token_table({"f": tokens}).data):
        assert "bold and underlined" in text.lower()


def test_an_inverted_index_shows_every_token_with_its_documents():
    lists = {"par$rot": {"d1": 0.5, "d2": 0.25}, "sea": {"d2": 0.125}}
    ax = plots.plot_inverted_index(lists, "Lists", marked="d2")
    shown = {(text.get_text(), round(text.get_position()[1])) for text in ax.texts if text.get_text()}
    assert shown == {(r"par\$rot", 0), ("d1  0.500", 0), ("d2  0.250", 0), ("sea", 1), ("d2  0.125", 1)}
    boxes = {
        text.get_text(): to_hex(text.get_bbox_patch().get_edgecolor()).upper()
        for text in ax.texts[2:]
        if text.get_bbox_patch()
    }
    assert boxes["d2  0.250"] == boxes["d2  0.125"] == plots.INK != boxes["d1  0.500"]
    assert not plots.plot_inverted_index({}, "Nothing").texts
