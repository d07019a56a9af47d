"""Fixtures of the tests that need JupyterLab and a browser, one of each for the whole session; see `lab`."""

from itertools import count

import lab
import pytest


@pytest.fixture(scope="session")
def lab_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def lab_address(lab_folder):
    """One JupyterLab for all tests of the session."""
    with lab.jupyterlab(lab_folder) as address:
        yield address


@pytest.fixture(scope="session")
def playwright():
    """The one Playwright of the session."""
    with lab.playwright() as started:
        yield started


@pytest.fixture(scope="session")
def window(playwright, lab_folder):
    """One browser for all tests of the session."""
    with lab.browser(playwright, lab_folder) as opened:
        yield opened


_numbers = count()


@pytest.fixture
def open_notebook(lab_address, lab_folder, window):
    """A function (code, records=[]) that opens and runs a notebook in JupyterLab and returns the page."""
    pages = []

    def open_one(cells, records=()):
        name = f"n{next(_numbers)}"
        lab.write_notebook(lab_folder / "work" / name / "look.ipynb", cells, records)
        pages.append(lab.open_page(window, lab_address, f"{name}/look.ipynb"))
        return pages[-1]

    yield open_one
    for page in pages:
        lab.stop_kernel(page)
        page.close()
