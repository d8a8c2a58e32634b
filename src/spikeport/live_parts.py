"""What a loop's file may say: a table of sources, sinks and clocks, each with the names that its Python has.

A new source or sink is one entry of SOURCES or SINKS. tests/loop/test_configuration.py holds the names against the
parameters of the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spikeport.live_guard import STIMULUS
from spikeport.live_subject import FIELDS, cursor, subject
from spikeport.loop.configuration import (
    Field,
    Fields,
    as_it_is,
    flag,
    need,
    number,
    one_of,
    or_null,
    several,
    text,
    whole,
)
from spikeport.loop.guard.limits import SPECS
from spikeport.loop.guard.sink import WHEN_TRIPPED
from spikeport.loop.guard.watchdog import WATCH_SPECS
from spikeport.loop.policies import LOST, OVERLOAD
from spikeport.snn.errors import SpikeportError


@dataclass(frozen=True)
class Given:
    """What a part is made from: its values, the folder of the file, the loop's period (s), and the decoder's sizes.

    source: of a sink, what the same loop has as its source.
    """

    values: dict[str, Any]
    folder: Path
    period: float
    n_inputs: int
    n_outputs: int
    source: Any = None

    def path(self, name: str) -> Path:
        """A path of the file, seen from the file's folder."""
        return self.folder / Path(self.values[name]).expanduser()


Make = Callable[[Given], Any]


@dataclass(frozen=True)
class Part:
    """A kind of source, sink or clock. live: it goes with the time of the world.  needs: (module, package, extra)."""

    fields: Fields
    make: Make
    live: bool = False
    needs: tuple[str, str, str] | None = None

    def missing(self) -> str:
        """The line that brings what is not installed; "" where nothing is missing."""
        if self.needs is None or find_spec(self.needs[0]) is not None:
            return ""
        _, package, extra = self.needs
        return f'needs {package}, which is not installed: pip install "spikeport[{extra}]"'


def _class(module: str, name: str, first: tuple[str, ...] = ()) -> Make:
    """A class, called with the values; `first`: values and sizes that it takes by position."""

    def make(given: Given) -> Any:
        values = dict(given.values)
        sizes = {"n_channels": given.n_inputs, "n_outputs": given.n_outputs}
        positional = [values.pop(n) if n in values else sizes[n] for n in first]
        return getattr(import_module(f"spikeport.loop.{module}"), name)(*positional, **values)

    return make


def _options(*names: str, **more: Field) -> Fields:
    return {**{name: _COMMON[name] for name in names}, **more}


_COMMON: Fields = {  # what several transports have
    "n_channels": Field(whole(1), "channels of a packet; default: the decoder's"),
    "capacity": Field(whole(1), "packets that may wait, then the oldest is given up and counted"),
    "stamps": Field(one_of("auto", "same clock", "least delay"), "how the producer's stamps become ours"),
    "connect": Field(or_null(text), 'endpoint, "tcp://127.0.0.1:5556"'),
    "bind": Field(or_null(text), 'endpoint, "tcp://127.0.0.1:5556"'),
    "when_blocked": need(one_of("drop", "raise"), "drop or raise, where the transport would have to wait"),
    "retry": Field(number(0), "s before a server that was gone is asked again"),
    "timeout": Field(number(above=0), "s that a server may take"),
}
_ZMQ, _LSL, _REDIS = ("zmq", "pyzmq", "zmq"), ("pylsl", "pylsl", "lsl"), ("redis", "redis", "redis")


def _recording(given: Given) -> Any:
    """Trials of a file, or the rows of a .npy."""
    from spikeport.loop.sources.recording import ArraySource, replay_trials
    from spikeport.loop.transports.produce import recording

    values, path = dict(given.values), given.path("file")
    values.pop("file")
    if path.suffix == ".npy":
        wrong = [f"{name}: is for a file of trials, not for .npy" for name in ("trials", "pause") if name in values]
        if wrong:
            raise SpikeportError("recording", wrong)
        return ArraySource(recording(str(path)), name=path.name, **{"period": given.period, **values})
    if "period" in values:
        raise SpikeportError("recording", ["period: a file of trials has its own"])
    return replay_trials(path, **values)


def _redis_source(given: Given) -> Any:
    from spikeport.loop.transports.numbering import Counter
    from spikeport.loop.transports.redis import RedisSource

    values = {"n_channels": given.n_inputs, **given.values}
    counter = values.pop("counter")
    n_channels = values.pop("n_channels")
    return RedisSource(n_channels, counter=None if counter is None else Counter(**counter), **values)


def _counter(value: Any) -> dict[str, Any]:
    """`i`, or {name: sync.label, dtype: uint64, step: 1}."""
    found = {"name": value} if isinstance(value, str) else value
    if (
        not isinstance(found, Mapping)
        or not isinstance(found.get("name"), str)
        or set(found) - {"name", "dtype", "step"}
    ):
        raise ValueError("must be the name of a field, {name: ..., dtype: ..., step: ...}, or null")
    return dict(found)


def _nothing(given: Given) -> Any:
    from spikeport.loop.sinks.memory import CallSink

    return CallSink(_ignore)


def _ignore(_: object) -> None:
    """Where outputs go that nobody wants."""


SOURCES: dict[str, Part] = {
    "recording": Part(
        {
            "file": need(text, "a .npy (samples, channels), or a file of trials (.h5, .npz)"),
            "period": Field(number(above=0), "s between two rows of a .npy; default: the loop's period"),
            "phase": Field(number(0), "s by which a sample is taken before its tick"),
            "latency": Field(number(0), "s from taken to received"),
            "repeat": Field(or_null(whole(1)), "how often it is played; null: for ever"),
            "capacity": _COMMON["capacity"],
            "trials": Field(several(whole(0)), "which trials of a file of trials; default: all"),
            "pause": Field(number(0), "s of zeros after each trial"),
        },
        _recording,
    ),
    "udp": Part(
        _options(
            "n_channels", "capacity", "stamps",
            bind=need(text, "host:port that producers send to; port 0: the system chooses, and the run says"),
            peer=Field(or_null(text), "the only host that counts; null: any"),
            buffer=Field(whole(1), "bytes that the kernel may hold"),
        ),
        _class("transports.udp", "UdpSource", ("n_channels",)),
        live=True,
    ),
    "zmq": Part(
        _options(
            "n_channels", "connect", "bind", "capacity", "stamps",
            pattern=need(one_of("sub", "pull"), "sub or pull"),
            wait=Field(number(0), "s within which what connects must find its peer; 0: it may come later"),
            high_water=Field(or_null(whole(1)), "messages that ZeroMQ may hold; null: the capacity"),
        ),
        _class("transports.zmq", "ZmqSource", ("n_channels",)),
        live=True, needs=_ZMQ,
    ),
    "lsl": Part(
        _options(
            "n_channels", "capacity",
            stream=need(text, "which stream"),
            sequence=need(one_of("last channel", "inferred"), "where a sample's number comes from"),
            by=Field(one_of("source_id", "name", "type"), "what `stream` is"),
            wait=Field(number(0), "s within which it must be found"),
            buffer=Field(whole(1), "s of samples that the inlet may hold"),
            stamps=Field(one_of("auto", "same clock", "time correction"), "how the producer's stamps become ours"),
        ),
        _class("transports.lsl", "LslSource", ("n_channels",)),
        live=True, needs=_LSL,
    ),
    "redis": Part(
        _options(
            "n_channels", "capacity", "stamps", "timeout", "retry",
            stream=need(text, "which stream"),
            counter=need(or_null(_counter), "the field that counts (i, timestamps, sync.label); null: losses unseen"),
            server=Field(text, "host:port"),
            field=Field(text, "the field of the samples"),
            dtype=Field(text, "type of the samples"),
            time=Field(or_null(text), "the field of the stamp; null: none"),
            time_type=Field(one_of("uint64 ns", "timespec", "float64 s"), "type of the stamp"),
            start=Field(one_of("new", "all"), "new entries, or all that the stream still has"),
        ),
        _redis_source,
        live=True, needs=_REDIS,
    ),
    "subject": Part(FIELDS, lambda given: subject(given.values, given.period)),
}  # fmt: skip

SINKS: dict[str, Part] = {
    "none": Part({}, _nothing),
    "subject": Part({}, lambda given: cursor(given.source)),
    "udp": Part(
        _options("when_blocked", to=need(text, "host:port")),
        _class("transports.udp", "UdpSink", ("to",)),
        live=True,
    ),
    "zmq": Part(
        _options(
            "when_blocked", "connect", "bind",
            pattern=need(one_of("pub", "push"), "pub or push"),
            high_water=Field(whole(1), "messages that may wait"),
            drops=Field(one_of("counted", "silent"), "whether a listener without room is noticed"),
        ),
        _class("transports.zmq", "ZmqSink", ("pattern",)),
        live=True, needs=_ZMQ,
    ),
    "lsl": Part(
        {
            "name": need(text, "name of the stream"),
            "source_id": need(text, "its source_id, by which an inlet finds it again"),
            "rate": Field(number(0), "nominal, 1/s; 0: none"),
            "buffer": Field(whole(1), "s of outputs that wait for a consumer"),
            "linger": Field(number(0), "s that close waits for the last output"),
        },
        _class("transports.lsl", "LslSink", ("name", "n_outputs")),
        live=True, needs=_LSL,
    ),
    "redis": Part(
        _options(
            "when_blocked", "timeout", "retry",
            server=need(text, "host:port"),
            stream=need(text, "which stream"),
            label=Field(text, "its label in the field sync"),
            max_entries=Field(whole(1), "entries that the stream keeps"),
        ),
        _class("transports.redis", "RedisSink", ("server", "stream")),
        live=True, needs=_REDIS,
    ),
}  # fmt: skip

PYTHON_ONLY = {  # kind -> what to do instead
    "memory": "MemorySource or MemorySink, in a program",
    "python": "any object with the methods of loop/ports.py, in a program",
    "function": "CallSink(function), in a program",
    "guard": "write a section `guard` beside `sink`",
    "stimulator": "write a section `guard` beside `sink`",
}


def _wall(given: Given) -> Any:
    from spikeport.loop.clocks import RealTime, WallClock

    return WallClock(RealTime(**given.values))


def _costs(value: Any) -> dict[str, Any]:
    read = several(whole(0))
    if not isinstance(value, Mapping):
        raise ValueError("must be operations and their ns: {decode: 20000}")
    return {name: read(ns)[0] if not isinstance(ns, list) else read(ns) for name, ns in value.items()}


CLOCKS: dict[str, Part] = {
    "wall": Part(
        {
            "fifo_priority": Field(or_null(whole(1, 99)), "SCHED_FIFO; null: not asked for"),
            "lock_memory": Field(flag, "mlockall"),
            "cpus": Field(or_null(several(whole(0))), "the cores that the loop may use; null: any"),
            "gc_freeze": Field(flag, "what exists is left out of garbage collections"),
            "spin_ns": Field(whole(0), "ns before a deadline to look at the clock instead of sleeping"),
        },
        _wall,
        live=True,
    ),
    "virtual": Part(
        {
            "start_ns": Field(whole(0), "the time at the start"),
            "costs": Field(_costs, "ns of poll, decode, emit, record: a number, or a list"),
        },
        _class("clocks", "VirtualClock"),
    ),
}

DECODER: Fields = {
    "network": need(text, "a spiking or rate network (.h5, .mat, .npz, .safetensors), or a model (.npz)"),
    "dtype": Field(one_of("float32", "float64"), "of a spiking network's engine"),
    "seed": Field(whole(0), "of the noise"),
    "first_trial": Field(whole(0), "which trial's noise"),
    "with_noise": Field(flag, "the network's own noise"),
    "outputs": Field(one_of("readouts", "spikes"), "of a spiking network: read-outs, or counts of spikes"),
}
AROUND: Fields = {
    "shadow": Field(as_it_is, "a second network, run beside and compared: a file, or the names of `decoder`"),
    "smoothing": Field(text, "a .npz of tau (s), centre and scale: counts are smoothed before"),
}
POLICY: Fields = {
    "lost": need(one_of(*LOST), f"one of {', '.join(LOST)}, where a packet is not there"),
    "overload": need(one_of(*OVERLOAD), f"one of {', '.join(OVERLOAD)}, where the loop cannot keep up"),
    "lost_after": need(whole(1), "ticks without a good packet after which the stream is lost"),
    "good": need(whole(1), "good packets in a row that bring it back"),
    "safe": need(several(number()), "the safe value, a number for each output"),
    "window": Field(whole(0), "ticks by which packets may come out of order"),
    "capacity": Field(whole(1), "packets that may wait"),
    "backlog": Field(whole(0), "packets that may wait beyond a tick's own"),
    "budget": Field(or_null(number(above=0)), "s after its deadline by which a tick must be out; null: one period"),
}
RECORD: Fields = {
    "path": need(text, "a new file, .spklog"),
    "on_loss": need(one_of("count", "stop"), "count or stop, where the disk cannot keep up"),
    "overwrite": Field(flag, "replace a record that exists; a file that is no record is never replaced"),
    "backlog": Field(whole(1), "bytes that the other process may hold"),
    "fsync_s": Field(number(above=0), "s after which the disk must have it"),
    "close_s": Field(number(above=0), "s that the end waits for the last bytes"),
    "cpus": Field(or_null(several(whole(0))), "cores of the other process"),
    "deterministic": Field(flag, "leave out what differs from machine to machine"),
}
GUARD: Fields = {
    "limits": need(as_it_is, f"every one of {', '.join(SPECS)}"),
    "watch": need(as_it_is, f"every one of {', '.join(WATCH_SPECS)}"),
    "stimuli": need(as_it_is, f"what gives a stimulus, a list of {', '.join(STIMULUS)}"),
    "log": need(text, "a new file, .jsonl"),
    "when_tripped": need(one_of(*WHEN_TRIPPED), f"one of {', '.join(WHEN_TRIPPED)}"),
}
TOP: Fields = {
    "period": need(number(above=0), "s of a tick"),
    "floor_ticks": Field(whole(0), "empty ticks before the start, which measure the box's own timer"),
    "decoder": need(as_it_is, "the network"),
    "source": need(as_it_is, f"where packets come from, one of {', '.join(SOURCES)}"),
    "sink": need(as_it_is, f"where outputs go, one of {', '.join(SINKS)}"),
    "clock": need(as_it_is, f"one of {', '.join(CLOCKS)}"),
    "policy": need(as_it_is, "what to do when data are lost or late: lost, overload, lost_after, good, safe"),
    "guard": Field(as_it_is, "limits of a stimulator"),
    "record": Field(as_it_is, "where the record goes"),
}
