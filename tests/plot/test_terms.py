import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from offseg_viz.analyze.decomposition import MARGIN, SCORE_TERMS, decomposition
from offseg_viz.errors import RecordError
from offseg_viz.plot.terms import COLORS, plot_terms


def bars(figure):
    """{term: [(left, width), ...]} by row."""
    found = {}
    for container in figure.axes[0].containers:
        found[container.get_label()] = [(bar.get_x(), bar.get_width()) for bar in container]
    return found


def sums(figure):
    dots = next(one for one in figure.axes[0].collections if one.get_label() == "margin, their sum")
    return dots.get_offsets()[:, 0]


def names(figure):
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


@pytest.fixture
def table():
    """Two classes and everything; tree has no value."""
    values = {"all": (1, -2, 0.5, 0.75), "road": (-1, -2, -0.5, 3), "sky": (1, 2, 3, -4), "tree": (np.nan,) * 4}
    rows = []
    for name, terms in values.items():
        for quantity, value in zip((*SCORE_TERMS, MARGIN), (*terms, sum(terms)), strict=True):
            stage = "aligned" if quantity == MARGIN else ""
            rows.append((name, quantity, stage, value, value - 0.25, value + 0.5, 3))
    return pd.DataFrame(rows, columns=["cls", "quantity", "stage", "value", "low", "high", "images"])


def test_terms_stack_to_both_sides_and_end_at_their_sum(table):
    figure = plot_terms(table)
    assert names(figure) == ["all", "sky", "road"]
    drawn = bars(figure)
    assert list(drawn) == list(SCORE_TERMS)
    by_row = [[drawn[term][row] for term in SCORE_TERMS] for row in range(3)]
    assert by_row[0] == [(0, 1), (0, -2), (1, 0.5), (1.5, 0.75)]
    assert by_row[1] == [(0, 1), (1, 2), (3, 3), (0, -4)]
    assert by_row[2] == [(0, -1), (-1, -2), (-3, -0.5), (0, 3)]
    np.testing.assert_allclose(sums(figure), [0.25, 2, -0.5])
    assert to_hex(figure.axes[0].containers[1][0].get_facecolor()) == COLORS["E dW"]
    lines = figure.axes[0].collections[0].get_segments()
    np.testing.assert_allclose([line[:, 0] for line in lines], [[0, 0.75], [1.75, 2.5], [-0.75, 0]])
    assert "scores" in figure.axes[0].get_xlabel() and "scores" in figure.axes[0].get_title(loc="left")


def test_summary(table):
    assert plot_terms(table, title="terms").summary == (
        "terms, 3 rows: all 0.25 [0.00, 0.75] = E W 1.00, E dW -2.00, dE W 0.50, dE dW 0.75; "
        "sky 2.00 [1.75, 2.50] = E W 1.00, E dW 2.00, dE W 3.00, dE dW -4.00; "
        "road -0.50 [-0.75, 0.00] = E W -1.00, E dW -2.00, dE W -0.50, dE dW 3.00; 1 without a value"
    )


def test_a_table_of_records(records):
    by_class = decomposition(records)
    figure = plot_terms(by_class)
    assert names(figure)[0] == "all" and set(names(figure)) == {"all", "sky", "road", "tree"}
    assert plot_terms(by_class).png() == figure.png()
    margin = by_class[by_class["quantity"] == MARGIN].set_index("cls")["value"]
    np.testing.assert_allclose(sums(figure), margin[names(figure)], rtol=1e-6)
    by_image = plot_terms(decomposition(records, by="image"))
    assert set(names(by_image)) == {"a", "b", "c"} and "[" not in by_image.summary
    assert names(plot_terms(decomposition(records[:1])))[0] == "all"


def test_refused_tables(table):
    with pytest.raises(RecordError, match="lacks the quantities E dW; needed one of decomposition"):
        plot_terms(table[table["quantity"] != "E dW"])
    with pytest.raises(RecordError, match="lacks the quantities"):
        plot_terms(table.drop(columns="low"))
    with pytest.raises(RecordError, match="no cls of the table has a value"):
        plot_terms(table[table["cls"] == "tree"])
