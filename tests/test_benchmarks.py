"""The arithmetic behind the tables of comparison, and that the tables shown are those that the scripts wrote."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare_heads", ROOT / "benchmarks" / "compare_heads.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_interval_is_that_of_students_t(compare):
    low, high = compare.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    # mean 3, standard deviation sqrt(2.5), t of 4 degrees of freedom 2.776445
    assert (low, high) == pytest.approx((3 - 2.776445 * 0.5**0.5, 3 + 2.776445 * 0.5**0.5), abs=1e-5)


def test_differences_are_taken_seed_by_seed_whatever_the_order(compare):
    rows = [
        {"model": "a-offset", "seed": 1, "miou": 40.0},
        {"model": "a", "seed": 0, "miou": 10.0},
        {"model": "a", "seed": 1, "miou": 20.0},
        {"model": "a-offset", "seed": 0, "miou": 11.0},
    ]
    assert compare.differences(rows, "a", "a-offset", "miou") == [1.0, 20.0]


def test_the_interval_over_images_holds_the_gain_and_shrinks_with_their_number(compare):
    random = np.random.default_rng(0)
    plain = random.integers(1, 50, (40, 3, 3)) + 60 * np.eye(3, dtype=int)
    other = plain + 40 * np.eye(3, dtype=int)
    low, high = compare.resampled_gain(plain, other, draws=300)
    few_low, few_high = compare.resampled_gain(plain[:5], other[:5], draws=300)
    assert 0 < low < high and few_high - few_low > high - low
    assert compare.resampled_gain(plain, plain, draws=20) == (0.0, 0.0)


def test_every_row_of_the_results_page_is_one_that_a_script_wrote():
    page = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    rows = [line for line in page.splitlines() if re.match(r"^\| .*\d", line)]
    assert len(rows) > 20
    assert [row for row in rows if row not in written] == []
    assert all((ROOT / "benchmarks" / path).is_file() for path in re.findall(r"\]\(([^)#:]+)\)", page))
