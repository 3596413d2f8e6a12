"""`resnets residuals`: what the residuals of a regression, any program's, say about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resnets.cli import output

if TYPE_CHECKING:
    from resnets.residuals.findings import ResidualAnalysis

EXAMPLES = """\
resnets residuals predictions.csv --observed price --fitted predicted
resnets residuals fit.csv --observed y --fitted yhat --predictor x1 x2 --order date --out residuals/
resnets residuals runs/rooms/predictions-test.csv --observed "price observed" --fitted "price fitted" --json"""


def residuals(
    file: Annotated[Path, Parameter(help="a CSV file with a header, a case a row")],
    /,
    *,
    observed: Annotated[str, Parameter(help="the column of observed values")],
    fitted: Annotated[str, Parameter(help="the column of fitted values: what the model predicted")],
    predictor: Annotated[
        list[str] | None,
        Parameter(negative=(), consume_multiple=True, help="columns that the model had, numbers or categories"),
    ] = None,
    order: Annotated[
        str | None,
        Parameter(
            help="a column of numbers or ISO dates that orders the cases; equal ones keep the order of their rows"
            " [default: none]"
        ),
    ] = None,
    out: Annotated[Path | None, Parameter(help="a folder for report.html, figures and residuals.json")] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="print one JSON document")] = False,
) -> None:
    """Analyse the residuals, observed − fitted, of a regression.

    Tests whether a predictor is missing (every column that is not named is tried), the form is right, errors are
    independent, without outliers, of equal variance and normal. Each verdict goes by its effect size, and a remedy is
    tried against every fault. Exits with 0 whatever is found.
    """
    from resnets.residuals.folder import check_folder, write_folder
    from resnets.residuals.plots import Labels
    from resnets.residuals.reading import read_cases

    cases = read_cases(file, observed=observed, fitted=fitted, predictors=predictor or (), order=order)
    if out is not None:
        check_folder(out)  # before the work, not after it
    for note in cases.notes:
        output.say(f"note: {note}")
    from resnets.residuals.analysis import residual_analysis  # after the reading: it takes seconds to import

    analysis = residual_analysis(
        cases.observed, cases.fitted, predictors=cases.predictors, unused=cases.unused, order=cases.order,
        names=cases.names,
    )  # fmt: skip
    document = {"file": str(file), "observed": observed, "fitted": fitted, **analysis.to_dict()}
    document["notes"] = [*cases.notes, *document["notes"]]
    if json:
        output.document(document)
    else:
        output.show(*_words(analysis))
    if out is not None:
        labels = Labels(observed, fitted, f"{observed} − {fitted}", cases.order_label)
        write_folder(out, analysis, document, title=f"Residuals of {file.name}", labels=labels, notes=cases.notes)
        output.say(f"report: {out / 'report.html'}")


def _words(analysis: ResidualAnalysis) -> Iterator[str]:
    """A line for each assumption, then what to do."""
    from resnets.residuals.page import in_order, number, p_words, summary, verdict_word

    spread = number(float(analysis.residuals.std()))
    yield f"{analysis.n:,} cases; residuals have the standard deviation {spread}. {summary(analysis)}"
    verdicts = in_order(analysis)
    words = [verdict_word(found) for found in verdicts]
    wide = max(map(len, words)), max(len(found.assumption) for found in verdicts)
    for word, found in zip(words, verdicts, strict=True):
        yield output.one_line(f"  {found.assumption:<{wide[1]}}  {word:<{wide[0]}}  {found.verdict}")
    for note in analysis.notes:
        yield output.one_line(f"note: {note}")
    if not analysis.findings:
        return
    yield "What to do:"
    for found in analysis.findings:
        if found.remedy is None:
            yield f"  {found.fault}: no remedy was tried"
            continue
        tried = "tried, and this removes it: " if found.remedy.removed else ""
        after = f"effect {number(found.effect)} → {number(found.remedy.effect)}, p {p_words(found.remedy.p_value)}"
        yield output.one_line(f"  {found.fault}: {found.remedy.words} ({tried}{after})")
