"""Residual analysis on simulated faults: a few sets measured here, and the table that stands in the docs."""

import pytest


@pytest.fixture
def simulated(benchmark_module):
    return benchmark_module("residuals")


@pytest.mark.parametrize(("cases", "sets"), [(100, 32), (1000, 8)])
def test_simulated_faults_are_named_and_mended(simulated, cases, sets):
    sets_of = {name: sets if name == "none" else sets // 4 for name, kind in simulated.KINDS.items() if kind.strong}
    rows = {name: simulated.count(name, cases, range(9000, 9000 + n)) for name, n in sets_of.items()}
    clean = rows.pop("none")
    assert clean["silent"] >= 0.9 * clean["sets"]
    right, mended, total = (sum(row[key] for row in rows.values()) for key in ("first", "removed", "sets"))
    assert right >= 0.9 * total and mended >= 0.9 * right
    assert all(row["first"] >= 0.6 * row["sets"] for row in rows.values())


def test_the_result_file_shows_what_is_promised(simulated):
    kept = simulated.read(simulated.NAME)
    assert kept["commit"] and kept["versions"]
    rows = {(row["fault"], row["cases"]): row for row in kept["rows"]}
    assert set(rows) == {(name, cases) for name in simulated.KINDS for cases in simulated.CASES}
    for (name, _), row in rows.items():
        assert sum(row["found"].values()) == row["sets"]
        if name == "none":
            assert row["silent"] >= 0.93 * row["sets"]
        elif simulated.KINDS[name].strong:
            assert row["first"] >= 0.9 * row["sets"] and row["removed"] >= 0.8 * row["first"]
