"""The tables and the notebook's HTML: every column adds up, nothing is cut, and no name can break them."""

from __future__ import annotations

import functools
import io
import re
from html.parser import HTMLParser
from math import comb

import pytest
import torch
from rich.console import Console
from torch import nn
from torchvision import models

import resnets
from resnets import ZOO
from resnets.inspection import tables
from resnets.inspection.rows import packed, side_by_side
from resnets.inspection.words import number_of_paths, size, sparkline

SCREEN = 24  # lines
look = functools.cache(resnets.inspect)  # for names: nothing changes an inspection


@pytest.fixture(autouse=True)
def a_wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # pytest's workers say 80


def cells(line):
    """The cells of a row: columns stand two blanks apart or more."""
    return re.split(r"  +", line.strip())


def layer_table(name):
    """The printed rows of the layers, each as (name, kind, output, parameters, multiply-adds)."""
    lines = tables.text(tables.LayersView(look(name)), 100).splitlines()
    rules = [place for place, line in enumerate(lines) if line.startswith("──")]
    rows = []
    for line in lines[rules[0] + 1 : rules[1]]:
        first, kind, output, *rest = cells(line)
        rest = rest[1:] if re.fullmatch(r"\d+x\d+, \d+", rest[0]) else rest
        rows.append((first, kind, output, int(rest[0].replace(",", "")), int(rest[1].replace(",", "")), rest))
    total = [int(cell.replace(",", "")) for cell in cells(lines[rules[1] + 1])[1:3]]
    return rows, total


@pytest.mark.parametrize("name", ["resnet18", "resnet34-A", "resnet50", "plain34", "vgg19", "resnet110", "resmlp10"])
def test_columns_of_the_layers_add_up(name):
    rows, total = layer_table(name)
    entry = ZOO[name]
    assert total == [entry.parameters, entry.multiply_adds]
    assert [sum(row[3] for row in rows), sum(row[4] for row in rows)] == total
    shown = sum(int(row[1].split(" x ")[0]) if " x " in row[1] else 0 for row in rows)
    units = {layer.name.split(".conv1")[0] for layer in look(name).layers if layer.name.endswith(".conv1")}
    assert shown + len({row[0] for row in rows if row[0].endswith(".conv1")}) == len(units)


def test_long_networks_are_folded():
    rows, total = layer_table("resnet1202")
    assert total == [19_421_274, 2_829_238_912]
    assert len(rows) < 60
    folded = {row[0]: row[1] for row in rows if " x " in row[1]}
    assert folded == {
        "layer1.1 to layer1.199": "199 x layer1.0",
        "layer2.2 to layer2.199": "198 x layer2.1",
        "layer3.2 to layer3.199": "198 x layer3.1",
    }
    # 199 units of two 3x3 convolutions between 16 channels, and their normalisations
    assert next(row[3] for row in rows if row[0].startswith("layer1.1 ")) == 199 * (2 * 9 * 16 * 16 + 2 * 2 * 16)


@pytest.mark.parametrize("name", ["resnet1202", "resnet152", "resnet101", "preact-resnet164", "wrn-28-10"])
def test_one_network_fits_a_screen(name):
    lines = tables.text(tables.View(look(name)), 100).splitlines()
    assert len(lines) <= SCREEN
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("name", ["resnet152", "vgg19", "resmlp10"])
def test_no_figure_is_cut_at_any_width(name, width):
    found = look(name)
    printed = tables.text(tables.View(found), width)
    assert "…" not in printed
    stages = printed[printed.index("\nstage ") : printed.rindex("──")]
    figures = [row for row in map(cells, stages.splitlines()) if len(row) > 3 and row[-2].replace(",", "").isdigit()]
    assert sum(int(row[-3].replace(",", "")) for row in figures) == ZOO[name].parameters
    assert sum(int(row[-2].replace(",", "")) for row in figures) == ZOO[name].multiply_adds
    if width >= 80:
        assert max(map(len, printed.splitlines())) <= width


def test_the_stage_table_is_that_of_the_paper():
    printed = str(look("resnet50"))
    # 1512.03385, table 1
    for row in ("112x112  7x7, 64, /2", "56x56    3x3 max pool, /2", "7x7      [1x1, 512; 3x3, 512; 1x1, 2048] x 3"):
        assert row in printed
    for block in ("[1x1, 64; 3x3, 64; 1x1, 256] x 3", "[1x1, 256; 3x3, 256; 1x1, 1024] x 6"):
        assert block in printed
    assert "average pool; 1000-d fc" in printed
    assert "1 + 3x(3+4+6+3) + 1 = 50" in printed
    assert "25,557,032" in printed and "4.089 G" in printed
    assert printed.splitlines()[0] == "resnet50  arXiv 1512.03385 table 1, stride in the 3x3 arXiv 1706.02677"


def test_another_network_under_a_known_name_has_no_source():
    net = resnets.create("resnet50", num_classes=10, seed=0)
    assert "arXiv" not in str(resnets.inspect(net))


def test_three_networks_stand_side_by_side():
    founds = [look(name) for name in ("vgg19", "plain34", "resnet34")]
    lines = tables.text(tables.ComparisonView(founds), 120).splitlines()
    assert cells(lines[0]) == ["vgg19", "plain34", "resnet34"]
    assert max(map(len, lines)) <= 120
    rows = {cells(line)[0]: cells(line)[1:] for line in lines if line and not line.startswith(" ")}
    assert rows["parameters"] == ["143,667,240", "21,623,848", "21,797,672"]
    assert rows["paths"] == ["1", "1", "2^16 = 65,536"]
    assert rows["28x28"] == ["2x2 max pool, /2; [3x3, 512] x 4", *2 * ["[3x3, 128; 3x3, 128] x 4"]]
    assert list(rows)[-7:] == ["224x224", "112x112", "56x56", "28x28", "14x14", "7x7", "1x1"]


def test_a_narrow_terminal_puts_the_others_below():
    founds = [look(name) for name in ("resnet18", "resnet34", "resnet50", "resnet20", "resnet20")]
    printed = tables.text(tables.ComparisonView(founds), 70)
    headers = [cells(line) for line in printed.splitlines() if line.startswith("   ") and "resnet" in line]
    assert [name for header in headers for name in header] == [found.name for found in founds]
    assert max(map(len, printed.splitlines())) <= 70


class UpAndDown(nn.Module):
    """Its maps shrink and grow again."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(torch.relu(self.up(self.down(x))))


def test_stages_keep_the_order_of_every_network():
    founds = [resnets.inspect(UpAndDown(), size=32), look("resnet20")]
    rows = side_by_side(founds)
    for place, found in enumerate(founds):
        assert [row[place] for _, row in rows if row[place] is not None] == list(found.stages)
    assert all(stage is None or stage.output == output for output, row in rows for stage in row)


def test_parameters_that_the_pass_does_not_use_are_a_row_of_their_own():
    with torch.device("meta"):
        net = models.googlenet(weights=None, init_weights=False)
    found = resnets.inspect(net)
    printed = str(found)
    used = sum(weight.numel() for name, weight in net.named_parameters() if not name.startswith("aux"))
    assert f"{found.parameters - used:,}" in next(line for line in printed.splitlines() if "not run" in line)
    assert "aux1.conv.conv and 7 more" in tables.text(tables.LayersView(found), 150)
    assert "built of" not in printed


@pytest.mark.parametrize("maker", [models.alexnet, models.vgg19, models.resnet50])
def test_modules_of_torchvision(maker):
    with torch.device("meta"):
        net = maker(weights=None)
    found = resnets.inspect(net)
    printed = str(found)
    assert printed.startswith(type(net).__name__)
    assert f"{sum(weight.numel() for weight in net.parameters()):,}" in printed
    assert ("2^16 = 65,536 paths" in printed) == (maker is models.resnet50)


# Words.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet20", "shortcuts A (zero channels where the shape changes)"),
        ("resnet50", "shortcuts B (1x1 convolutions where the shape changes)"),
        ("resnet34-C", "shortcuts C (1x1 convolutions on every unit)"),
        ("plain20", "no shortcuts"),
        ("resnet20,shortcut=scaling:0.5,0.5", "scaled (0.5 x + 0.5 F"),
        ("resnet20,shortcut=exclusive-gating:-6", "exclusive-gating, gate bias -6"),
        ("resnet50,stem=deep", "stem 3x3, 3x3, 3x3 (32, 32, 64), max-pool 3x3/2"),
        ("resnext50_32x4d", "3x3 in 32 groups"),
        ("preact-resnet20", "full-preactivation ordering; stem 3x3; batch normalisation"),
    ],
)
def test_what_it_is_built_of(text, words):
    assert words in " ".join(str(look(text)).split())


def test_paths_are_counted_in_words():
    assert "2^16 = 65,536 paths of 6 to 50 weight layers; 95 % of them pass through 5 to 12 of 16 units" in str(
        look("resnet50")
    )
    assert number_of_paths(look("resnet1202").paths) == "2^600"
    assert "one path, of 19 weight layers" in str(look("vgg19"))
    with torch.device("meta"):
        densenet = models.densenet121(weights=None)
    assert re.fullmatch(r"about \d\.\d x 10\^\d+", number_of_paths(resnets.inspect(densenet).paths))


def test_the_bars_have_the_shape_of_the_binomial_distribution():
    paths = look("resnet50").paths
    start, bars, end, _ = sparkline(paths, 64).split(" ")
    assert (start, len(bars), end) == ("0", 17, "16")
    heights = ["▁▂▃▄▅▆▇█".index(bar) for bar in bars]
    assert heights == [round(7 * comb(16, k) / comb(16, 8)) for k in range(17)]
    assert sparkline(paths, 64, ascii_only=True).isascii()
    assert len(sparkline(look("resnet1202").paths, 40)) < 60


@pytest.mark.parametrize(
    ("count", "words"),
    [(40, "40 B"), (1024, "1.0 KiB"), (602_112, "588 KiB"), (1_048_000, "1.0 MiB"), (32_215_040, "30.7 MiB")],
)
def test_bytes_in_words(count, words):
    assert size(count) == words


def test_blocks_are_broken_between_layers():
    assert packed(["a, 1", "b, 2"], 20) == "a, 1; b, 2"
    assert packed(["a, 1", "[b, 2; c, 3] x 4"], 12) == "a, 1\n[b, 2;\n c, 3] x 4"


# Anything may print it.


def test_rich_prints_it_in_its_own_width():
    console = Console(width=80, file=io.StringIO())
    console.print(look("resnet20"))
    printed = console.file.getvalue()
    assert "1 + 2x(3+3+3) + 1 = 20" in printed and "[3x3, 16; 3x3, 16] x 3" in printed
    assert max(map(len, printed.splitlines())) <= 80


class Reader(HTMLParser):
    """Checks that every element is closed in its turn, and gathers the cells."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.seen = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("name", ["resnet50", "vgg19", "resnet1202", "resmlp10"])
def test_html_is_whole_and_needs_nothing_else(name):
    page = look(name)._repr_html_()
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert not reader.seen & {"script", "link", "img", "iframe"} and "http" not in page
    assert ("svg" in reader.seen) == (name != "vgg19")
    assert f"{ZOO[name].parameters:,}" in reader.text
    assert reader.seen >= {"table", "details", "style"}
    assert len(page) < 60_000


def test_names_cannot_break_the_page_or_the_table(tmp_path):
    import json

    path = tmp_path / "<b>x\n&[bold].json"
    path.write_text(json.dumps(resnets.spec("resnet8").to_dict()))
    found = resnets.inspect(path)
    page = found._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;x" in page
    assert str(found).splitlines()[0] == "<b>x\\n&[bold]"
    assert len(tables.text(tables.ComparisonView([found, found]), 100).splitlines()[0].split()) == 2
