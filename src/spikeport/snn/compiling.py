"""How the engine's functions are compiled.

Without Python's lock and without reference counting (its atomic operations would cost as much as a step; so they must
not allocate), with NumPy's division. `_nrt` is an option of numba that its types do not name, hence Any.
"""

from __future__ import annotations

from typing import Any

from numba import njit

_njit: Any = njit
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}

compiled: Any = _njit(**_OPTIONS)
inlined: Any = _njit(inline="always", **_OPTIONS)
cached: Any = _njit(cache=True, **_OPTIONS)  # an entry point: its machine code is kept between runs
