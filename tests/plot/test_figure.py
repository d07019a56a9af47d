import gc
import sys
import weakref

import pytest
from IPython.core.interactiveshell import InteractiveShell

from offseg_viz.plot import StaticFigure, plot_map

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def figure(offset_record):
    return plot_map(offset_record["label"], over=offset_record, title="label")


@pytest.fixture(params=["plain", "inline"])
def formatter(request, monkeypatch):
    """The display formatter of a shell, without and with the backend that JupyterLab uses."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the shell puts its own module there
    shell = InteractiveShell()
    if request.param == "inline":
        from matplotlib_inline.backend_inline import configure_inline_support

        configure_inline_support(shell, "module://matplotlib_inline.backend_inline")
    yield shell.display_formatter
    shell.reset(new_session=False)


def test_a_cell_stores_one_picture_and_the_summary(figure, formatter):
    bundle, _ = formatter.format(figure)
    assert set(bundle) == {"image/png", "text/plain"}
    assert bundle["text/plain"] == figure.summary == repr(figure) == str(figure)
    picture = bundle["image/png"]
    if isinstance(picture, str):  # the inline backend encodes at once
        import base64

        picture = base64.b64decode(picture)
    assert picture.startswith(PNG)


def test_pyplot_does_not_hold_or_show_it(figure):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_nothing_keeps_a_figure_alive():
    figure = StaticFigure("empty", figsize=(1, 1))
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None


def test_the_same_figure_gives_the_same_bytes(offset_record):
    first, second = (plot_map(offset_record["label"], over=offset_record).png() for _ in range(2))
    assert first == second and first.startswith(PNG)


def test_the_users_settings_are_left_alone(offset_record):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_map(offset_record["label"], over=offset_record).png()
    assert dict(mpl.rcParams) == before
