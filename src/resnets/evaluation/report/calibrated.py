"""The section of a report about confidence: whether it can be believed, as it is and at the run's temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from resnets.evaluation.calibration import Reliability, reliability, scaled
from resnets.evaluation.figures import Evaluation
from resnets.evaluation.report.classes import headline
from resnets.evaluation.report.examination import Examination
from resnets.evaluation.run import Run
from resnets.pages import page
from resnets.pages.charts import INK, MUTED, RIGHT, RULE
from resnets.pages.ink import inline_svg
from resnets.pages.page import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def calibration(run: Run, seen: Examination | None) -> Section | None:
    """Reliability diagrams before and after temperature scaling, and what it does to loss and calibration error."""
    known, found = run.info.get("results", {}).get("calibration"), headline(run)
    part = None if seen is None or found is None else seen.splits.get(found[0])
    if known is None and part is None:
        return None
    rows: list[tuple[str | None, ...]] = []
    figures, temperature = [], 1.0
    if known is not None:
        temperature = float(known["temperature"])
        split = str(known.get("split", "validation"))
        fitted = f"temperature {temperature:.3f}, fitted here"
        for words, when in (("as it is", "before"), (fitted, "after")):
            rows.append((split, words, f"{100 * known[f'ece_{when}']:.2f} %", f"{known[f'loss_{when}']:.4f}"))
    if part is not None and isinstance(part.found, Evaluation):
        evaluation, scores = part.found, part.found.log_probabilities
        right = evaluation.cases.predicted == evaluation.cases.labels
        before = reliability(evaluation.cases.confidence, right)
        figures.append(_drawn("Confidence as it is", before))
        if evaluation.split != (known or {}).get("split"):
            rows.append((evaluation.split, "as it is", f"{100 * before.ece:.2f} %", f"{evaluation.loss:.4f}"))
        if temperature != 1 and scores is not None:
            changed = scaled(scores, temperature)
            after = reliability(np.exp(changed.max(1)), right)
            figures.append(_drawn(f"At temperature {temperature:.3f}", after))
            if evaluation.split != (known or {}).get("split"):
                loss = float(-changed[np.arange(len(changed)), evaluation.cases.labels].mean())
                words = f"temperature {temperature:.3f}"
                rows.append((evaluation.split, words, f"{100 * after.ece:.2f} %", f"{loss:.4f}"))
    headers = ("split", "confidence", "ECE", "loss (nats)")
    body = page.table(
        "Expected calibration error (ECE): how far confidence is from accuracy", headers, rows, numbers=(2, 3)
    )
    body += page.paragraph(_words(known, temperature))
    if figures:
        captions = (
            f"{found[0].capitalize() if found else ''} split, in 15 bins of confidence. Bars: accuracy, the"
            " stronger the more images. Dots: mean confidence. On the dashed line confidence is what it says."
        )
        drawn = "".join(page.figure(svg, captions) for svg in figures)
        body += f'<div class="grid">{drawn}</div>'
    return Section("calibration", "Calibration", body)


def _words(known: dict[str, object] | None, temperature: float) -> str:
    if known is None:
        return "There was no validation split to fit a temperature on."
    if known.get("note"):
        return f"No temperature was fitted: {known['note']}."
    sure = "too sure" if temperature > 1 else "not sure enough"
    return (
        f"The network was {sure} of itself: divided by {temperature:.3f}, its logits give the least cross-entropy on"
        " the validation split (temperature scaling, 1706.04599). The order of the classes, and so top-1, stays."
        " With --calibrated, resnets evaluate and resnets predict use it."
    )


def _drawn(title: str, found: Reliability) -> str:
    """A reliability diagram: accuracy by confidence, the bars as dark as they have images."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_title(f"{title}: error {100 * found.ece:.2f} %")
        axes.plot((0, 100), (0, 100), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        share = found.counts / max(found.counts.max(), 1)
        for place in np.flatnonzero(found.counts).tolist():
            low, high = 100 * found.edges[place], 100 * found.edges[place + 1]
            axes.bar(
                (low + high) / 2, 100 * found.accuracy[place], width=0.9 * (high - low), color=RIGHT,
                alpha=0.25 + 0.75 * float(np.sqrt(share[place])), linewidth=0,
            )  # fmt: skip
            axes.plot(
                100 * found.confidence[place], 100 * found.accuracy[place], "o", color=INK, markersize=2.4,
            )  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("confidence (%)")
        axes.set_ylabel("accuracy (%)")
        axes.grid(True, color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    return inline_svg(title, (4.2, 3.2), draw)
