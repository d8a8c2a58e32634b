"""Lowering and running on PyTorch, for every library. torch is imported only inside functions that run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeport.snn.drive import Inputs
from spikeport.snn.errors import SpikeportError
from spikeport.snn.neurons import per_unit
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.targets.base import Lowering, RunOptions, Target, approximated, check_choices
from spikeport.targets.capabilities import Problem
from spikeport.targets.feed import Feed, feed
from spikeport.targets.rewrites import normalised

if TYPE_CHECKING:
    from spikeport.targets.pytorch.module import SpikingModule

CHOICES = {"cuda_graphs": ("off", "on")}
DTYPES = ("float64", "float32")
DEVICES = ("cpu", "cuda")
BLOCK = 512  # steps at most; a multiple of FLUSH_EVERY, so that states are flushed when the reference flushes them
SMALL = 32768  # units x trials; up to here torch itself gives an elementwise operation to one thread (its grain size)
NUMBERS = 2**20  # in an array (time, batch, n) of one block: 8 MiB in float64


def scaling_problems(network: SpikingNetwork) -> Iterator[Problem]:
    """What cannot be brought to threshold 1 and reset 0 (rewrites.normalised)."""
    for p in network.populations:
        offset, top = per_unit(p.neuron.v_reset, p.n), per_unit(p.neuron.v_threshold, p.n)
        where = f"population {p.name}"
        if (top == offset).any():
            found, limit = f"equals v_threshold in {int((top == offset).sum())} units", "must be below it"
            yield Problem(feature="reset", where=f"{where}: v_reset", value=found, limit=limit)
        elif isinstance(p.v0, Uniform) and (np.ptp(offset) or np.ptp(top - offset)):
            found, limit = "drawn, and v_threshold or v_reset differ between units", "one value for all units"
            yield Problem(feature="heterogeneous", where=f"{where}: v0", value=found, limit=limit)


def lower(target: Target, network: SpikingNetwork, allow: Collection[str], choices: Mapping[str, str]) -> Lowering:
    """The network with threshold 1 and reset 0."""
    chosen = check_choices(target, dict(choices))
    reduced, losses = approximated(target, network, allow, **choices)
    lowered, scale = normalised(reduced)
    return Lowering(target=target.name, source=network, network=lowered, losses=losses, scale=scale, settings=chosen)


def move(module: SpikingModule, target: Target, dtype: str, device: str) -> SpikingModule:
    """The module in that precision and on that device; what is not there is an error with the next step."""
    import torch

    kind = device.partition(":")[0]
    can, problems = target.capabilities, []
    if dtype not in can.dtypes:
        problems.append(f"dtype '{dtype}': must be one of {', '.join(can.dtypes)}")
    if kind not in can.devices:
        problems.append(f"device '{device}': must be one of {', '.join(can.devices)}")
    elif kind == "cuda" and not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU only"
        problems.append(f"device '{device}': torch {torch.__version__}, built {built}, sees no CUDA device")
    if problems:
        hint = "--device cpu, or a torch built for CUDA: https://pytorch.org/get-started" if kind == "cuda" else ""
        raise SpikeportError(f"{target.name}: cannot run like that", problems, hint=hint)
    return module.to(dtype=getattr(torch, dtype), device=device)


def run(
    target: Target,
    lowering: Lowering,
    inputs: Inputs | None,
    options: RunOptions,
    build: Callable[[Lowering], SpikingModule],
) -> Recording:
    """Run in blocks of steps, without gradients; what torch has set globally is afterwards as it was."""
    import torch

    populations = [p.name for p in lowering.network.populations]
    known = [f"{name}.v" for name in populations]
    unknown = [name for name in options.record if name not in known]
    if unknown:
        raise SpikeportError(
            f"record: {target.name} has no trace {', '.join(unknown)}", [f"there are: {', '.join(known)}"]
        )
    fed = feed(lowering, inputs, options)
    small = fed.n_batch * max(p.n for p in lowering.network.populations) <= SMALL
    with torch.no_grad(), one_thread() if small else nullcontext():
        module = move(build(lowering), target, options.dtype, options.device)
        advance: Any = module.advance
        if lowering.settings.get("cuda_graphs") == "on":
            from spikeport.targets.pytorch.graphs import Graphed

            advance = Graphed(module, target.name)
        return _run(module, advance, fed, [name for name in populations if f"{name}.v" in options.record])


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread, then as many as before: to wake a second one costs more than a step, and where other programs want
    the processor too it takes long. By how much is not measured cleanly: one pair of runs, under changing load.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(module: SpikingModule, advance: Any, fed: Feed, record: list[str]) -> Recording:
    network, like = fed.lowering.network, module.like
    widest = max([p.n for p in network.populations] + [i.n for i in network.inputs])
    size = int(np.clip(NUMBERS // (fed.n_batch * widest) // 16 * 16, 16, BLOCK))
    spikes: dict[str, list[np.ndarray[Any, Any]]] = {p.name: [] for p in network.populations}
    outputs: dict[str, list[Any]] = {r.name: [np.zeros((0, fed.n_batch, r.weight.shape[0]))] for r in network.readouts}
    traces: dict[str, list[Any]] = {n: [np.zeros((0, fed.n_batch, network.population(n).n))] for n in record}
    noisy = [p.name for p in network.populations if fed.noisy(p.name)]
    state = module.state_from(fed.v0)
    for k0 in range(0, fed.n_steps, size):
        k1 = min(k0 + size, fed.n_steps)
        given = {name: _tensor(rows, like) for name, rows in fed.inputs(k0, k1).items()}
        noise = {name: _tensor(fed.noise(name, k0, k1), like) for name in noisy}
        out, z, v, state = advance(given, state, noise, k1 - k0, record)
        for name, rows in z.items():
            spikes[name].append(rows.nonzero().cpu().numpy() + np.array([k0, 0, 0]))
        for kept, block in ((outputs, out), (traces, v)):
            for name, rows in block.items():
                kept[name].append(rows.double().cpu().numpy())
    trains = {}
    for p in network.populations:
        rows = np.concatenate([np.zeros((0, 3), dtype=np.int64), *spikes[p.name]])
        trains[p.name] = SpikeTrains.build(rows[:, 0], rows[:, 1], rows[:, 2], (fed.n_steps, fed.n_batch, p.n))
    recording = Recording(
        dt=network.dt, n_steps=fed.n_steps, n_batch=fed.n_batch, spikes=trains,
        outputs={name: np.concatenate(blocks) for name, blocks in outputs.items()},
        traces={f"{name}.v": np.concatenate(blocks) for name, blocks in traces.items()},
    )  # fmt: skip
    return fed.lowering.invert(recording)


def _tensor(rows: np.ndarray[Any, Any], like: Any) -> Any:
    import torch

    return torch.from_numpy(rows).to(dtype=like.dtype, device=like.device)
