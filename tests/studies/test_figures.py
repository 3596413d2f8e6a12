"""Charts: the files are sound and hold their words; every word can be read; the lines are the numbers of the chart."""

from __future__ import annotations

import io
import itertools
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import study
from drawings import extents, overlapping, within
from matplotlib.axes._base import _AxesBase
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from webpage import HOSTILE

from resnets.pages.ink import COLOURS, drawing
from resnets.pages.page import light, page
from resnets.studies.figures import chart_of, draw, file_name, inline, size, write_figures
from resnets.studies.plots import looks
from resnets.studies.study import Chart, Line

CHARTS = {chart.name: chart for chart in study.charts()}
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB: protanopia, deuteranopia.
BLIND = (
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
)


def drawn(chart):
    colours = light()
    with drawing(chart.name, colours, figure_facecolor="white"):
        figure = Figure(figsize=size(chart), layout="constrained")
        draw(chart, figure, colours)
        FigureCanvasAgg(figure).draw()
    return figure


@cache
def sample(name):
    return drawn(CHARTS[name])


def complaints(figure):
    """Words that leave the paper, lie over each other, or (of the legend) over the axes."""
    axles = [axle for axes in figure.findobj(_AxesBase) for axle in (axes.xaxis, axes.yaxis)]
    drawn_ticks = [tick for axle in axles for tick in axle._update_ticks()]  # ticks beyond the limits are not drawn
    hidden = {id(text) for tick in figure.findobj(Tick) if tick not in drawn_ticks for text in tick.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    shown = [text for text in texts if id(text) not in hidden]
    boxes = {f"{number} {text.get_text()}": text.get_window_extent() for number, text in enumerate(shown)}
    names, words = list(boxes), extents(boxes, 0.5)
    paper = extents({"": figure.bbox})[0]
    found = [f"{name} leaves the paper" for name, row in zip(names, words, strict=True) if not within(paper, row)]
    found += [f"{names[a]} and {names[b]} overlap" for a, b in overlapping(words, words) if a < b]
    for legend in figure.legends:
        for axes in figure.axes:
            if legend.get_window_extent().overlaps(axes.get_window_extent()):
                found.append("the legend lies over the data")
    return found


def luminance(colour):
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
    return linear, float(linear @ [0.2126, 0.7152, 0.0722])


def lab(linear):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("dark", [False, True])
def test_colours_of_lines_are_told_apart_by_all_and_stand_out(dark):
    style = page("", "", []).split("prefers-color-scheme: dark")[dark].split("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", style))
    paper = luminance(colours["paper"])[1]
    for name in COLOURS:
        high, low = sorted((luminance(colours[name])[1], paper), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, name
    for matrix in (np.eye(3), *map(np.array, BLIND)):
        seen = {name: lab(matrix @ luminance(colours[name])[0]) for name in COLOURS}
        for a, b in itertools.combinations(COLOURS, 2):
            assert np.linalg.norm(seen[a] - seen[b]) > (20 if "eighth" not in (a, b) else 12), (a, b)


@pytest.mark.parametrize("name", CHARTS)
def test_every_word_of_a_chart_can_be_read(name):
    assert complaints(sample(name)) == []


def test_words_that_cannot_be_read_are_seen():
    figure = drawn(CHARTS["slice"])
    figure.text(0.99, 0.5, "leaves the paper")
    figure.text(0.5, 0.5, "lies over")
    figure.text(0.52, 0.5, "another")
    figure.legends[0].set_loc("center")
    FigureCanvasAgg(figure).draw()
    assert len(complaints(figure)) >= 3


def test_awkward_names_and_many_words_can_be_read():
    names = ["a network with a very long name, deeper than all the others", *HOSTILE[:5], "", "日本の名前"]
    many = [Line(name, [f"unit {k}" for k in range(60)], [k + 1.0 for k in range(60)]) for name in names]
    title = "A title that is far too long for the width of a column and so must run over several of its lines"
    chart = Chart("awkward", title, "", "the unit of the network at which it was measured " * 2, "a label " * 9,
                  lines=many, marks=[(k, f"mark {k}") for k in (3, 5, 7, 40)])  # fmt: skip
    assert complaints(drawn(chart)) == []
    assert complaints(drawn(replace(chart, kind="bars", lines=[replace(many[0], x=names * 3, y=[1.0] * 24)]))) == []


def test_twelve_lines_look_different_and_groups_keep_their_colour():
    lines = study.lines()
    found = looks(lines)
    assert len(lines) == len(set(found)) == 12
    for group in ("plain", "residual"):
        assert len({look.colour for look, line in zip(found, lines, strict=True) if line.group == group}) == 1
    for training, validation in zip(found[::2], found[1::2], strict=True):
        assert training.dashed and not validation.dashed
        assert replace(training, dashed=False) == validation
    alone = looks([Line(f"line {k}", [0, 1], [0, 1]) for k in range(12)])
    assert len({(look.colour, look.mark) for look in alone}) == 12
    assert len({look.colour for look in looks([Line(f"{k}", [0], [0], group="one") for k in range(5)])}) == 5


def test_what_is_drawn_are_the_numbers():
    inks = {ink.get_label(): ink for ink in sample("depth").axes[0].get_lines()}
    for line in CHARTS["depth"].lines:
        ink = inks[line.name]
        np.testing.assert_allclose(np.column_stack(ink.get_data()), np.column_stack((line.x, line.y)))
    bars = sample("shortcuts").axes[0].patches
    shown = [bar.get_width() for bar in bars]
    wanted = [y for line in CHARTS["shortcuts"].lines for y in line.y]
    np.testing.assert_allclose([0 if np.isnan(w) else w for w in shown], [y or 0 for y in wanted])
    ends = [path.vertices[:, 0] for path in sample("shortcuts").axes[0].collections[0].get_paths()]
    np.testing.assert_allclose(ends[0], [6, 7])
    gap = sample("rates").axes[0].get_lines()[1].get_ydata()
    assert np.isnan(gap[-1]) and not np.isnan(gap[:-1]).any()
    assert sample("gradients").axes[0].get_yscale() == "log"


def test_long_curves_are_thinned_and_keep_their_mean():
    curve = Line("long", list(range(60000)), [1 / (1 + step) for step in range(60000)])
    ink = drawn(Chart("long", "Long", "", "step", "loss", lines=[curve])).axes[0].get_lines()[0]
    assert len(ink.get_xdata()) <= 300
    assert ink.get_ydata().mean() == pytest.approx(sum(curve.y) / 60000)
    assert ink.get_xdata().mean() == pytest.approx(59999 / 2)


def test_files_are_sound_and_hold_the_names(tmp_path):
    charts = [CHARTS["depth"], CHARTS["shortcuts"], CHARTS["landscape"]]
    written = write_figures(tmp_path, {"charts": [asdict(chart) for chart in charts]})
    assert sorted(written) == sorted((tmp_path / "figures").iterdir())
    for chart in charts:
        svg = (tmp_path / "figures" / f"{chart.name}.svg").read_text(encoding="utf-8")
        parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
        words = {(node.text or "").strip() for node in ElementTree.fromstring(svg, parser).iter(ElementTree.Comment)}
        assert {chart.title, chart.x_label, chart.y_label} <= words
        assert {line.name for line in chart.lines} | set(chart.grid or ()) <= words
        picture = Image.open(io.BytesIO((tmp_path / "figures" / f"{chart.name}.png").read_bytes())).convert("RGB")
        assert picture.width == 920
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        assert len(picture.getcolors(10**6) or ()) > 50


def test_inside_a_page_it_follows_the_scheme_and_is_the_same_each_time():
    chart = chart_of(asdict(CHARTS["curves"]))
    text = inline(chart)
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= {"#ffffff", "#000000"}
    assert {"var(--first)", "var(--second)", "var(--rule)", "var(--paper)"} <= set(re.findall(r"var\(--\w+\)", text))
    assert all(f">{line.name}<" in text for line in chart.lines)
    assert inline(CHARTS["change"]) == inline(CHARTS["change"])


def test_a_name_stays_in_its_folder():
    assert file_name("../../x y") == "x-y"
    assert file_name("<script>") == "script-"
    assert file_name("..") == "figure"
