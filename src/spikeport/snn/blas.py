"""One thread for small matrix products: two that wait for each other are slower, several times on a busy machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    """Of the libraries that are loaded now, NumPy's BLAS among them; looking for them takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def single_threaded() -> Iterator[None]:
    """NumPy's BLAS on one thread: the same result on any machine with the same BLAS, whatever its cores."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
