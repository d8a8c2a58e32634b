"""Writing a network as a Brian2 script: net.py, which a user can read, run and change, and net.weights.npz."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import SpikeportError, UnsupportedError
from spikeport.snn.spiking import HeldInput, Projection, SpikeInput, Uniform
from spikeport.snn.writing import check_writable, write_whole
from spikeport.targets.base import Lowering, title
from spikeport.targets.brian2 import names, pieces
from spikeport.targets.brian2.equations import GroupText, Parameter, group_text
from spikeport.targets.brian2.names import identifier
from spikeport.targets.tables import PopulationStep, population_steps, readout_steps

FEW = 8  # numbers that may stand in the script itself; more go into the .npz


@dataclass(kw_only=True)
class Script:
    """text, and the arrays that it loads, by name."""

    text: str
    arrays: dict[str, NDArray[Any]]


def export(lowering: Lowering, path: Path, overwrite: bool) -> Path:
    """Write the script to `path` (.py) and its arrays beside it (.weights.npz); both are whole, or neither is there."""
    if path.suffix != ".py":
        raise SpikeportError(
            f"{path}: a Brian2 script, its name must end with .py", hint=f"-o {path.with_suffix('.py')}"
        )
    beside = path.with_suffix(".weights.npz")
    for file in (path, beside):
        check_writable(file, overwrite)
    script = make_script(lowering, path.name)
    buffer = io.BytesIO()
    np.savez(buffer, **script.arrays)  # type: ignore[arg-type] # its stubs take keywords for allow_pickle
    # the script last: one that is there has its arrays
    with write_whole(path, overwrite) as text:
        text.write_text(script.text, encoding="utf-8")
        with write_whole(beside, overwrite) as data:
            data.write_bytes(buffer.getvalue())
    return path


def make_script(lowering: Lowering, filename: str) -> Script:
    """The script of a lowered network, as `filename` will hold it."""
    return _Writer(lowering, filename).script()


class _Writer:
    """The network while it is written: what each part is called."""

    def __init__(self, lowering: Lowering, filename: str) -> None:
        self.lowering, self.network, self.filename = lowering, lowering.network, filename
        self.arrays: dict[str, NDArray[Any]] = {}
        self.steps = population_steps(self.network)
        self.order = {p.name: i for i, p in enumerate(self.steps)}
        self.held = [i for i in self.network.inputs if isinstance(i, HeldInput)]
        self.spiking = [i for i in self.network.inputs if isinstance(i, SpikeInput)]
        self.in_turn = any(j.delay == 0 and j.source in self.order for j in self.network.projections)
        self._check_names()
        self.weights = self._name_weights()
        self.texts = {p.name: self._group(p) for p in self.steps}

    def script(self) -> Script:
        random = any(p.noisy or isinstance(p.population.v0, Uniform) for p in self.steps)
        called = names.harmless(title(self.lowering.source))
        lines = [
            *pieces.heading(called, self.filename, self.network, self.lowering.losses, self.in_turn),
            *pieces.preamble(self.network, self.lowering.settings["codegen"], random),
            *self._parameters(),
            *self._equations(),
            *pieces.helpers(self.in_turn),
            *self._builtin(),
            *self._run(),
            *pieces.MAIN,
        ]
        return Script(text="\n".join(lines) + "\n", arrays=self.arrays)

    # names

    def _check_names(self) -> None:
        """A name is copied into the script, so it must not be able to say anything there."""
        network = self.network
        parts = [*self.order, *(i.name for i in network.inputs), *(r.name for r in network.readouts)]
        found = [*names.unwritable(parts), *names.clashes(parts)]
        for p in network.populations:
            own = [*names.unwritable(p.synapses), *names.clashes(p.synapses)]
            found += [f"population {p.name}: {line}" for line in own]
        if found:
            raise UnsupportedError("brian2: a script cannot name the parts of this network", found, hint="rename them")

    def _name_weights(self) -> dict[int, str]:
        """projection -> the name of its weights."""
        found = dict[int, str]()
        for index, j in enumerate(self.network.projections):
            base = f"w_{identifier(j.source)}_to_{identifier(j.target)}" + (
                f"_{identifier(j.synapse)}" if j.synapse else ""
            )
            used = sum(name == base or name.startswith(f"{base}_nr") for name in found.values())
            found[index] = f"{base}_nr{used + 1}" if used else base
        return found

    def _into(self, target: str) -> Iterator[tuple[int, Projection]]:
        return ((i, j) for i, j in enumerate(self.network.projections) if j.target == target)

    def _is_held(self, j: Projection) -> bool:
        return any(i.name == j.source for i in self.held)

    def _drive(self, index: int) -> str:
        return f"drive_{self.weights[index].removeprefix('w_')}"

    def _group(self, p: PopulationStep) -> GroupText:
        drives: dict[str | None, list[str]] = {}
        for index, j in self._into(p.name):
            if self._is_held(j):
                drives.setdefault(j.synapse, []).append(self._drive(index))
        readouts = [r for r in readout_steps(self.network) if r.readout.source == p.name]
        text = group_text(p, self.network.integrator, drives, readouts)
        taken = [q.name for q in text.parameters]
        twice = [f"population {p.name}: two parameters are {n}" for n in sorted(set(taken)) if taken.count(n) > 1]
        if twice:
            raise UnsupportedError(
                "brian2: a script cannot name the parts of this network", twice, hint="rename synapses"
            )
        return text

    def _array(self, name: str, values: NDArray[Any]) -> str:
        """The text of an array of the script: loaded from the .npz."""
        self.arrays[name] = np.asarray(values)
        return f'data["{name}"]'

    # parameters

    def _parameters(self) -> Iterator[str]:
        yield from pieces.ruler("Parameters: change them here; a number, or an array with one value per unit")
        for p in self.steps:
            yield f"{names.stem(p.name)}_values = {{  # population {p.name}, {p.n} units"
            computed = list[str]()
            for parameter in self.texts[p.name].parameters:
                if parameter.formula:
                    computed.append(self._computed(p, parameter))
                else:
                    value, meaning = self._value(p.name, parameter), pieces.comment(parameter.meaning)
                    yield f'    "{parameter.name}": {value},{meaning}'
            yield "}"
            yield from computed
            v0 = p.population.v0
            if isinstance(v0, Uniform):
                yield f"{names.stem(p.name)}_v0 = ({v0.low!r}, {v0.high!r})  # mV, at the start: uniform between"
            else:
                values = np.broadcast_to(np.asarray(v0, dtype=np.float64), (p.n,))
                yield f"{names.stem(p.name)}_v0 = {self._number(f'{p.name}.v0', values)}  # mV, at the start"
            yield ""
        for index, j in enumerate(self.network.projections):
            unit = "mV" if self._is_held(j) else "mV s"
            text = self._array(self.weights[index], j.weight)
            per = "a unit of the input" if self._is_held(j) else "a spike"
            yield f"{self.weights[index]} = {text}  # {unit} for {per}, {pieces.shape(j.weight)} (to, from)"
        for readout in self.network.readouts:
            name = identifier(readout.name)
            yield f"w_{name} = {self._array(f'w_{name}', readout.weight)}  # read-out, units of the output times s"
            yield f"b_{name} = {self._array(f'b_{name}', readout.bias)}"
        yield ""
        yield ""

    def _value(self, population: str, parameter: Parameter) -> str:
        text = self._number(f"{population}.{parameter.name}", parameter.values)
        return f"{text} * {parameter.unit}" if parameter.unit else text

    def _number(self, name: str, values: NDArray[Any]) -> str:
        """One number where all units agree, a short list, or an array of the .npz."""
        values = np.asarray(values)
        if np.ptp(values) == 0:
            return pieces.number(values[0])
        if values.size <= FEW:
            return f"np.array([{', '.join(pieces.number(v) for v in values)}])"
        return self._array(name, values)

    def _computed(self, p: PopulationStep, parameter: Parameter) -> str:
        values = f"{names.stem(p.name)}_values"
        start, end = parameter.formula.split("{")
        source, rest = end.split("}")
        return f'{values}["{parameter.name}"] = {start}{values}["{source}"]{rest}'

    # equations

    def _equations(self) -> Iterator[str]:
        yield from pieces.ruler("Equations")
        for p in self.steps:
            text = self.texts[p.name]
            yield from pieces.about(p, text, self.network.integrator)
            yield f'{names.stem(p.name)}_equations = """'
            yield from (f"    {line}" for line in text.equations)
            yield from (f"    {q.name} : {q.kind} (constant)" for q in text.parameters if q.kind)
            yield '"""'
            yield ""

    # inputs

    def _builtin(self) -> Iterator[str]:
        yield "def builtin_trial():"
        yield '    """The inputs of a trial, for a first look; give your own as a .npz file."""'
        yield "    return {"
        for port in self.held:
            yield f"        # (samples, channels), a sample every {port.dt * 1e3:g} ms: 1 from sample 50 to 74, else 0"
            yield f'        "{port.name}": np.repeat([0.0, 1.0, 0.0], [50, 25, 125])[:, None] * np.ones({port.n}),'
        for spikes in self.spiking:
            yield "        # (steps, channels): 1 where a channel spikes"
            yield f'        "{spikes.name}": np.random.default_rng(0).random((1000, {spikes.n})) < 0.02,'
        yield "    }"
        yield ""
        yield ""

    # the run

    def _run(self) -> Iterator[str]:
        yield "def run(trial):"
        yield '    """One trial. trial: input -> array, and "v0.POPULATION" -> mV if it is to start there.'
        yield ""
        yield "    Returns population -> (step, unit) of its spikes, and read-out -> (steps, outputs)."
        yield '    """'
        known = [*(i.name for i in self.network.inputs), *(f"v0.{p.name}" for p in self.network.populations)]
        yield f"    unknown = set(trial) - {{{', '.join(f'{chr(34)}{name}{chr(34)}' for name in known)}}}"
        yield "    if unknown:"
        yield '        raise SystemExit(f"a trial has no {unknown}")'
        yield from self._clock()
        yield "    objects = []"
        for port in self.spiking:
            yield from self._generator(port)
        for p in self.steps:
            yield from self._make_group(p)
        for index, j in enumerate(self.network.projections):
            if not self._is_held(j):
                yield from self._connect(index, j)
        yield from self._monitors()

    def _clock(self) -> Iterator[str]:
        lengths = [f'len(trial["{i.name}"])' for i in self.spiking]
        lengths += [f'int(len(trial["{i.name}"]) * {pieces.number(i.dt / self.network.dt)} + 0.5)' for i in self.held]
        many = f"max({', '.join(lengths)})" if len(lengths) > 1 else (lengths or ["1000"])[0]
        yield f"    n_steps = {many}"
        if self.held:
            yield "    step = np.arange(1, n_steps + 1)"
        for port in self.held:
            name = names.given(port.name)
            yield f'    {name} = np.asarray(trial["{port.name}"], dtype=float)'
            yield f"    sample_{name} = {pieces.sample(port, self.network.dt)}  # which sample each step sees"
            yield f"    {name} = {name}[np.minimum(sample_{name}, len({name}) - 1)]"
            for index, j in enumerate(self.network.projections):
                if j.source == port.name:
                    yield f"    {self._drive(index)} = TimedArray({name} @ {self.weights[index]}.T * mV, dt=dt)"

    def _early(self, port: str) -> bool:
        """Must an input spike before the groups are stepped, so as to act in the same step?"""
        return self.in_turn or any(j.source == port and j.delay == 0 for j in self.network.projections)

    def _generator(self, port: SpikeInput) -> Iterator[str]:
        name = names.given(port.name)
        yield f'    {name} = np.asarray(trial["{port.name}"])'
        yield f"    if {name}.max(initial=0) > 1:"
        yield f'        raise SystemExit("{port.name}: a SpikeGeneratorGroup spikes once a step, the trial has more")'
        yield f"    {name}_step, {name}_unit = np.nonzero({name})"
        early = ', when="start"' if self._early(port.name) else ""
        yield f"    {name} = SpikeGeneratorGroup({port.n}, {name}_unit, {name}_step * dt{early})"
        yield f"    objects.append({name})"

    def _make_group(self, p: PopulationStep) -> Iterator[str]:
        name, stem, text = names.population(p.name), names.stem(p.name), self.texts[p.name]
        drives = [self._drive(i) for i, j in self._into(p.name) if self._is_held(j)]
        yield f"    {name} = NeuronGroup("
        yield f'        {p.n}, {stem}_equations, method="euler", threshold="{text.threshold}",'
        yield f'        reset="{"; ".join(text.reset)}",'
        if text.refractory:
            yield '        refractory="(n_ref + 1) * dt",  # Brian2 freezes one step less than refractory / dt'
        known = ", ".join(f'"{drive}": {drive}' for drive in drives)
        yield f"        namespace={{{known}}},"
        yield "    )"
        slot = f"{name}_groups" if self.in_turn else "groups"
        for statement in text.arrivals:  # held inputs through a synapse are there at the start of a step
            yield f'    {name}.run_regularly("{statement}", when="before_{slot}")'
        if text.noise:
            yield f'    {name}.run_regularly("{text.noise}", when="after_{slot}")'
        yield f'    start({name}, {stem}_values, {stem}_v0, trial.get("v0.{p.name}"))'
        if text.refractory:
            yield f'    {name}.lastspike = ({stem}_values["ref0"] - {stem}_values["n_ref"] - 1) * dt'
        if text.counted:
            yield f'    {name}.free_from = {stem}_values["ref0"]'
        if self.in_turn:
            yield f'    in_turn({name}, "{name}")'
        yield f"    objects.append({name})"

    def _connect(self, index: int, j: Projection) -> Iterator[str]:
        if not j.weight.any():
            yield f"    # {j.source} -> {j.target}: all its weights are 0"
            return
        source = names.population(j.source) if j.source in self.order else names.given(j.source)
        target = names.population(j.target)
        on_pre = self.texts[j.target].on_pre[j.synapse or ""]
        from_input = j.source not in self.order
        if self.in_turn:
            first = from_input or self.order[j.source] < self.order[j.target]
            when = f', when="{target}_arrivals"'
        else:
            first = from_input and self._early(j.source)
            when = ', when="before_groups"' if first else ""
        delay = j.delay if first else j.delay - 1
        yield f"    # a delay of {j.delay} step{'s' * (j.delay != 1)}: {pieces.why_delay(j.delay, delay)}"
        weight = self.weights[index]
        yield f"    joined = connected({source}, {target}, {weight}, {delay} * dt{when},"
        yield f'                       on_pre="{on_pre}")'
        yield "    objects.append(joined)"

    def _monitors(self) -> Iterator[str]:
        watched = ", ".join(f'"{p.name}": SpikeMonitor({names.population(p.name)})' for p in self.network.populations)
        yield f"    spikes = {{{watched}}}"
        if self.network.readouts:
            yield "    filtered = {"
            for r in self.network.readouts:
                source, variable = names.population(r.source), f"r_out_{identifier(r.name)}"
                yield f'        "{r.name}": StateMonitor({source}, "{variable}", record=True, when="end"),'
            yield "    }"
        else:
            yield "    filtered = {}"
        yield "    network = Network(objects, spikes.values(), filtered.values())"
        if self.in_turn:
            order = [names.population(p.name) for p in self.steps]
            yield f"    network.schedule = turns({order!r})".replace("'", '"')
        yield "    network.run(n_steps * dt, namespace={})  # names come from the groups, not from this file"
        yield "    found = {name: (np.rint(m.t / dt).astype(int), np.array(m.i)) for name, m in spikes.items()}"
        yield "    outputs = {}"
        for r in self.network.readouts:
            name = identifier(r.name)
            yield f'    rates = np.asarray(filtered["{r.name}"].r_out_{name})  # (units, steps), 1/s'
            yield f'    outputs["{r.name}"] = (w_{name} @ rates).T + b_{name}'
        yield "    return found, outputs"
        yield ""
        yield ""
