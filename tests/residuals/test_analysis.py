"""The verdicts: simulated faults are named and mended, clean data are left in peace, bad input is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from resnets import InputError, residual_analysis
from resnets.residuals import ASSUMPTIONS
from resnets.residuals.analysis import _removed
from resnets.residuals.judging import LEVELS, SIZES, Judged


def fit(y, *columns):
    design = np.column_stack([np.ones(len(y)), *columns])
    return design @ np.linalg.lstsq(design, y, rcond=None)[0]


def faults(found):
    return [finding.fault for finding in found.findings]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_the_levels_are_a_family():
    assert set(LEVELS) == set(ASSUMPTIONS) and sum(LEVELS.values()) == pytest.approx(0.05)


@pytest.mark.parametrize("unit", [1e-40, 1e40])
def test_the_unit_of_the_target_changes_no_p_value(rng, unit):
    x = rng.normal(size=80)
    y = x + rng.normal(size=80)
    there, here = (residual_analysis(y * k, fit(y, x) * k, predictors={"x": x}) for k in (unit, 1))
    assert [found.p_value for found in there.assumptions] == pytest.approx(
        [found.p_value for found in here.assumptions]
    )


def test_with_many_cases_a_p_value_alone_condemns_nothing(rng):
    x = rng.normal(size=30_000)
    y = x + 0.04 * x**2 + rng.normal(size=30_000)
    found = residual_analysis(y, fit(y, x), predictors={"x": x})
    assert found.findings == ()
    curved = found.assumptions[ASSUMPTIONS.index("linearity")]
    assert curved.p_value < 1e-6 and curved.size == "none" and curved.verdict.startswith("Detectable, but too small")


def test_consequences_are_told_apart(rng):
    x = rng.normal(size=300)
    y = x + 1.5 * x**2 + rng.normal(size=300)
    found = residual_analysis(y, fit(y, x), predictors={"x": x})
    assert faults(found) == ["nonlinearity"] and found.findings[0].remedy.details["terms"] == ["the square of x"]
    spread = found.assumptions[ASSUMPTIONS.index("equal-variance")]
    # Seen, significant, and still no finding: it went with the square.
    assert spread.p_value < LEVELS["equal-variance"] and spread.fault == "" and spread.consequence_of == "nonlinearity"
    assert "A consequence of nonlinearity" in spread.verdict
    assert not any("heteroscedasticity" in note for note in found.notes)  # once is enough
    document = found.to_dict()["assumptions"][ASSUMPTIONS.index("equal-variance")]
    assert (document["fault"], document["consequence_of"]) == ("", "nonlinearity")


def test_time_makes_the_trend_look_bent_and_a_bend_makes_time_matter(rng):
    time = np.linspace(0, 3, 200)
    errors = np.zeros(200)
    for i in range(1, 200):
        errors[i] = 0.8 * errors[i - 1] + rng.normal()
    for y, fault in (
        (2 * time + errors, "autocorrelation"),
        (time**2 * 2 + 0.5 * rng.normal(size=200), "nonlinearity"),
    ):
        mixed = rng.permutation(200)
        found = residual_analysis(y[mixed], fit(y, time)[mixed], predictors={"t": time[mixed]}, order=time[mixed])
        assert faults(found) == [fault] and found.findings[0].remedy.removed


def test_a_missing_column_is_named_among_many(rng):
    columns = {f"u{i}": rng.normal(size=200) for i in range(30)}
    x = rng.normal(size=200)
    y = x + columns["u17"] + rng.normal(size=200)
    found = residual_analysis(y, fit(y, x), predictors={"x": x}, unused=columns)
    assert faults(found) == ["missing predictor"] and found.findings[0].also == ("u17",)
    share = 1 - ((y - fit(y, x, columns["u17"])) ** 2).sum() / ((y - fit(y, x)) ** 2).sum()
    assert found.findings[0].effect == pytest.approx(share)


def test_outliers_do_not_hide_each_other_and_are_named_in_order(rng):
    x, errors = rng.normal(size=100), rng.normal(size=100)
    errors[[3, 40, 41, 90]] = [9, -14, 8, 11]
    y = 2 * x + errors
    found = residual_analysis(y, fit(y, x), names=[f"row {i}" for i in range(100)])
    assert faults(found) == ["outliers"]
    assert found.findings[0].also == ("row 40", "row 90", "row 3", "row 41")
    assert found.findings[0].remedy.removed and found.findings[0].remedy.details["moved"] > 0


def test_heavy_tails_are_described_and_not_called_outliers(rng):
    x = rng.normal(size=2000)
    y = x + rng.standard_t(3, size=2000)
    found = residual_analysis(y, fit(y, x), predictors={"x": x})
    assert faults(found) == ["heavy tails"]
    remedy = found.findings[0].remedy
    assert remedy.name == "student-t" and 2 <= remedy.details["degrees_of_freedom"] <= 4
    assert "stay heavy-tailed" in remedy.words


def test_a_target_on_the_wrong_scale_is_transformed(rng):
    x = rng.normal(size=(500, 2))
    y = np.exp(0.6 * x[:, 0] + 0.3 * x[:, 1] + 0.4 * rng.normal(size=500))
    found = residual_analysis(y, fit(y, x), predictors={"a": x[:, 0], "b": x[:, 1]})
    assert faults(found) == ["nonlinearity"]
    assert found.findings[0].remedy.name == "box-cox" and found.findings[0].remedy.details["lambda"] == 0.0


def test_a_remedy_that_fails_says_so(rng):
    x = rng.normal(size=1000)
    y = x + rng.exponential(size=1000)  # a straight line with skewed errors: no transformation of y mends that
    found = residual_analysis(y, fit(y, x), predictors={"x": x})
    assert found.findings[0].fault == "skewness"
    assert not found.findings[0].remedy.removed and found.findings[0].remedy.words.startswith("Tried without success")


def test_a_fit_that_is_not_linear_in_its_predictors_is_examined_by_its_fitted_values(rng):
    x = rng.uniform(0, 3, size=400)
    y = np.sin(x) + 0.2 * rng.normal(size=400)
    good = residual_analysis(y, np.sin(x), predictors={"x": x})
    assert good.findings == () and good.leverage is None and any("no linear function" in note for note in good.notes)
    saturated = residual_analysis(np.minimum(y, 0.6), np.sin(x), predictors={"x": x})
    assert saturated.findings[0].assumption == "linearity"


def test_the_document_is_json(rng):
    y = rng.normal(size=50)
    found = residual_analysis(y, np.zeros(50), order=np.arange(50))
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [item["assumption"] for item in document["assumptions"]] == list(ASSUMPTIONS)
    assert document["n"] == 50 and document["findings"] == []
    assert np.array_equal(found.residuals, y)


def test_wrong_coefficients_are_found_and_least_squares_never_accused(rng):
    x = rng.normal(size=(300, 2))
    y = 3 * x[:, 0] + 3 * x[:, 1] + rng.normal(size=300)
    columns = {"x1": x[:, 0], "x2": x[:, 1]}
    mean = 3 * x.sum(1)
    for fitted, words in (
        (3 * x[:, 1], "still follow x1 (+"),
        (3 * x[:, 1] - 3 * x[:, 0], "still follow x1 (+"),
        (2 * mean, "too far from each other"),
        (-mean, "do not rise with"),
        (0.8 * mean, "not far enough from each other"),
        (mean - 2, f"off by {(y - mean + 2).mean():+.4g} on average"),
    ):
        found = residual_analysis(y, fitted, predictors=columns)
        assert faults(found) == ["miscalibrated fit"] and words in found.findings[0].verdict
        finding = found.findings[0]
        rest = y - fit(y, x)
        assert finding.effect == pytest.approx(1 - (rest @ rest) / ((y - fitted) @ (y - fitted)))
        assert found.assumptions[ASSUMPTIONS.index("linearity")] == finding and finding.remedy.removed
    assert faults(residual_analysis(y, 0.8 * mean)) == ["miscalibrated fit"]  # without the predictors as well
    for noise in (rng.normal(size=300), rng.standard_cauchy(size=300), 20 * x[:, 0] ** 2):
        y = 3 * x[:, 0] + noise
        assert "miscalibrated fit" not in faults(residual_analysis(y, fit(y, x), predictors=columns))
    train, slopes = rng.normal(size=(500, 2)), [3, 3]  # and new cases of a good fit are left in peace
    learnt = np.linalg.lstsq(train, train @ slopes + rng.normal(size=500), rcond=None)[0]
    y = mean + rng.normal(size=300)
    assert "miscalibrated fit" not in faults(residual_analysis(y, x @ learnt, predictors=columns))


def test_the_recalibrated_line_is_least_squares(rng):
    x = rng.normal(size=300)
    y = 5 + 2 * x + rng.normal(size=300)
    finding = residual_analysis(y, x).findings[0]
    slope, start = np.polyfit(x, y, 1)
    assert finding.remedy.name == "recalibrate"
    assert finding.remedy.details == pytest.approx({"constant": start, "slope": slope})


def test_one_outlier_is_named_also_far_out_in_the_predictors():
    right = {"middle": 0, "end": 0}
    for number in range(20):
        rng = np.random.default_rng(number)
        x, errors = rng.normal(size=(100, 2)), rng.normal(size=100)
        for name in right:
            z, e = x.copy(), errors.copy()
            z[0], e[0] = ((6, 6), e[0] + 12) if name == "end" else ((0, 0), 8)
            y = z @ [1.0, -0.7] + e
            found = residual_analysis(y, fit(y, z), predictors={"a": z[:, 0], "b": z[:, 1]})
            right[name] += faults(found)[:1] == ["outliers"] and found.findings[0].also[0] == "case 1"
    assert min(right.values()) >= 15


@pytest.mark.parametrize("cases", [100, 1000])
@pytest.mark.slow
def test_curves_of_other_shapes_are_straightened(cases):
    shapes = {
        "exponential": lambda x: np.exp(2 * x - 3),
        "sine": lambda x: 2 * np.sin(2.5 * x),
        "logarithm": lambda x: 2 * np.log(x + 0.02),
        "saturation": lambda x: 2 * np.minimum(x, 1.3),
        "step": lambda x: 2.0 * (x > 1),
    }
    for name, shape in shapes.items():
        removed = 0
        for number in range(5):
            rng = np.random.default_rng([number, cases])
            x = rng.uniform(0, 3, size=(cases, 2))
            y = shape(x[:, 0]) + x[:, 1] + 0.5 * rng.normal(size=cases)
            found = residual_analysis(y, fit(y, x), predictors={"a": x[:, 0], "b": x[:, 1]})
            removed += faults(found)[:1] == ["nonlinearity"] and found.findings[0].remedy.removed
        assert removed >= 4, name


def test_a_remedy_that_fails_brings_no_faults_of_its_own(rng):
    x = rng.normal(size=(1000, 2))
    y = x @ [1.0, -0.7] + rng.lognormal(0, 0.8, size=1000)
    found = residual_analysis(y, fit(y, x), predictors={"a": x[:, 0], "b": x[:, 1]})
    assert faults(found) == ["skewness"] and not found.findings[0].remedy.removed
    assert found.assumptions[ASSUMPTIONS.index("no-outliers")].consequence_of == "skewness"


def test_what_a_few_cases_cannot_show_is_neither_removed_nor_denied(rng):
    x = np.linspace(0, 10, 9)
    y = x + 0.12 * (x - 5) ** 2 + rng.normal(size=9)
    found = residual_analysis(y, fit(y, x), predictors={"x": x})
    bent = found.assumptions[ASSUMPTIONS.index("linearity")]
    assert bent.fault == "" and bent.size == "large" and "Cannot be decided with 9 cases" in bent.verdict
    kind = SIZES["partial R²"]
    before, after = Judged(bent, None, 0.9 / kind[0]), Judged(bent, None, 0.87 / kind[0])
    assert not _removed(before, after) and _removed(before, replace(after, severity=0.4 / kind[0]))


def test_a_product_of_two_among_six_predictors_is_found(rng):
    x = rng.normal(size=(300, 6))
    y = x.sum(1) + x[:, 1] * x[:, 4] + rng.normal(size=300)
    found = residual_analysis(y, fit(y, x), predictors={f"x{k}": column for k, column in enumerate(x.T)})
    assert faults(found)[0] == "nonlinearity" and found.findings[0].remedy.details["terms"] == ["x1 times x4"]


def test_a_variance_that_an_unused_column_rules_is_found(rng):
    x, z = rng.normal(size=(2, 300))
    y = x + np.exp(0.8 * z) * rng.normal(size=300)
    found = residual_analysis(y, fit(y, x), predictors={"x": x}, unused={"z": z})
    assert faults(found)[0] == "heteroscedasticity"
    remedy = found.findings[0].remedy
    assert remedy.removed and remedy.details["from"] == "the unused columns"
    (term,) = remedy.details["log_variance"]["terms"]
    assert term["coefficient"] / term["sd"] == pytest.approx(1.6, abs=0.35)


def test_remedies_can_be_done_again_from_their_details(rng):
    x = rng.uniform(0, 10, size=400)
    y = 3 + x + 0.3 * (x - 5) ** 2 + rng.normal(size=400)
    details = residual_analysis(y, fit(y, x), predictors={"x": x}).findings[0].remedy.details
    (term,) = details["terms"]
    told = details["made"][term]
    made = ((x - told["mean"]) / told["sd"]) ** told["power"]
    again = details["model"]["constant"]
    for column, of in zip((x, made), details["model"]["columns"].values(), strict=True):
        again = again + of["coefficient"] * (column - of["mean"]) / of["sd"]
    assert again == pytest.approx(fit(y, x, x**2))


ONE = np.arange(10.0)
WAVE = np.array([1.0, -1, 2, -2, 1, 0, 3, -1, 0, 2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fitted": ONE[:9]}, "fitted holds 9 values, and observed holds 10"),
        ({"observed": np.where(ONE == 3, np.nan, WAVE)}, "observed holds 1 values that are NaN .* value 4"),
        ({"fitted": np.where(ONE > 7, np.inf, ONE)}, "fitted holds 2 values .* value 9"),
        ({"observed": ["a"] * 10}, "observed must hold numbers only"),
        ({"observed": WAVE[:7], "fitted": ONE[:7]}, "at least 8 cases, and there are 7"),
        ({"observed": [], "fitted": []}, "at least 8 cases, and there are 0"),
        ({"observed": ONE}, "perfect fit"),
        ({"observed": ONE + 2}, "all residuals are 2"),
        ({"predictors": {"x": np.full(10, 3.0)}}, "'x' is 3 for every case"),
        ({"predictors": {"x": WAVE}, "unused": {"x": WAVE}}, "'x' is given as a predictor and as unused"),
        ({"predictors": {f"x{i}": np.roll(WAVE, i) for i in range(6)}}, "6 predictors are too many for 10 cases"),
        ({"predictors": [WAVE]}, "predictors must be a mapping"),
        ({"order": np.zeros(10)}, "order is 0 for every case"),
        ({"names": ["a"]}, "names holds 1 names"),
        ({"unused": {"x\ny": np.ones((10, 2))}}, "must be one column"),
        ({"observed": 2 * ONE}, "nothing random is left"),
        (
            {"observed": (ONE + WAVE) * 1e300, "fitted": ONE * 1e300},
            "observed reaches .* above 1e.50 cannot be squared",
        ),
        (
            {"observed": (ONE + WAVE) * 1e-90, "fitted": ONE * 1e-90},
            "observed reaches .* below 1e-50 cannot be squared",
        ),
        ({"predictors": {"x": WAVE * 1e60}}, "'x' reaches 3e.60"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, words):
    with pytest.raises(InputError, match=words) as refused:
        residual_analysis(**{"observed": ONE + WAVE, "fitted": ONE, **arguments})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("cases", [8, 9, 12, 20])
def test_few_cases_are_no_reason_to_stumble(cases, rng):
    for _ in range(6):
        x, y = rng.integers(0, 3, size=cases).astype(float), rng.standard_cauchy(size=cases)
        x[:2] = 0, 1
        more = {"unused": {"u": rng.normal(size=cases)}, "order": rng.normal(size=cases)}
        for found in (residual_analysis(y, fit(y, x), predictors={"x": x}, **more), residual_analysis(y, fit(y, x))):
            json.dumps(found.to_dict(), allow_nan=False)


def test_dependent_and_equal_columns_are_borne(rng):
    x, y = rng.normal(size=60), rng.normal(size=60)
    found = residual_analysis(y, fit(y, x), predictors={"x": x, "twice": 2 * x}, unused={"thrice": 3 * x + 1})
    assert found.findings == ()
    assert found.leverage.sum() == pytest.approx(2)
