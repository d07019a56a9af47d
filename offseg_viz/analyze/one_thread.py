"""Small matrix products in one thread: for those that follow the mouse while a browser draws on the other cores."""

from contextlib import AbstractContextManager
from functools import cache


def one_thread() -> AbstractContextManager:
    """Within the ``with``, BLAS uses the calling thread alone.

    A product that takes a millisecond gains nothing from a second thread, and where the other core is busy it waits for
    it: with the browser of `benchmarks/explorers.py` beside it a click takes twice as long.
    """
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller():
    from threadpoolctl import ThreadpoolController  # it looks at all loaded libraries, so when first needed

    return ThreadpoolController()
