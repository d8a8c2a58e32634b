"""How the engine's functions are compiled.

Without Python's lock and without reference counting (its atomic operations would cost as much as a step; so they must
not allocate), with NumPy's division. `_nrt` is an option of numba that its types do not name, hence Any.
"""

from __future__ import annotations

from typing import Any

import numba.core.cgutils
import numba.np.arrayobj
from numba import njit, types
from numba.extending import intrinsic

_njit: Any = njit
_cgutils: Any = numba.core.cgutils
_arrayobj: Any = numba.np.arrayobj
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}

compiled: Any = _njit(**_OPTIONS)
inlined: Any = _njit(inline="always", **_OPTIONS)
cached: Any = _njit(cache=True, **_OPTIONS)  # an entry point: its machine code is kept between runs
# an entry point for calls of microseconds: it keeps Python's lock, because taking it back may take milliseconds
streamed: Any = _njit(cache=True, **(_OPTIONS | {"nogil": False}))


def _view(typing: Any, address: Any, shape: Any, one: Any) -> Any:
    """See `view`, below."""
    signature = types.Array(one, len(shape), "C")(address, shape, one)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.return_type
        item = context.get_data_type(kind.dtype)
        size = context.get_constant(types.intp, context.get_abi_sizeof(item))
        sizes = _cgutils.unpack_tuple(builder, arguments[1], kind.ndim)
        strides = [size]
        for n in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], n))
        array = _arrayobj.make_array(kind)(context, builder)
        data = builder.inttoptr(arguments[0], item.as_pointer())
        _arrayobj.populate_array(array, data=data, shape=sizes, strides=strides, itemsize=size, meminfo=None)
        return array._getvalue()

    return signature, generate


# view(address, shape, one): the C-contiguous array of `shape` that lies at `address`, of the type of `one`; nothing
# keeps it alive. numba.carray would do the same, but not without reference counting.
view: Any = intrinsic(_view)


def _trailing_zeros(typing: Any, word: Any) -> Any:
    """See below."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], _cgutils.true_bit)

    return types.uint64(types.uint64), generate


# trailing_zeros(word): the place of the lowest bit of a uint64 that has one.
trailing_zeros: Any = intrinsic(_trailing_zeros)
