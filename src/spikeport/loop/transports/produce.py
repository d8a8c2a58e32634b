"""A producer in a process of its own: sends a recording, sample after sample, at a rate.

    python -m spikeport.loop.transports.produce udp 127.0.0.1:5000 --file samples.npy --rate 1000
    python -m spikeport.loop.transports.produce zmq-pub tcp://127.0.0.1:5556 --count 4 --rate 1000 --n 10000
    python -m spikeport.loop.transports.produce lsl my-amplifier --file trials.h5 --rate 200 --n 1000
    python -m spikeport.loop.transports.produce redis 127.0.0.1:6379/binned_spikes --count 4 --rate 1000 --n 10000

It prints a line of JSON when it is there ("address") and one when it is done ("sent", "dropped").
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from spikeport.loop.clocks import WallClock
from spikeport.loop.packets import NS, Array
from spikeport.loop.transports.base import Sender
from spikeport.snn.errors import SpikeportError


def recording(path: str) -> Array:
    """(n_samples, n_channels) of a .npy file, or the trials of a file of trials, one after the other."""
    if path.endswith(".npy"):
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SpikeportError(f"{path}: cannot be read as .npy: {error}") from None
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiub":
            raise SpikeportError(
                f"{path}: {values.dtype} of shape {values.shape}, must be numbers (n_samples, n_channels)"
            )
        return np.asarray(values, dtype=np.float64)
    from spikeport.snn.tasks.trial_files import load_trials

    inputs = load_trials(path).inputs
    return np.ascontiguousarray(inputs.swapaxes(0, 1).reshape(-1, inputs.shape[2]), dtype=np.float64)


def counting(n_channels: int, n: int = 1000) -> Array:
    """(n, n_channels): channel j of sample i is i + j / 1000."""
    return np.arange(float(n))[:, None] + np.arange(n_channels) / 1000


def produce(
    sender: Sender,
    values: Array,
    *,
    rate: float,
    n: int | None = None,
    first: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, int]:
    """Send values (n_samples, n_channels) over and over, n samples in all (default: once), `rate` a second.

    rate 0: one after the other, as fast as it goes. first: the number of the first.
    """
    total, clock = len(values) if n is None else n, WallClock()
    counts = {"sent": 0, "dropped": 0}
    period, start = (NS / rate if rate > 0 else 0.0), clock.now_ns()
    for i in range(total):
        if stop():
            break
        if period:
            clock.wait_until(start + round(i * period))
        taken = sender.send(values[i % len(values)], seq=first + i, source_ns=clock.now_ns())
        counts["sent" if taken else "dropped"] += 1
    return counts


def make_sender(transport: str, where: str, n_channels: int, rate: float) -> tuple[Sender, str]:
    """(the sender, its address)."""
    if transport == "udp":
        from spikeport.loop.transports.udp import UdpSender

        return UdpSender(where), where
    if transport in ("zmq-pub", "zmq-push"):
        from spikeport.loop.transports.zmq import ZmqSender

        sender = ZmqSender(transport.removeprefix("zmq-"), bind=where)
        return sender, sender.address
    if transport == "lsl":
        from spikeport.loop.transports.lsl import SequenceOutlet

        return SequenceOutlet(where, n_channels, rate=rate, source_id=where), where
    from spikeport.loop.transports.redis import RedisSender

    address, _, stream = where.partition("/")
    return RedisSender(address, stream), where


TRANSPORTS = ("udp", "zmq-pub", "zmq-push", "lsl", "redis")


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="produce", description="Send a recording at a rate.")
    parser.add_argument("transport", choices=TRANSPORTS)
    parser.add_argument("where", help="host:port, an endpoint to bind, a stream's name, or host:port/stream")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", help=".npy (n_samples, n_channels), or a file of trials")
    what.add_argument("--count", type=int, metavar="N_CHANNELS", help="counting samples instead of a recording")
    parser.add_argument("--rate", type=float, required=True, help="samples a second; 0: as fast as it goes")
    parser.add_argument("--n", type=int, help="samples in all; default: the recording once")
    parser.add_argument("--first", type=int, default=0, help="number of the first sample")
    parser.add_argument("--wait", type=float, default=30.0, help="s to wait for a listener; default 30")
    parser.add_argument("--linger", type=float, default=0.0, help="s to stay after the last sample")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> int:
    """The exit status."""
    asked = _arguments(given)
    try:
        values = counting(asked.count) if asked.file is None else recording(asked.file)
        sender, address = make_sender(asked.transport, asked.where, values.shape[1], asked.rate)
    except SpikeportError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        print(json.dumps({"address": address, "pid": os.getpid()}), flush=True)
        if not sender.ready(asked.wait):
            print(f"{asked.transport}: nobody listens at {address} after {asked.wait:g} s", file=sys.stderr)
            return 1
        counts = produce(sender, values, rate=asked.rate, n=asked.n, first=asked.first)
        print(json.dumps(counts), flush=True)
        time.sleep(asked.linger)
    except KeyboardInterrupt:
        return 130
    finally:
        sender.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
