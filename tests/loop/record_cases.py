"""A tiny loop for the tests of the record: a deterministic decoder, and the outputs and events that it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikeport.loop.packets import CAUSES, NS, Array, Output
from spikeport.loop.record.reader import Event, RecordReader, Tick
from spikeport.loop.record.writer import FileRecorder, MemoryRecorder, Recording

PERIOD = 1_000_000  # ns
HEADER = {
    "decoder": {"kind": "leaky", "network": "ab" * 32},
    "period_ns": PERIOD,
    "seed": 3,
    "clock": {"kind": "virtual"},
}


class Leaky:
    """tau y' = -y + w u, exactly, for u held since the last step: 3 inputs, 2 outputs."""

    n_inputs, n_outputs, period = 3, 2, PERIOD * 1e-9

    def __init__(self, tau: float = 0.02, network: str = "ab" * 32) -> None:
        self.tau, self.network = tau, network
        self.w = np.array([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4]])
        self.reset()

    def reset(self, dataset_tags: Any = ()) -> None:
        self.y, self.u, self.t = np.zeros(2), np.zeros(3), 0.0

    def step(self, events: ArrayLike | None, t: float) -> Array:
        if events is not None:
            self.u = np.array(events)
        decay = np.exp(-(t - self.t) / self.tau)
        self.y = decay * self.y + (1 - decay) * (self.w @ self.u)
        self.t = t
        return self.y

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "leaky", "network": self.network}

    def predict(self, neural_observations: ArrayLike) -> Array:
        raise NotImplementedError

    def observe(self, neural_observations: ArrayLike) -> None:
        raise NotImplementedError

    def on_done(self, dones: ArrayLike) -> None:
        raise NotImplementedError

    def snapshot(self) -> Any:
        return self.y.copy(), self.u.copy(), self.t

    def restore(self, state: Any) -> None:
        self.y, self.u, self.t = state[0].copy(), state[1].copy(), state[2]


Line = tuple[Output, int, Array] | tuple[str, int, dict[str, Any]]  # a tick and its stamp and inputs, or an event


def lines(n: int, seed: int = 0, lost: float = 0.1) -> Iterator[Line]:
    """n ticks of a Leaky as the loop records them; `lost` of the packets are held, skipped or lost with the stream."""
    rng = np.random.default_rng(seed)
    decoder, held, last = Leaky(), np.zeros(3), np.zeros(2)
    for k in range(n):
        due = (k + 1) * PERIOD
        cause = "fresh" if k == 0 or rng.random() > lost else str(rng.choice(["held", "skipped", "stream lost"]))
        if cause != "fresh":
            yield "gap", due, {"first": k, "last": k, "cause": cause}
        held = rng.standard_normal(3) if cause == "fresh" else held
        skipped, safe, fresh = cause == "skipped", cause == "stream lost", cause == "fresh"
        found = decoder.step(None if skipped else held, (k + 1) * PERIOD / NS)
        last = last if skipped else np.zeros(2) if safe else found.copy()
        output = Output(
            tick=k, seq=k if fresh else -1, values=last, safe=safe, cause=cause,
            deadline_ns=due, source_ns=due - 700_000 if fresh else 0, received_ns=due - 400_000 if fresh else 0,
            start_ns=due + 1000, end_ns=due + 5000,
        )  # fmt: skip
        yield output, 0 if skipped else due + 6000, np.full(3, np.nan) if skipped else held


def feed(recorder: Recording, what: Iterator[Line]) -> None:
    for line in what:
        if isinstance(line[0], Output):
            recorder.tick(line[0], line[1], line[2])  # type: ignore[arg-type]
        else:
            recorder.event(line[0], line[1], **line[2])  # type: ignore[arg-type]


def record_of(n: int, seed: int = 0, lost: float = 0.1, header: Mapping[str, Any] = HEADER) -> bytes:
    """The bytes of a closed record of n ticks."""
    with MemoryRecorder() as recorder:
        recorder.open(header)
        feed(recorder, lines(n, seed, lost))
    return bytes(recorder.data)


def write_record(path: Path, n: int, seed: int = 0) -> Path:
    with FileRecorder(path) as recorder:
        recorder.open(HEADER)
        feed(recorder, lines(n, seed))
    return path


def random_output(rng: np.random.Generator, tick: int, n_out: int) -> Output:
    """An output of any bits: NaN payloads, infinities, stamps over all of 64 bits."""
    stamps = [int(s) for s in rng.integers(-(2**63), 2**63 - 1, 6, endpoint=True)]
    names = ("seq", "deadline_ns", "source_ns", "received_ns", "start_ns", "end_ns")
    values = rng.integers(0, 2**64 - 1, n_out, dtype=np.uint64, endpoint=True).view(np.float64)
    return Output(
        tick=tick, values=values, safe=bool(rng.integers(2)), cause=str(rng.choice(CAUSES)),
        **dict(zip(names, stamps, strict=True)),
    )  # fmt: skip


SMALL = record_of(12, seed=1, lost=0.3)
WHOLE = list(RecordReader(SMALL))


def same_bits(a: Any, b: Any) -> bool:
    return np.asarray(a, dtype="<f8").tobytes() == np.asarray(b, dtype="<f8").tobytes()


def same_item(a: Tick | Event, b: Tick | Event) -> bool:
    if isinstance(a, Event) or isinstance(b, Event):
        return a == b
    alike = all(getattr(a, name) == getattr(b, name) for name in Tick.__slots__ if name not in ("inputs", "outputs"))
    return alike and same_bits(a.inputs, b.inputs) and same_bits(a.outputs, b.outputs)
