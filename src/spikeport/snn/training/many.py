"""Training many networks at once: each with its own seed, trials, noise and stopping rule, as `train` has them.

A network that is finished leaves the batch, and one that waits takes its place, so networks in a batch are at different
steps. The equations are in batched.py; random numbers, looks, the stopping rule and the result are those of run.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeport.snn.errors import SpikeportError
from spikeport.snn.tasks import Task, Trials, get_task
from spikeport.snn.training.checkpoint import load_checkpoint
from spikeport.snn.training.initial import initial_network
from spikeport.snn.training.options import TrainingOptions, TrainingResult, check_options
from spikeport.snn.training.run import (
    Progressed,
    Run,
    drawn,
    judged_look,
    learning_rate,
    load_bptt,
    look_due,
    network_of,
    result_of,
    resumed,
    save_run,
    test_accuracy,
    torch_threads,
    total_steps,
    with_look,
)
from spikeport.snn.writing import check_writable

if TYPE_CHECKING:
    from spikeport.snn.training import batched, bptt

WIDTH = 8  # networks at once: on one core more gain nothing (benchmarks/kim2019.py --speed); a GPU takes a hundred
PARTS = ("trials and noise", "gradient steps", "looks", "final test")
_LOOK_BYTES = {"cpu": 2**26, "cuda": 2**31}  # of the noise of the networks that are looked at together


@dataclass(frozen=True, kw_only=True)
class ManyProgress:
    """How far a batch is, after each of its steps. seconds: by part of the work (PARTS), since the start."""

    finished: int
    total: int
    live: int
    steps: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class _Live:
    """A network in the batch. done.state holds its step only: the arrays are in the batch. share: s, of its own."""

    index: int
    run: Run
    done: Progressed
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """The networks that are trained now; replaced as a whole, so that an interrupt finds a whole one."""

    live: tuple[_Live, ...] = ()
    models: batched.Models | None = None
    states: batched.States | None = None


def train_many(
    task: Task | str | Path,
    options: Sequence[TrainingOptions],
    *,
    width: int = WIDTH,
    device: str = "cpu",
    checkpoints: Path | str | None = None,
    progress: Callable[[ManyProgress], Any] | None = None,
) -> Iterator[tuple[int, TrainingResult]]:
    """Train a network for each of `options`, `width` at a time; (index, result) as each is finished, in that order.

    options: alike but for the seed. The result is that of `train` with the same options, but for rounding, which a
    chaotic network makes larger step by step; on one device and width it is the same every time. Its `seconds` are the
    network's share of the batch's time. device: torch's name, "cpu" or "cuda".
    checkpoints: a folder. On Ctrl-C, and when the iterator is left early, the networks in the batch are written there,
    as seedN.npz, as `train` writes its own; a network whose checkpoint is there goes on from it, then the file goes.
    """
    task = get_task(task) if isinstance(task, (str, Path)) else task
    _check(options, task, width)
    folder = None if checkpoints is None else Path(checkpoints)
    if folder is not None:
        check_writable(folder / "seed0.npz", overwrite=True)
    module = load_bptt()
    _check_device(device)
    return _train([_Job(i, o, task, folder) for i, o in enumerate(options)], width, device, module, progress)


def _train(
    jobs: Sequence[_Job], width: int, device: str, module: Any, progress: Any
) -> Iterator[tuple[int, TrainingResult]]:
    batch, waiting, finished, steps = _Batch(), list(jobs), 0, 0
    threads = max((job.options.threads for job in jobs), default=1)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        work = _Work(device=device, pool=pool)
        try:
            while waiting or batch.live:
                fresh, results = waiting[: width - len(batch.live)], []
                with torch_threads(threads):
                    if fresh:
                        batch = work.joined(batch, [job.begin(module) for job in fresh])
                        waiting = waiting[len(fresh) :]
                    ended = [one.done.state.step >= total_steps(one.run, one.done) for one in batch.live]
                    if any(ended):
                        results = [work.result(batch, i) for i, over in enumerate(ended) if over]
                        batch = work.picked(batch, [i for i, over in enumerate(ended) if not over])
                        finished += len(results)
                    else:
                        batch, steps = work.step(batch), steps + 1
                if progress is not None:
                    now = {"finished": finished, "total": len(jobs), "live": len(batch.live), "steps": steps}
                    progress(ManyProgress(**now, seconds=dict(work.clock)))
                for index, result in results:
                    yield index, result
                    jobs[index].forget()
        except (KeyboardInterrupt, GeneratorExit):
            for one in work.alone(batch):
                jobs[one.index].save(one)
            raise


@dataclass(frozen=True)
class _Job:
    """A network to train, and the folder of its checkpoint."""

    index: int
    options: TrainingOptions
    task: Task
    folder: Path | None

    @property
    def path(self) -> Path | None:
        return None if self.folder is None else self.folder / f"seed{self.options.seed}.npz"

    def begin(self, module: Any) -> _Live:
        """The network before its first step, or as its checkpoint has it."""
        options, task = self.options, self.task
        fixed, parameters = initial_network(options, task.n_inputs, task.n_outputs)
        run = Run(task=task, options=options, fixed=fixed, model=module.Model.of(fixed, options, task.dt), bptt=module)
        done = Progressed(state=module.initial_state(parameters))
        if self.path is not None and self.path.is_file():
            shapes = {name: array.shape for name, array in parameters.items()}
            done = resumed(run, load_checkpoint(self.path, options, task.name, shapes))
        return _Live(index=self.index, run=run, done=done)

    def save(self, one: _Live) -> None:
        if self.path is not None:
            save_run(one.run, one.done, self.path)

    def forget(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class _Work:
    """The parts of the work on a batch, each timed in `clock`."""

    def __init__(self, *, device: str, pool: ThreadPoolExecutor) -> None:
        self.device, self.pool = device, pool
        self.clock: dict[str, float] = dict.fromkeys(map(str, PARTS), 0.0)
        self.batched: Any = import_module("spikeport.snn.training.batched")

    def alone(self, batch: _Batch) -> list[_Live]:
        """The networks of the batch, each with its own arrays."""
        states = [self.batched.state_of(batch.states, i) for i in range(len(batch.live))]
        return [replace(o, done=replace(o.done, state=s)) for o, s in zip(batch.live, states, strict=True)]

    def joined(self, batch: _Batch, fresh: list[_Live]) -> _Batch:
        """The batch with fresh networks at its end, whose first states they bring along."""
        together = self.alone(batch) + fresh
        return _Batch(
            live=tuple(replace(one, done=replace(one.done, state=_bare(one.done.state))) for one in together),
            models=self.batched.stack_models([one.run.model for one in together], self.device),
            states=self.batched.stack_states([one.done.state for one in together], self.device),
        )

    def picked(self, batch: _Batch, which: list[int]) -> _Batch:
        models, states = (self.batched.pick(x, which) for x in (batch.models, batch.states))
        return _Batch(live=tuple(batch.live[i] for i in which), models=models, states=states)

    def step(self, batch: _Batch) -> _Batch:
        """One gradient step of each network, and the looks that are due."""
        b, options, begun = self.batched, batch.live[0].run.options, time.perf_counter()
        assert batch.states is not None  # there are networks in it
        with self.timed("trials and noise"):
            given = b.stack_batches(
                [arrays for arrays, _ in self.draw(batch.live, "train", options.batch)], self.device
            )
        with self.timed("gradient steps"):
            losses, grads = b.gradients(batch.models, batch.states.parameters, given, rate_cost=options.rate_cost)
            rates = np.array([learning_rate(one.run, one.done) for one in batch.live])
            states = b.step_adam(batch.states, grads, learning_rate=rates, clip_norm=options.clip_norm)
        live = []
        for i, one in enumerate(batch.live):
            state = replace(one.done.state, step=int(states.step[i]))
            done = replace(one.done, state=state, losses=(*one.done.losses, float(losses[i])))
            live.append(replace(one, done=done))
        with self.timed("looks"):
            self.look(live, batch.models, states)
        share = (time.perf_counter() - begun) / len(live)
        return replace(batch, live=tuple(replace(one, share=one.share + share) for one in live), states=states)

    def look(self, live: list[_Live], models: Any, states: Any) -> None:
        """Look at the networks of which a look is due, as many at once as memory allows."""
        b, options = self.batched, live[0].run.options
        due = [i for i, one in enumerate(live) if look_due(one.run, one.done)]
        one_network = live[0].run.task.n_samples * options.look_trials * options.n_neurons * 4
        chunk = max(1, _LOOK_BYTES["cpu" if self.device == "cpu" else "cuda"] // one_network)
        for at in range(0, len(due), chunk):
            part = due[at : at + chunk]
            given = self.draw([live[i] for i in part], "look", options.look_trials)
            batches = b.stack_batches([arrays for arrays, _ in given], self.device)
            outputs, losses = b.outputs_of(b.pick(models, part), b.pick(states, part).parameters, batches)
            for i, o, (_, trials), loss in zip(part, outputs, given, losses, strict=True):
                seen = judged_look(live[i].run, live[i].done.state.step, o, trials, float(loss))
                live[i] = replace(live[i], done=with_look(live[i].run, live[i].done, seen))

    def draw(self, live: Sequence[_Live], purpose: str, n: int) -> list[tuple[dict[str, Any], Trials]]:
        """Each network's own trials and noise, as `train` draws them; on threads: numpy frees the lock."""
        return list(self.pool.map(lambda one: drawn(one.run, purpose, one.done.state.step, n), live))

    def result(self, batch: _Batch, i: int) -> tuple[int, TrainingResult]:
        one, begun = batch.live[i], time.perf_counter()
        done = replace(one.done, state=self.batched.state_of(batch.states, i))
        with self.timed("final test"):
            accuracy = test_accuracy(network_of(one.run, done), one.run.task, one.run.options)
        result = result_of(one.run, done, accuracy, begun, interrupted=False)
        return one.index, replace(result, seconds=one.share + result.seconds)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.clock[part] += time.perf_counter() - begun


def _bare(state: bptt.State) -> bptt.State:
    return replace(state, parameters={}, first={}, second={})


def _check(options: Sequence[TrainingOptions], task: Task, width: int) -> None:
    """Refuse a batch that cannot be one, before the work."""
    if width < 1:
        raise SpikeportError(f"training: {width} networks at once, must be 1 or more")
    for one in options:
        check_options(one, task.dt)
    problems = []
    for name in asdict(options[0]) if options else ():
        values = {repr(getattr(one, name)) for one in options}
        if name != "seed" and len(values) > 1:
            problems.append(f"{name}: {', '.join(sorted(values))}")
    if problems:
        raise SpikeportError(
            "training: networks of one batch differ in more than their seed", problems, hint="a call for each kind"
        )


def _check_device(device: str) -> None:
    torch: Any = sys.modules["torch"]
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise SpikeportError(f"training: device '{device}' cannot be used: {reason}", hint="--device cpu") from None
