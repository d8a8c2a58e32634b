"""Brian2: runs a network in it, step for step as the reference; and writes it as a script."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.drive import Inputs, resolve
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording, SpikeTrains, join
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions, approximated
from spikeport.targets.capabilities import Capabilities, Problem, check
from spikeport.targets.feed import Feed, feed, read_out

CODEGEN = ("numpy", "cython", "cpp_standalone")
MOST_SYNAPSES = 4_000_000  # in one network: about 100 bytes each in Brian2; more trials run one part after another


_CAPABILITIES = Capabilities(
    readouts=None,  # a run computes outputs from Brian2's spikes; a script has the filters itself
    dtypes=("float64",),  # core.default_float_dtype has float32 too, which is not tested here
    source="Brian2 2.9: abstract code, schedules and counters of steps say every part of a step; all of it is tested",
)


@dataclass(frozen=True, kw_only=True)
class Brian2:
    """Brian2 takes every network as it is: its statements, thresholds, resets, synapses and schedule say each step."""

    name: str = "brian2"
    summary: str = "Brian2, the simulator for equations: runs networks, and writes readable scripts"
    extra: str = "brian2"
    requires: tuple[str, ...] = ("brian2",)
    suffix: str = ".py"
    beside: tuple[str, ...] = (".weights.npz",)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"codegen": CODEGEN})
    capabilities: Capabilities = _CAPABILITIES

    def problems(self, network: SpikingNetwork, **choices: str) -> tuple[Problem, ...]:
        return check(network, self.capabilities)

    def lower(self, network: SpikingNetwork, *, allow: Collection[str] = (), **choices: str) -> Lowering:
        lowered, losses = approximated(self, network, allow, **choices)
        settings = {"codegen": choices.get("codegen", CODEGEN[0])}
        return Lowering(target=self.name, source=network, network=lowered, losses=losses, settings=settings)

    def run(self, lowering: Lowering, inputs: Inputs | None, options: RunOptions) -> Recording:
        """All trials at once, or in parts where they would take too much memory."""
        _check_options(self, lowering, options)
        fed = feed(lowering, inputs, options)
        size = sum(int(np.count_nonzero(j.weight)) for j in lowering.network.projections)
        most = max(1, MOST_SYNAPSES // max(1, size))
        if fed.n_batch <= most:
            return _run(lowering, fed)
        starts = range(0, fed.n_batch, most)
        return join([_run(lowering, _part(fed, b, min(b + most, fed.n_batch))) for b in starts])

    def export(self, lowering: Lowering, path: Path, *, overwrite: bool = False) -> Path:
        """A script that a Brian2 user can read and change, and a .npz with its arrays beside it."""
        from spikeport.targets.brian2.script import export

        return export(lowering, path, overwrite)


def _check_options(target: Brian2, lowering: Lowering, options: RunOptions) -> None:
    network = lowering.source
    known = [f"{p.name}.{what}" for p in network.populations for what in ("v", *p.synapses)]
    problems = [
        f"record: no trace {name}; there are {', '.join(known)}" for name in options.record if name not in known
    ]
    if options.dtype not in target.capabilities.dtypes:
        problems.append(f"dtype '{options.dtype}': has {', '.join(target.capabilities.dtypes)}")
    if options.device not in target.capabilities.devices:
        problems.append(f"device '{options.device}': has {', '.join(target.capabilities.devices)}")
    if problems:
        raise SpikeportError("brian2: cannot run it so", problems)


def _part(fed: Feed, b0: int, b1: int) -> Feed:
    """Trials b0 .. b1 - 1 of a run; their noise and v0 are those of the whole run."""
    inputs: dict[str, Any] = {name: values[:, b0:b1] for name, values in fed.drive.held.items()}
    for name, trains in fed.drive.spikes.items():
        mine = (trains.batch >= b0) & (trains.batch < b1)
        shape = (trains.shape[0], b1 - b0, trains.shape[2])
        inputs[name] = SpikeTrains.build(
            trains.step[mine], trains.batch[mine] - b0, trains.neuron[mine], shape, trains.count[mine]
        )
    given = fed.options.noise_values
    options = replace(
        fed.options, n_steps=fed.n_steps, n_batch=b1 - b0, first_trial=fed.options.first_trial + b0, v0=None,
        noise_values=None if given is None else {name: values[:, b0:b1] for name, values in given.items()},
    )  # fmt: skip
    drive = resolve(fed.lowering.source, inputs, fed.n_steps, b1 - b0)
    return replace(fed, drive=drive, options=options, v0={name: v[b0:b1] for name, v in fed.v0.items()})


def _run(lowering: Lowering, fed: Feed) -> Recording:
    from spikeport.targets.brian2 import feeding, session, simulate

    codegen, network = lowering.settings["codegen"], lowering.network
    shapes = {p.name: (fed.n_steps, fed.n_batch, p.n) for p in network.populations}
    with tempfile.TemporaryDirectory(prefix="spikeport_brian2_") as folder, session.session(codegen) as brian2:
        built, clock = simulate.build(brian2, fed, frozenset(fed.options.record))
        if codegen == session.STANDALONE:
            feeding.tabulate(brian2, built, fed, clock)
        else:
            call = brian2.NetworkOperation(feeding.Feeder(built, fed), clock=clock, when=simulate.START)
            built.others.append(call)
        net = brian2.Network(built.objects())
        net.schedule = simulate.schedule(built)
        net.run(fed.n_steps * network.dt * brian2.second, namespace={})
        if codegen == session.STANDALONE:
            session.build(brian2, Path(folder))
        spikes = {name: simulate.spike_trains(m, shapes[name], network.dt) for name, m in built.spikes.items()}
        traces = {name: simulate.trace(built, name, shapes[name.rsplit(".", 1)[0]]) for name in fed.options.record}
    recording = Recording(
        dt=network.dt, n_steps=fed.n_steps, n_batch=fed.n_batch, spikes=spikes,
        outputs=read_out(network, spikes), traces=traces,
    )  # fmt: skip
    return lowering.invert(recording)


BRIAN2 = Brian2()
