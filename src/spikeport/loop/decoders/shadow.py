"""A second decoder in the shadow of the first: fed the same, compared tick by tick, never heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeport.loop.packets import Array
from spikeport.loop.ports import Decoder
from spikeport.snn.errors import SpikeportError


class Comparison:
    """Two streams of outputs side by side, per output, in constant memory.

    With a, b the outputs of tick k = 1..n and m, C their running means and co-moments (Welford 1962, Technometrics
    4(3): each new value adds (a - m_a[k-1]) (b - m_b[k])):
        rms = sqrt(sum (a - b)^2 / n)       largest = max |a - b|       correlation = C_ab / sqrt(C_aa C_bb)
    A correlation is NaN where one of the two does not vary.
    """

    def __init__(self, n_outputs: int) -> None:
        self.n = 0
        self._m_a, self._m_b, self._c_aa, self._c_bb, self._c_ab, self._squares, self.largest, self.largest_at = (
            np.zeros(n_outputs) for _ in range(8)
        )

    def add(self, a: Array, b: Array, t: float) -> None:
        self.n += 1
        da, db = a - self._m_a, b - self._m_b
        self._m_a += da / self.n
        self._m_b += db / self.n
        self._c_aa += da * (a - self._m_a)
        self._c_bb += db * (b - self._m_b)
        self._c_ab += da * (b - self._m_b)
        difference = np.abs(a - b)
        self._squares += difference**2
        larger = difference > self.largest
        self.largest[larger] = difference[larger]
        self.largest_at[larger] = t

    @property
    def rms(self) -> Array:
        return np.asarray(np.sqrt(self._squares / max(self.n, 1)))

    @property
    def correlation(self) -> Array:
        spread = np.sqrt(self._c_aa * self._c_bb)
        return np.asarray(np.divide(self._c_ab, spread, out=np.full_like(spread, np.nan), where=spread > 0))

    def as_dict(self) -> dict[str, Any]:
        """NaN becomes None, as JSON has none."""
        correlation = [None if np.isnan(c) else float(c) for c in self.correlation]
        return {
            "n": self.n,
            "rms": self.rms.tolist(),
            "largest": self.largest.tolist(),
            "largest_at": self.largest_at.tolist(),
            "correlation": correlation,
        }


class Shadow:
    """`decoder` answers; `shadow` (a rate network, say) runs on the same samples and is compared with it.

    The shadow's step is taken by settle(), which the loop calls when the output is out, so it costs no latency; where
    nobody calls it, the next step does. A shadow that fails is switched off, and the record and report() say why and
    when: it must not stop what it shadows.
    """

    def __init__(self, decoder: Decoder, shadow: Decoder) -> None:
        problems = [
            f"{name}: {getattr(decoder, name)} of the decoder, {getattr(shadow, name)} of its shadow"
            for name in ("n_inputs", "n_outputs")
            if getattr(decoder, name) != getattr(shadow, name)
        ]
        if problems:
            raise SpikeportError("shadow: the two decoders do not fit", problems)
        self.decoder, self.shadow = decoder, shadow
        self.n_inputs, self.n_outputs, self.period = decoder.n_inputs, decoder.n_outputs, decoder.period
        self.failure, self._told = "", False
        self._events, self._answer = np.zeros(self.n_inputs), np.zeros(self.n_outputs)
        self._clear()

    def _clear(self) -> None:
        self.comparison = Comparison(self.n_outputs)
        self._due: float | None = None
        self._nothing_came = False

    def reset(self, dataset_tags: Sequence[Path | str] = ()) -> None:
        self.decoder.reset(dataset_tags)
        self.shadow.reset(dataset_tags)
        self.failure, self._told = "", False
        self._clear()

    def predict(self, neural_observations: ArrayLike) -> NDArray[np.floating]:
        """Both, at once; compared row by row, the time being the number of rows so far."""
        found = self.decoder.predict(neural_observations)
        if not self.failure:
            try:
                other = self.shadow.predict(neural_observations)
                for a, b in zip(found, other, strict=True):
                    self.comparison.add(a, b, float(self.comparison.n))
            except Exception as error:
                self._fail(error)
        return found

    def observe(self, neural_observations: ArrayLike) -> None:
        self.predict(neural_observations)

    def on_done(self, dones: ArrayLike) -> None:
        self.decoder.on_done(dones)
        if not self.failure:
            self.shadow.on_done(dones)

    def step(self, events: ArrayLike | None, t: float) -> Array:
        self.settle()
        found = self.decoder.step(events, t)
        self._nothing_came = events is None
        if events is not None:
            self._events[:] = events
        self._answer[:] = found
        self._due = t
        return found

    def settle(self) -> None:
        """The shadow's part of the last step."""
        t, self._due = self._due, None
        if t is None or self.failure:
            return
        try:
            other = self.shadow.step(None if self._nothing_came else self._events, t)
            self.comparison.add(self._answer, other, t)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = f"after {self.comparison.n} comparisons: {type(error).__name__}: {error}"

    def refuses(self, values: Array) -> str:
        """Why a sample cannot be decoded; the decoder's reason, "" where it has none."""
        ask = getattr(self.decoder, "refuses", None)
        return ask(values) if ask is not None else ""

    def snapshot(self) -> Any:
        """The state of both; the comparison goes on counting."""
        self.settle()
        return self.decoder.snapshot(), self.shadow.snapshot()

    def restore(self, state: Any) -> None:
        self._due = None
        self.decoder.restore(state[0])
        self.shadow.restore(state[1])

    def describe(self) -> Mapping[str, Any]:
        return {**self.decoder.describe(), "shadow": self.shadow.describe()}

    def notes(self) -> list[tuple[str, dict[str, Any]]]:
        """For the record, once: that it was switched off, and why."""
        if not self.failure or self._told:
            return []
        self._told = True
        return [("shadow failed", {"reason": self.failure})]

    def report(self) -> dict[str, Any]:
        """What the comparison found; the loop puts it into its summary."""
        self.settle()
        return {"shadow": self.comparison.as_dict(), "shadow_failure": self.failure or None}
