"""Running a graph with ONNX Runtime on the CPU, in blocks of steps, so that a long run needs little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import Feed, feed
from spikeport.targets.onnx.forms import TICKS, TIME, TIME_OR_1, Form
from spikeport.targets.onnx.graph import BOOL
from spikeport.targets.onnx.model import to_model
from spikeport.targets.onnx.network import network_form
from spikeport.targets.onnx.step import INPUT, NOISE, OUTPUT, SPIKES, TRACE, Key, State

if TYPE_CHECKING:
    import onnx
    import onnxruntime

BLOCK_BYTES = 2**26  # of inputs and outputs at a time: 64 MiB
LONGEST = 2048  # steps of a block: a longer one is no faster


def run_graph(lowering: Lowering, inputs: Inputs | None, options: RunOptions, form: str) -> Recording:
    """Run the lowered network; form: "sequence" for blocks of many steps, "step" for one call a step."""
    network = lowering.network
    _check_record(network, options)
    given = feed(lowering, inputs, options)
    noise = [p.name for p in network.populations if given.noisy(p.name)]
    graph = network_form(network, form, options.dtype, noise=noise, traces=options.record)
    found = _Results(network, options, given)
    for k0, results in blocks(session(to_model(graph.graph, {})), graph, given, form, options.dtype):
        found.add(k0, results)
    return lowering.invert(found.recording())


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A CPU session that computes alike every time."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    # one thread: a step is many small operations, and waking another thread for each costs more than it saves; and a
    # product cut into pieces would be summed in another order
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def blocks(
    on: onnxruntime.InferenceSession, form: Form, given: Feed, kind: str, dtype: str
) -> Iterator[tuple[int, dict[Key, NDArray[Any]]]]:
    """(first row, what was asked for -> (steps, batch, n)) of each block, states carried on from one to the next."""
    states = {s.before.name: _start(s, given, dtype) for s in form.states}
    wanted = [*form.shown.values(), *(s.after.name for s in form.states)]
    length = 1 if kind == "step" else block_length(form, given)
    for k0 in range(0, given.n_steps, length):
        k1 = min(k0 + length, given.n_steps)
        fed = _fed(form, given, k0, k1, dtype)
        if kind == "step":
            fed = {name: values[0] for name, values in fed.items()}
        found = dict(zip(wanted, on.run(wanted, fed | states), strict=True))
        states = {s.before.name: found[s.after.name] for s in form.states}
        results = {key: found[name] for key, name in form.shown.items()}
        yield k0, {key: values[None] for key, values in results.items()} if kind == "step" else results


def block_length(form: Form, given: Feed) -> int:
    """Steps at a time, such that inputs and outputs stay within BLOCK_BYTES."""
    over_time = [v for v in (*form.graph.inputs, *form.graph.outputs) if v.shape[0] in (TIME, TIME_OR_1)]
    sizes = [v.shape[-1] * (1 if v.kind == BOOL else 8) for v in over_time if isinstance(v.shape[-1], int)]
    return max(1, min(LONGEST, BLOCK_BYTES // max(1, sum(sizes) * given.n_batch)))


def _fed(form: Form, given: Feed, k0: int, k1: int, dtype: str) -> dict[str, NDArray[Any]]:
    values = {(INPUT, name): found for name, found in given.inputs(k0, k1).items()}
    values |= {(NOISE, name): given.noise(name, k0, k1) for kind, name in form.given if kind == NOISE}
    found: dict[str, NDArray[Any]] = {form.given[key]: v.astype(dtype, copy=False) for key, v in values.items()}
    if TICKS in form.given:
        found[form.given[TICKS]] = np.ones((k1 - k0, given.n_batch), dtype=np.bool_)
    return found


def _start(state: State, given: Feed, dtype: str) -> NDArray[Any]:
    """A state at the start: v from the feed, the others as the network says."""
    if state.v_of:
        return np.asarray(given.v0[state.v_of], dtype=dtype)
    assert state.initial is not None
    one = np.expand_dims(state.initial, state.axis)
    values = np.repeat(one, given.n_batch, axis=state.axis)
    return values.astype(dtype) if state.initial.dtype.kind == "f" else values


class _Results:
    """What the blocks give, put together."""

    def __init__(self, network: SpikingNetwork, options: RunOptions, given: Feed) -> None:
        self.network, self.steps, self.batch = network, given.n_steps, given.n_batch
        self.spikes: dict[str, list[NDArray[np.int32]]] = {p.name: [] for p in network.populations}
        shape = (given.n_steps, given.n_batch)
        self.outputs: dict[str, NDArray[Any]] = {
            r.name: np.empty((*shape, r.weight.shape[0]), options.dtype) for r in network.readouts
        }
        self.traces: dict[str, NDArray[Any]] = {
            name: np.empty((*shape, n), options.dtype) for name, n in _traces(network).items() if name in options.record
        }

    def add(self, k0: int, block: Mapping[Key, NDArray[Any]]) -> None:
        for name, found in self.spikes.items():
            columns = np.array(np.nonzero(block[SPIKES, name]), dtype=np.int32)
            columns[0] += k0
            found.append(columns)
        for kind, found_here in ((OUTPUT, self.outputs), (TRACE, self.traces)):
            for name, values in found_here.items():
                rows = block[kind, name]
                values[k0 : k0 + rows.shape[0]] = rows

    def recording(self) -> Recording:
        spikes = {}
        for p in self.network.populations:
            none = np.zeros((3, 0), dtype=np.int32)
            step, batch, unit = np.concatenate([none, *self.spikes[p.name]], axis=1)
            shape = (self.steps, self.batch, p.n)
            spikes[p.name] = SpikeTrains(step=step, batch=batch, neuron=unit, count=np.ones_like(step), shape=shape)
        return Recording(dt=self.network.dt, n_steps=self.steps, n_batch=self.batch, spikes=spikes,
                         outputs=self.outputs, traces=self.traces)  # fmt: skip


def _traces(network: SpikingNetwork) -> dict[str, int]:
    """Every trace that there is -> how many units it has."""
    return {f"{p.name}.{what}": p.n for p in network.populations for what in ("v", *p.synapses)}


def _check_record(network: SpikingNetwork, options: RunOptions) -> None:
    known = _traces(network)
    unknown = [name for name in options.record if name not in known]
    if unknown:
        raise SpikeportError(f"record: no trace {', '.join(unknown)}", [f"this network has: {', '.join(known)}"])
