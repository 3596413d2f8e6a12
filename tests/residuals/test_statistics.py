"""Every statistic equals statsmodels' or SciPy's own, on the data sets that come with statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.diagnostic import acorr_ljungbox, het_breuschpagan, het_white, linear_reset
from statsmodels.stats.outliers_influence import OLSInfluence
from statsmodels.stats.stattools import durbin_watson, jarque_bera

from resnets import residual_analysis
from resnets.residuals.analysis import examine
from resnets.residuals.linear import Data, added, model_of, spline
from resnets.residuals.normality import student, transform
from resnets.residuals.outliers import influence, reweighted, studentised
from resnets.residuals.sequence import model_errors

SETS = {
    "longley": ("TOTEMP", ["GNPDEFL", "GNP", "UNEMP", "ARMED", "POP", "YEAR"]),
    "stackloss": ("STACKLOSS", ["AIRFLOW", "WATERTEMP", "ACIDCONC"]),
    "statecrime": ("murder", ["urban", "poverty", "hs_grad", "single"]),
    "engel": ("foodexp", ["income"]),
    "ccard": ("AVGEXP", ["AGE", "INCOME", "INCOMESQ"]),
}


@pytest.fixture(params=SETS)
def fit(request):
    table = getattr(sm.datasets, request.param).load_pandas().data.astype(float)
    target, columns = SETS[request.param]
    result = sm.OLS(table[target].to_numpy(), sm.add_constant(table[columns].to_numpy())).fit()
    return request.param, {name: table[name].to_numpy() for name in columns}, result


def modelled(fit):
    return model_of(Data(fit[2].model.endog, fit[2].fittedvalues, fit[1], {}, None, False, True))


def analysed(fit):
    model = modelled(fit)
    return {name: item.finding for name, item in examine(model, [f"case {i}" for i in range(1, model.n + 1)]).items()}


def scaled(result):
    """The same regression on standardised columns, where powers of fitted values do no harm to the arithmetic."""
    x, f = result.model.exog[:, 1:], result.fittedvalues
    x = (x - x.mean(0)) / x.std(0)
    return sm.OLS((result.model.endog - f.mean()) / f.std(), sm.add_constant(x)).fit()


def test_reset(fit):
    found = analysed(fit)["linearity"].tests[0]
    theirs = linear_reset(scaled(fit[2]), power=3, use_f=True)
    assert (found.name, found.statistic) == ("RESET", pytest.approx(float(theirs.statistic), rel=1e-4))
    assert found.p_value == pytest.approx(float(theirs.pvalue), rel=1e-3)


def test_added_terms_are_an_f_test_with_and_without_hc3(fit):
    _, predictors, result = fit
    y, model = result.model.endog, modelled(fit)
    first, *others = [(column - column.mean()) / column.std() for column in predictors.values()]
    terms = np.column_stack([first**2, *(first * other for other in others[:1])])
    x = scaled(result).model.exog
    larger, smaller = sm.OLS(y, np.column_stack([x, terms])).fit(), sm.OLS(y, x).fit()
    look = added(model, terms)
    statistic, p, _ = larger.compare_f_test(smaller)
    assert (look.statistic, look.p_classic) == (pytest.approx(statistic, rel=1e-6), pytest.approx(p, rel=1e-5))
    assert look.share == pytest.approx(1 - larger.ssr / smaller.ssr)
    constraint = np.eye(larger.model.exog.shape[1])[-terms.shape[1] :]
    robust = larger.get_robustcov_results("HC3", use_t=True).f_test(constraint)
    assert look.p_robust == pytest.approx(float(robust.pvalue), rel=1e-4)


def test_breusch_pagan_and_white(fit):
    tests = [test for test in analysed(fit)["equal-variance"].tests if test.name != "Glejser"]
    exog, errors = scaled(fit[2]).model.exog, fit[2].resid
    statistic, p = het_breuschpagan(errors, exog)[:2]
    assert (tests[0].name, tests[0].statistic) == ("Breusch–Pagan", pytest.approx(statistic))
    assert tests[0].p_value == pytest.approx(p)
    white = [test for test in tests if test.about.endswith("products of predictors")]
    assert bool(white) == (fit[0] in ("engel", "ccard"))  # the others have too few cases for so many terms
    for test in white if fit[0] == "engel" else []:  # a square among ccard's predictors makes statsmodels' singular
        statistic, p = het_white(errors, exog)[:2]
        assert (test.name, test.statistic, test.p_value) == ("White", pytest.approx(statistic), pytest.approx(p))


def test_durbin_watson_and_ljung_box(fit):
    watson, first, many = analysed(fit)["independence"].tests
    errors = fit[2].resid
    lags = max(2, min(10, len(errors) // 5))
    box = acorr_ljungbox(errors, lags=[1, lags])
    assert watson.statistic == pytest.approx(durbin_watson(errors), rel=1e-5)
    assert [first.statistic, many.statistic] == pytest.approx(list(box["lb_stat"]), rel=1e-5)
    assert [first.p_value, many.p_value] == pytest.approx(list(box["lb_pvalue"]), rel=1e-5)


def test_shapiro_wilk_and_jarque_bera(fit, monkeypatch):
    shapiro = analysed(fit)["normality"].tests[0]
    theirs = stats.shapiro(fit[2].resid)
    assert (shapiro.name, shapiro.statistic) == ("Shapiro–Wilk", pytest.approx(theirs.statistic, rel=1e-6))
    assert shapiro.p_value == pytest.approx(theirs.pvalue, rel=1e-4)
    monkeypatch.setattr("resnets.residuals.normality._SHAPIRO_UP_TO", 10)
    (bera,) = analysed(fit)["normality"].tests
    assert (bera.name, bera.statistic) == ("Jarque–Bera", pytest.approx(jarque_bera(fit[2].resid)[0], rel=1e-6))


def test_leverage_influence_and_studentised_residuals(fit, monkeypatch):
    theirs = OLSInfluence(fit[2])
    model = modelled(fit)
    leverage, distance = influence(model)
    assert leverage == pytest.approx(theirs.hat_matrix_diag, rel=1e-5)
    assert distance == pytest.approx(theirs.cooks_distance[0], rel=1e-4, abs=1e-9)
    # With nothing set aside they are the textbook's.
    monkeypatch.setattr("resnets.residuals.outliers.LEVELS", {"no-outliers": 1e-30})
    t, out, freedom = studentised(model)
    assert not out.any() and freedom == fit[2].df_resid - 1
    assert t == pytest.approx(theirs.resid_studentized_external, rel=1e-4, abs=1e-7)


def test_published_values():
    stack = sm.datasets.stackloss.load_pandas().data
    result = sm.OLS(stack["STACKLOSS"], sm.add_constant(stack[["AIRFLOW", "WATERTEMP", "ACIDCONC"]])).fit()
    columns = {name: stack[name] for name in ("AIRFLOW", "WATERTEMP", "ACIDCONC")}
    found = residual_analysis(stack["STACKLOSS"], result.fittedvalues, predictors=columns)
    # Brownlee's stack loss: the last of the 21 days, as in R's rstudent and cooks.distance of lm(stack.loss ~ .).
    outlier = next(item for item in found.assumptions if item.assumption == "no-outliers").tests[0]
    assert (outlier.about, outlier.statistic) == ("case 21", pytest.approx(-3.3305, abs=1e-4))
    assert found.influence[20] == pytest.approx(0.692, abs=1e-3)
    long = sm.datasets.longley.load_pandas()
    result = sm.OLS(long.endog, sm.add_constant(long.exog)).fit()
    found = residual_analysis(long.endog, result.fittedvalues, predictors=dict(long.exog))
    watson = next(item for item in found.assumptions if item.assumption == "independence").tests[0]
    assert watson.statistic == pytest.approx(2.559, abs=1e-3)  # in statsmodels' documentation and NIST's data set


def test_a_known_unequal_variance_is_found_with_its_figures():
    """Engel's food expenditure, whose spread grows with income (Koenker & Bassett 1982)."""
    table = sm.datasets.engel.load_pandas().data
    result = sm.OLS(table["foodexp"], sm.add_constant(table[["income"]])).fit()
    found = residual_analysis(table["foodexp"], result.fittedvalues, predictors={"income": table["income"]})
    (finding,) = [item for item in found.findings if item.fault == "heteroscedasticity"]
    statistic, p = het_breuschpagan(result.resid, result.model.exog)[:2]
    assert (finding.tests[0].statistic, finding.tests[0].p_value) == (pytest.approx(statistic), pytest.approx(p))
    assert finding.size == "large" and finding.remedy is not None


def test_cochrane_orcutt_is_statsmodels_iterated_glsar():
    rng = np.random.default_rng(3)
    x = rng.normal(size=400)
    errors = np.zeros(400)
    for i in range(1, 400):
        errors[i] = 0.7 * errors[i - 1] + rng.normal()
    y = 1 + 2 * x + errors
    design = sm.add_constant(x)
    fitted = sm.OLS(y, design).fit().fittedvalues
    found = residual_analysis(y, fitted, predictors={"x": x})
    (finding,) = found.findings
    theirs = sm.GLSAR(y, design, rho=1)
    theirs.iterative_fit(20)
    assert finding.remedy.details["coefficients"] == pytest.approx([float(theirs.rho[0])], abs=0.01)
    model = model_of(Data(y, fitted, {"x": x}, {}, None, False, True))
    _, _, after, details = next(model_errors(model, type("Found", (), {"clue": 1})()))
    phi = details["coefficients"][0]
    mine = sm.OLS(y[1:] - phi * y[:-1], design[1:] - phi * design[:-1]).fit()
    assert after.residuals == pytest.approx(mine.resid)


def test_huber_fit_is_statsmodels():
    rng = np.random.default_rng(4)
    x, errors = rng.normal(size=(200, 2)), rng.standard_t(2, size=200)
    y = x @ [1, 2] + errors
    design = sm.add_constant(x)
    theirs = sm.RLM(y, design, M=sm.robust.norms.HuberT()).fit(tol=1e-10, maxiter=200)
    fitted = sm.OLS(y, design).fit().fittedvalues
    model = model_of(Data(y, fitted, {"a": x[:, 0], "b": x[:, 1]}, {}, None, False, True))
    errors, scale = reweighted(model, lambda t: 1.345 / np.maximum(np.abs(t), 1.345), turns=300)
    assert errors == pytest.approx(theirs.resid, abs=1e-4)
    assert scale == pytest.approx(theirs.scale, rel=1e-4)


def test_student_t_is_the_likeliest():
    errors = np.random.default_rng(5).standard_t(3, size=1500) * 2
    freedom, scale, likelihood = student(errors)
    theirs = stats.t.fit(errors, floc=0)
    assert (freedom, scale) == (pytest.approx(theirs[0], abs=0.7), pytest.approx(theirs[2], rel=0.06))
    best = stats.t.logpdf(errors, *theirs).mean()
    assert best - 2e-3 < likelihood <= best + 1e-9


def test_box_cox_is_scipys_where_there_is_only_a_constant():
    y = np.random.default_rng(6).lognormal(1, 0.7, size=500) ** 2
    model = model_of(Data(y, np.full(500, y.mean()), {}, {}, None, False, False))
    found = list(transform(model, type("Found", (), {"clue": "skewness"})()))
    powers = [details["lambda"] for name, _, _, details in found if name == "box-cox"]
    assert powers[-1] == pytest.approx(stats.boxcox_normmax(y, method="mle"), abs=2e-3)
    johnson = found[-1][3]
    z = (y - johnson["centre"]) / johnson["scale"]
    assert johnson["lambda"] == pytest.approx(stats.yeojohnson_normmax(z), abs=2e-3)


def test_a_spline_is_smooth_and_straight_beyond_its_outer_knots():
    x = np.linspace(-2, 3, 20_001)
    columns = spline(x)
    assert columns.shape[1] == 3
    first, last = np.quantile(x, [0.05, 0.95])
    bends = np.diff(columns, 2, axis=0) / (x[1] - x[0]) ** 2
    outside = (x[1:-1] < first - 0.01) | (x[1:-1] > last + 0.01)
    assert np.abs(bends[outside]).max() < 1e-4 < np.abs(bends[~outside]).max()
    assert np.abs(np.diff(bends, axis=0)).max() < 0.01 * np.abs(bends).max()  # no step in the second derivative
