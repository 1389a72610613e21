"""Intervals, judged against plain loops, and by how often they hold a truth that is known."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import v_measure_score

import tokalign_helpers as ta
from tokalign_helpers.basics.statistics import Interval, bootstrap, jackknife_interval
from tokalign_helpers.reading.alignment import Alignment
from tokalign_helpers.reading.clusters import _without_each


def test_the_interval_of_a_mean():
    values = np.random.default_rng(1).normal(3, 1, 400)
    found = ta.bootstrap_interval(values)
    assert found == ta.bootstrap_interval(values)
    assert found.estimate == pytest.approx(values.mean())
    assert found.low < found.estimate < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_the_bootstrap_is_scipys():
    values = np.random.default_rng(2).exponential(size=37)
    drawn = stats.bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(4))
    found = ta.bootstrap_interval(values, seed=4)
    assert (found.low, found.high) == pytest.approx(tuple(drawn.confidence_interval), abs=1e-12)


@pytest.mark.parametrize("values", [[], None, [1.0, float("nan")], [1.0, float("inf")] * 20, [[1.0, 2.0]]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="at least one number, all of them finite"):
        ta.bootstrap_interval(values)


def test_yes_and_no_are_not_resampled():
    with pytest.raises(ValueError, match="share_interval"):
        ta.bootstrap_interval(np.ones(30, dtype=bool))


@pytest.mark.parametrize("values", [[0.5], list(range(19)), [0.1 + 0.2] * 15 + [0.3] * 15])
def test_too_few_or_equal_values_have_a_mean_and_no_interval(values):
    found = ta.bootstrap_interval(values)
    assert found.estimate == pytest.approx(np.mean(values))
    assert np.isnan([found.low, found.high]).all()
    assert str(found) == f"{np.mean(values):.3f} [no interval]"


def test_a_statistic_that_most_resamples_lack_has_no_interval():
    assert np.isnan(bootstrap(lambda rows: np.where(rows[:, 0] < 5, rows[:, 1], np.nan), 50)).all()
    few = bootstrap(lambda rows: np.where((rows[:, :2] == 0).all(axis=1), np.nan, rows.mean(axis=1)), 50)
    assert few[0] < few[1]


def test_a_share_has_an_interval_at_its_ends():
    assert tuple(ta.share_interval([True] * 10)) == pytest.approx((1, 0.6915, 1), abs=1e-4)
    assert tuple(ta.share_interval([0.0])) == pytest.approx((0, 0, 0.975))
    assert tuple(ta.share_interval([1, 0, 0, 0])) == pytest.approx((0.25, 0.0063, 0.8059), abs=1e-4)
    for wrong in ([], [0.5, 1], [float("nan")]):
        with pytest.raises(ValueError, match="all yes or no"):
            ta.share_interval(wrong)


def test_an_interval_is_written_in_one_format():
    found = ta.Interval(0.10949, 0.0985, float("nan"))
    assert f"{ta.Interval(0.1094, 0.0981, 0.1183):+.3f}" == "+0.109 [+0.098, +0.118]"
    assert f"{ta.Interval(0.1094, 0.0981, 0.1183):.1%}" == "10.9% [9.8%, 11.8%]"
    assert str(found._replace(low=float("nan"))) == "0.109 [no interval]"


def test_a_share_of_all_texts_is_not_certain():
    aligned, literal = np.arange(10), [{0}] * 30

    table = Alignment(torch.tensor(aligned).expand(30, 10), literal).rates().set_index("rate")
    assert table.loc["Hit@K", ["value", "low", "high"]].tolist() == pytest.approx([1, 0.8843, 1], abs=1e-4)
    assert table.loc[["LAR", "GAR"], ["low", "high"]].isna().all(axis=None)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(2).normal(size=50)
    found = jackknife_interval(values.mean(), (values.sum() - values) / 49)
    assert found.high - found.estimate == pytest.approx(1.959964 * values.std(ddof=1) / 50**0.5)


def test_the_jackknife_keeps_to_what_the_statistic_can_be():
    values = np.r_[np.ones(29), 0.0]
    found = jackknife_interval(values.mean(), (values.sum() - values) / 29, bounds=(0, 1))
    assert found.low < found.estimate < found.high == 1
    for few in (values[-19:], np.ones(30)):
        found = jackknife_interval(0.9, few)
        assert str(found) == "0.900 [no interval]"


def test_rank_correlation_is_spearman_with_ties():
    x, y = [1, 2, 2, 4, 5, 6, 6], [3, 1, 2, 2, 5, 9, 7]
    assert ta.rank_correlation(x, y).estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    with pytest.raises(ValueError, match="constant"):
        ta.rank_correlation([1, 1, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="constant"):
        ta.rank_correlation([1, 2, 3], [np.inf] * 3)
    with pytest.raises(ValueError, match="got 2 and 3"):
        ta.rank_correlation([1, 2], [1, 2, 3])
    for odd, said in ((np.eye(4), r"the shape \(4, 4\) and the shape \(4, 4\)"), (None, r"the shape \(\) and")):
        with pytest.raises(ValueError, match=f"got {said}"):
            ta.rank_correlation(odd, odd)
    with pytest.raises(ValueError, match="is NaN"):
        ta.rank_correlation([1, np.nan, 2], [1, 2, 3])


def test_the_interval_of_a_rank_correlation_is_that_of_resampling_pairs_one_draw_at_a_time():
    rng = np.random.default_rng(3)
    x = rng.integers(6, size=40).astype(float)
    y = x + rng.integers(9, size=40)
    rows = np.random.default_rng(5).integers(40, size=(2000, 40))
    drawn = [stats.spearmanr(x[row], y[row]).statistic for row in rows]
    found = ta.rank_correlation(x, y, seed=5)
    assert [found.low, found.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-12)


def test_the_difference_of_two_rank_correlations():
    rng = np.random.default_rng(0)
    rated = rng.normal(size=80)
    good, bad = rated + 0.3 * rng.normal(size=80), rng.normal(size=80)
    found = ta.rank_correlation_difference(good, bad, rated)
    expected = stats.spearmanr(good, rated).statistic - stats.spearmanr(bad, rated).statistic
    assert found.estimate == pytest.approx(expected)
    assert 0 < found.low < found.estimate < found.high


def test_a_difference_of_shares_is_bonett_and_prices_and_four_against_none_are_not_clear():
    found = ta.share_difference_interval([1] * 10 + [0] * 10, [0] * 8 + [1] * 4 + [0] * 8)
    more, less = 9 / 22, 3 / 22
    half = 1.959964 * ((more + less - (more - less) ** 2) / 22) ** 0.5
    assert list(found) == pytest.approx([6 / 20, more - less - half, more - less + half], abs=1e-6)
    few = ta.share_difference_interval([True] * 4 + [False] * 36, [False] * 40)
    assert (few.estimate, ta.bootstrap_interval([1.0] * 4 + [0.0] * 36).low > 0 > few.low) == (0.1, True)
    for first, second in (([], []), ([1], [1, 0]), ([0.5], [1]), ([np.nan], [1])):
        with pytest.raises(ValueError, match="as many answers each"):
            ta.share_difference_interval(first, second)


def test_pairs_that_share_a_member_are_counted_together():
    rng = np.random.default_rng(4)
    x, y = rng.integers(9, size=(2, 30)).astype(float)  # with ties
    members = np.array([[f"a{i}", f"b{i}"] for i in range(30)])
    apart = ta.rank_correlation(x, y, members=members)
    without = [stats.spearmanr(np.delete(x, i), np.delete(y, i)).statistic for i in range(30)]
    error = (29 / 30 * ((without - np.mean(without)) ** 2).sum()) ** 0.5
    assert list(apart) == pytest.approx([*(apart.estimate + 1.959964 * error * np.array([0, -1, 1]))], abs=1e-6)
    twice = [np.r_[side, side] for side in (x, y)]
    same = ta.rank_correlation(*twice, members=np.r_[members, members])  # each pair stands there twice
    assert same.high - same.low == pytest.approx(
        2**0.5 * np.ptp(ta.rank_correlation(*twice, members=rng.random((60, 2)))[1:])
    )
    shared = ta.rank_correlation_difference(x, -x, y, members=members)
    assert shared.low < shared.estimate < shared.high
    with pytest.raises(ValueError, match=r"two for each of the 30 pairs; got the shape \(30,\)"):
        ta.rank_correlation(x, y, members=members[:, 0])
    assert str(ta.rank_correlation(x[:10], y[:10], members=members[:10])).endswith("[no interval]")


def test_the_same_order_says_nothing_of_other_pairs():
    x = np.random.default_rng(1).normal(size=30)
    assert str(ta.rank_correlation(x, x**3)) == "1.000 [no interval]"
    assert str(ta.rank_correlation_difference(x, x**3, np.sin(x))) == "0.000 [no interval]"


# --- how often does an interval hold the truth? ---------------------------------------------------------------------


def covered(interval, truth, times=400):
    """How often the interval of a fresh sample holds the truth."""
    rng = np.random.default_rng(11)
    found = [interval(rng) for _ in range(times)]
    return np.mean([i.low <= truth <= i.high for i in found])


@pytest.mark.parametrize("n", [1, 10, 100])
def test_a_share_is_held_in_95_of_100_samples_whatever_it_is(n):
    found = [ta.share_interval([1] * yes + [0] * (n - yes)) for yes in range(n + 1)]
    low, high = np.array([i.low for i in found]), np.array([i.high for i in found])
    for rate in np.r_[0.001, 0.02, np.linspace(0.05, 0.95, 19), 0.98, 0.999]:
        chance = stats.binom.pmf(np.arange(n + 1), n, rate)
        assert chance[(low <= rate) & (rate <= high)].sum() >= 0.95


@pytest.mark.parametrize(("n", "rates"), [(20, (0.05, 0.1, 0.3)), (40, (0.02, 0.05, 0.2)), (100, (0.02, 0.1, 0.3))])
def test_differences_of_shares_are_held_as_often_as_is_said(n, rates):
    for more in rates:
        for less in rates:
            held = 0.0
            for a in range(n + 1):
                for b in range(n + 1 - a):
                    chance = stats.multinomial.pmf([a, b, n - a - b], n, [more, less, 1 - more - less])
                    if chance > 1e-7:
                        i = ta.share_difference_interval([1] * a + [0] * (n - a), [0] * a + [1] * b + [0] * (n - a - b))
                        held += chance * (i.low <= more - less <= i.high)
            assert held >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 100])
def test_hits_at_a_rate_of_098(n):
    assert covered(lambda rng: ta.share_interval(rng.random(n) < 0.98), 0.98, times=800) >= 0.95 - 0.015


ZEROS_AND_RANKS = np.array([0, 0, 0, 0, 0, 0, 1, 1 / np.log2(3), 1 / 2, 1 / np.log2(5), 1 / np.log2(7)])
SAMPLES = {
    "normal": (lambda rng, n: rng.normal(size=n), 0),
    "skewed": (lambda rng, n: rng.exponential(size=n), 1),
    "nDCG": (lambda rng, n: rng.choice(ZEROS_AND_RANKS, size=n), ZEROS_AND_RANKS.mean()),
    "difference": (lambda rng, n: rng.choice(ZEROS_AND_RANKS, size=n) - rng.choice(ZEROS_AND_RANKS, size=n), 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize(("n", "least"), [(20, 0.90), (100, 0.93)])
def test_means_are_held_as_often_as_is_said(kind, n, least):
    draw, truth = SAMPLES[kind]
    assert least - 0.025 <= covered(lambda rng: ta.bootstrap_interval(draw(rng, n)), truth) <= 0.98


def correlated(rng, n, *strengths):
    """Ratings, and for each strength scores whose correlation with them is so strong."""
    rated = rng.normal(size=n)
    return [r * rated + (1 - r * r) ** 0.5 * rng.normal(size=n) for r in strengths], rated


def spearman(r):
    return 6 / np.pi * np.arcsin(r / 2)


@pytest.mark.slow
@pytest.mark.parametrize("r", [0.4, 0.8])
def test_rank_correlations_are_held_as_often_as_is_said(r):
    def one(rng):
        (scores,), rated = correlated(rng, 50, r)
        return ta.rank_correlation(scores, rated)

    assert 0.93 - 0.025 <= covered(one, spearman(r), times=300) <= 0.99


@pytest.mark.slow
def test_differences_of_rank_correlations_are_held_as_often_as_is_said():
    def one(rng):
        (good, bad), rated = correlated(rng, 50, 0.8, 0.4)
        return ta.rank_correlation_difference(good, bad, rated)

    assert 0.93 - 0.025 <= covered(one, spearman(0.8) - spearman(0.4), times=300) <= 0.99


@pytest.mark.slow
def test_pairs_of_words_that_share_words_are_held_as_often_as_is_said():
    """Words bring something of their own into the scores of all their pairs, but not into the ratings."""

    def one(rng, told):
        words = rng.integers(60, size=(100, 2))
        words = words[words[:, 0] != words[:, 1]]
        rated, own = rng.normal(size=len(words)), rng.normal(size=(60, 2))
        shift = own[words].sum(axis=1)
        rated = rated + shift[:, 1]
        good = rated + shift[:, 0]
        return ta.rank_correlation(good, rated, members=words if told else None)

    truth = spearman(0.774597)  # of variances 3 and 5, covariance 3
    assert covered(lambda rng: one(rng, told=False), truth, times=150) < 0.9
    assert covered(lambda rng: one(rng, told=True), truth, times=150) >= 0.88


def drawn_rates(rng, n):
    """GAR of n texts of twelve tokens each: frequent tokens are met more often, and given back more often."""

    chance = 1 / np.arange(1, 1001)
    tokens = rng.choice(1000, size=(n, 12), p=chance / chance.sum())
    given = np.where(rng.random((n, 12)) < 0.1 + 0.3 * chance[tokens], tokens, 1000 + np.arange(12))
    literal = [set(row.tolist()) for row in tokens]
    return Alignment(torch.from_numpy(given), literal).rates().iloc[2]


@pytest.mark.slow
def test_a_ratio_of_unions_is_held_as_often_as_is_said():
    rng = np.random.default_rng(5)
    truth = np.mean([drawn_rates(rng, 60)["value"] for _ in range(400)])
    assert covered(lambda rng: Interval(*drawn_rates(rng, 60)[["value", "low", "high"]]), truth, times=300) >= 0.925


@pytest.mark.slow
def test_the_agreement_of_groups_is_held_as_often_as_is_said():
    def draw(rng):
        truth = rng.integers(3, size=100)
        return truth, np.where(rng.random(100) < 0.6, truth, rng.integers(3, size=100))

    def one(rng):
        pair = draw(rng)
        return jackknife_interval(v_measure_score(*pair), _without_each(v_measure_score, *pair))

    rng = np.random.default_rng(5)
    mean = np.mean([v_measure_score(*draw(rng)) for _ in range(500)])
    assert covered(one, mean, times=200) >= 0.92 - 0.03


def test_a_higher_level_gives_a_wider_interval_around_the_same_mean():
    values = np.random.default_rng(3).normal(size=200)
    usual, wide = ta.bootstrap_interval(values), ta.bootstrap_interval(values, level=0.99)
    assert usual.estimate == wide.estimate
    assert 1.15 < (wide.high - wide.low) / (usual.high - usual.low) < 1.5  # 2.576 / 1.960 = 1.31
    assert ta.bootstrap_interval(values, level=0.95) == usual
    for level in (0, 1, 95, float("nan")):
        with pytest.raises(ValueError, match="the level is .*; it must be between 0 and 1"):
            ta.bootstrap_interval(values, level=level)
