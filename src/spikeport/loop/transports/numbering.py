"""Numbers for packets whose transport gives them none: from a count that the sender put in, or from their stamps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np

from spikeport.snn.errors import SpikeportError

LIMIT = 2**62  # numbers are below it, and stamps (ns) within it, so that a difference fits into a record's 64 bits
COUNTS = ("uint8", "uint16", "uint32", "uint64", "int32", "int64")
GAIN = 0.05  # of the filter that follows the sender's clock, a sample: it settles within some 20
DOUBTFUL = 0.25  # periods that a stamp may be off before the number inferred from it is counted as doubtful


class Counter:
    """Numbers of entries from a field: "i", "timestamps", or "sync.label" for a label of the JSON in `sync`.

    With step 1 the number is the count itself, else (count - first) / step. A binary count may run over: differences
    are taken modulo 2^bits. A count that is not a whole number of steps on is rounded, and noted.
    """

    def __init__(self, name: str, dtype: str = "uint64", step: int = 1) -> None:
        if dtype not in COUNTS or isinstance(step, bool) or not isinstance(step, int) or step < 1:
            raise SpikeportError(
                f"redis counter {name!r:.40}: dtype {dtype!r:.40}, step {step!r:.40}, must be one of "
                f"{', '.join(COUNTS)} and a whole number, 1 or more"
            )
        field, dot, label = name.partition(".")
        self.name, self.step, self._field, self._label = name, step, field.encode(), label if dot else ""
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._last: int | None = None
        self._number = 0

    def reset(self) -> None:
        self._last = None

    def read(self, fields: Mapping[bytes, bytes]) -> int:
        """The count in an entry; ValueError where there is none."""
        data = fields[self._field]
        if not self._label:
            return int(np.frombuffer(data, self.dtype)[0])
        value = json.loads(data)[self._label]
        if type(value) is not int:
            raise ValueError("no whole number")
        if value.bit_length() > 64:
            raise ValueError(f"a count of {value.bit_length()} bits")
        return value

    def number(self, count: int) -> tuple[int, str]:
        """(number, "" or what is odd about it). ValueError for one that cannot be; it is then as if it had not come."""
        odd = ""
        if self._last is None:
            number = count if self.step == 1 else 0
        else:
            change = count - self._last
            if not self._label:
                modulus = 1 << (8 * self.dtype.itemsize)
                change = (change + modulus // 2) % modulus - modulus // 2
            steps = (2 * change + self.step) // (2 * self.step)
            number, odd = self._number + steps, "" if steps * self.step == change else "off its steps"
            if number < 0:
                number, odd = 0, "began again"
        if not 0 <= number < LIMIT:
            raise ValueError(f"number {number}, must be from 0 to 2^62")
        self._last, self._number = count, number
        return number, odd


class Inferred:
    """Numbers of samples from their stamps t, at a nominal `rate` (1/s); 0 for the first.

        k = max(1, round((t - p) rate))      number += k      p += k / rate      p += (1 - (1 - GAIN)^k) (t - p)

    p is where the last stamp should have been; it follows a sender whose rate is not quite the nominal one. Right where
    stamps jitter by less than 0.2 periods, the rate is off by less than 0.1 %, and no gap is longer than 50 samples.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._at, self.number = rate, math.nan, -1
        self.worst = 0.0  # |t - p| after the step, in periods
        self.doubtful = 0

    def next(self, t: float) -> int:
        """The number of the sample with stamp `t` (s)."""
        if self.number < 0:
            self._at, self.number = t, 0
            return 0
        k = max(1, round((t - self._at) * self._rate))
        self.number += k
        self._at += k / self._rate
        off = abs(t - self._at) * self._rate
        self.worst = max(self.worst, off)
        self.doubtful += off > DOUBTFUL
        self._at += (1 - (1 - GAIN) ** k) * (t - self._at)
        return self.number
