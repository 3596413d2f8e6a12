"""Cases that do not belong to the rest: externally studentised residuals, Bonferroni; leverage and Cook's distance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from resnets.residuals.findings import Test
from resnets.residuals.judging import LEVELS, Judged, judged, untested
from resnets.residuals.linear import Floats, Model, without

_NAMED = 50


def outliers(model: Model, names: Sequence[str]) -> Judged:
    """Externally studentised residuals, each against the fit to the cases that are none: one does not hide another."""
    t, out, freedom = studentised(model)
    if freedom < 3:
        return untested("no-outliers", "largest |t|", "Not tested: too few cases are left.")
    worst = int(np.argmax(np.abs(t)))
    p_value = min(1.0, 2 * float(stats.t.sf(abs(t[worst]), freedom)) * model.n)
    count = int(out.sum())
    ranked = [int(i) for i in np.argsort(-np.abs(t))[: min(count, _NAMED)]]
    also = [names[model.rows[i]] for i in ranked]
    name = names[model.rows[worst]]
    if count > 1:
        words = (
            f"{count} of {model.n} cases lie apart, the farthest is {name} at {abs(t[worst]):.1f} standard deviations"
        )
    else:
        words = f"the farthest case is {name} at {abs(t[worst]):.1f} standard deviations"
    tests = [Test("externally studentised residual, Bonferroni", float(t[worst]), p_value, name)]
    measure = "largest externally studentised residual, in standard deviations"
    effect = float(t[worst])
    return judged(
        "no-outliers", "largest |t|", measure, p_value, effect, tests, words, also=also, clue=(out, t), cases=model.n
    )


def studentised(model: Model) -> tuple[Floats, NDArray[np.bool_], int]:
    """Externally studentised residuals [n], which are outliers, and the degrees of freedom of t.

    Begins with a robust scale (median absolute deviation) and then, in turns, fits without the outliers and names them
    anew by Bonferroni's correction. With none of them left out it is the textbook's externally studentised residual.
    """
    basis, given, n = model.basis, model.residuals, model.n
    hat = model.leverage()
    scale = 1.4826 * float(np.median(np.abs(given - np.median(given))))
    scale = scale if scale > 0 else float(given.std())
    level = LEVELS["no-outliers"] / n / 2
    limit = stats.t.isf(level, max(model.freedom, 1))
    out = np.abs(given - np.median(given)) / (scale * np.sqrt(1 - hat)) > limit
    t, freedom = np.zeros(n), 0
    for _ in range(30):
        if out.mean() > 0.3:
            out &= np.abs(given) >= np.quantile(np.abs(given), 0.7)
        kept = ~out
        apart = basis[out]
        inner = np.linalg.pinv(np.eye(basis.shape[1]) - apart.T @ apart)
        errors = given - basis @ (inner @ (basis[kept].T @ given[kept]))
        hat = np.minimum(np.einsum("ij,jk,ik->i", basis, inner, basis), 1e6)
        rest = int(kept.sum()) - basis.shape[1]
        freedom = rest - 1
        if freedom < 3:
            break
        whole = float(errors[kept] @ errors[kept])
        inside = np.minimum(hat, 1 - 1e-9)
        # A kept case is compared with the fit to the other kept ones, an outlier with the fit to all of them.
        others = np.maximum(whole - errors**2 / (1 - inside), 1e-300) / freedom
        t = errors / np.sqrt(np.where(kept, others * (1 - inside), whole / rest * (1 + hat)))
        now = np.abs(t) > stats.t.isf(level, freedom)
        if np.array_equal(now, out):
            break
        out = now
    return t, out, freedom


def influence(model: Model) -> tuple[Floats, Floats]:
    """Hat values and Cook's distances (Cook 1977), [n] each."""
    hat, p = model.leverage(), model.basis.shape[1]
    variance = float(model.residuals @ model.residuals) / max(model.freedom, 1)
    return hat, model.residuals**2 / (p * variance) * hat / (1 - hat) ** 2


def set_aside(model: Model, found: Judged) -> Iterator[tuple[str, str, Model, dict[str, object]]]:
    """The remedy: the fit without them; with how far that, and Huber's robust fit, move the fitted values."""
    out, _ = found.clue
    after = without(model, out)
    scale = float(np.sqrt(after.residuals @ after.residuals / max(after.freedom, 1)))
    moved = float(np.abs(model.lift(after.fitted - model.fitted)[~out]).max()) / scale
    huber, _ = reweighted(model, lambda t: 1.345 / np.maximum(np.abs(t), 1.345))
    robust = float(np.abs(huber - model.residuals)[~out].max()) / scale
    words = (
        f"Look at them ({int(out.sum())}); set aside what is a mistake, or keep them with a robust fit (Huber). Without"
        f" them fitted values move by up to {moved:.2g} standard deviations of the errors, by Huber's fit {robust:.2g}."
    )
    yield "set-aside", words, after, {"cases": list(found.finding.also), "moved": moved, "moved_by_huber": robust}


def reweighted(model: Model, weight: Callable[[Floats], Floats], turns: int = 30) -> tuple[Floats, float]:
    """Residuals and scale of an M-estimate by iteratively reweighted least squares (Huber 1981, section 7.8).

    The scale is the normalised median absolute deviation; `weight` takes residuals in its units.
    """
    basis, given = model.basis, model.residuals
    errors, scale = given, 1.0
    for _ in range(turns):
        scale = max(float(np.median(np.abs(errors))) / 0.6745, 1e-300)
        w = weight(errors / scale)[:, None]
        onto = np.linalg.lstsq(basis.T @ (w * basis), basis.T @ (w[:, 0] * given), rcond=None)[0]
        now = given - basis @ onto
        done = float(np.abs(now - errors).max()) < 1e-6 * scale
        errors = now
        if done:
            break
    return errors, scale
