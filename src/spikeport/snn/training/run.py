"""The training loop: steps, looks at fresh trials, the stopping rule, checkpoints, and the network that comes out."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.errors import MissingDependencyError
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.tasks import Task, Trials, get_task
from spikeport.snn.training.checkpoint import Checkpoint, check_free, load_checkpoint, save_checkpoint
from spikeport.snn.training.data import draw_noise, draw_trials, purpose_seed
from spikeport.snn.training.initial import Fixed, initial_network
from spikeport.snn.training.options import (
    MIN_TRIALS,
    PHI_MAX,
    Look,
    Progress,
    TrainingInterrupted,
    TrainingOptions,
    TrainingProgress,
    TrainingResult,
    check_options,
)

if TYPE_CHECKING:  # torch is an extra: `import spikeport` must not need it, nor pay for it
    from spikeport.snn.training import bptt

_SAVE_EVERY = 50  # steps between checkpoints: a lost machine costs seconds, the writing milliseconds
_TEST_CHUNK = 100  # trials of the final test at once, which bounds its memory


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """A run after some steps; replaced as a whole after each, so that an interrupt finds a whole one."""

    state: bptt.State
    losses: tuple[float, ...] = ()
    looks: tuple[Look, ...] = ()
    converged_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """What does not change during a run."""

    task: Task
    options: TrainingOptions
    fixed: Fixed
    model: bptt.Model
    bptt: Any  # the module, imported when it is used


def train(
    task: Task | str | Path,
    options: TrainingOptions | None = None,
    *,
    checkpoint: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a rate network on a task: by name, a Task, or the path of a file of trials.

    The equations are in bptt.py, the first weights in initial.py, the options and the stopping rule in options.py.
    The same task and options give the same network, bit for bit, on one machine with one thread.
    checkpoint: written every 50 steps, at the end and on Ctrl-C, which then raises TrainingInterrupted. resume: go on
    from it as if it had never stopped. progress: called with a TrainingProgress after each step.
    Source: Kim, Li & Sejnowski, PNAS 2019, and their code; trials are batched here.
    """
    begun = time.perf_counter()
    options = options or TrainingOptions()
    task = get_task(task) if isinstance(task, (str, Path)) else task
    check_options(options, task.dt)
    path = None if checkpoint is None else Path(checkpoint)
    module = load_bptt()
    with torch_threads(options.threads):
        fixed, parameters = initial_network(options, task.n_inputs, task.n_outputs)
        run = Run(task=task, options=options, fixed=fixed, model=module.Model.of(fixed, options, task.dt), bptt=module)
        done = Progressed(state=module.initial_state(parameters))
        if path is not None and resume:
            shapes = {name: array.shape for name, array in parameters.items()}
            done = resumed(run, load_checkpoint(path, options, task.name, shapes))
        elif path is not None:
            check_free(path)
        return _carry_on(run, done, path, progress, begun)


def _carry_on(run: Run, done: Progressed, path: Path | None, progress: Progress | None, begun: float) -> TrainingResult:
    """Steps until the stopping rule and the extra steps, or max_steps; then the final test."""
    try:
        while done.state.step < total_steps(run, done):
            done = _step(run, done)
            if path is not None and done.state.step % _SAVE_EVERY == 0:
                save_run(run, done, path)
            _report(run, done, progress)
        accuracy = test_accuracy(network_of(run, done), run.task, run.options)
    except KeyboardInterrupt:
        if path is not None:
            save_run(run, done, path)
        where = f"; go on with --resume from {path}" if path is not None else ""
        result = result_of(run, done, {}, begun, interrupted=True)
        raise TrainingInterrupted(f"training stopped after {result.steps} steps{where}", result) from None
    if path is not None:
        save_run(run, done, path)
    return result_of(run, done, accuracy, begun, interrupted=False)


def test_accuracy(network: RateNetwork, task: Task, options: TrainingOptions) -> dict[str, float]:
    """Accuracy by rule of an exported network on `test_trials` trials that neither training nor looks have seen."""
    verdicts: dict[str, list[Any]] = {rule: [] for rule in task.rules}
    n, seed = options.test_trials, purpose_seed(options.seed, "test")
    everything = draw_trials(task, options, "test", 0, n)
    for first in range(0, everything.n_trials, _TEST_CHUNK):
        part = slice(first, first + _TEST_CHUNK)
        trials = replace(
            everything,
            inputs=everything.inputs[:, part],
            targets=everything.targets[:, part],
            labels=everything.labels[part],
        )
        outputs = simulate_rate(network, trials.inputs, seed=seed, first_trial=first).outputs
        for rule, found in verdicts.items():
            found.append(task.judge(outputs, trials, dt=network.dt, kind="rate", rule=rule))
    return {rule: float(np.concatenate(found).mean()) for rule, found in verdicts.items()}


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest makes of the name


def _step(run: Run, done: Progressed) -> Progressed:
    """One gradient step, and a look where one is due."""
    options, step = run.options, done.state.step
    batch, _ = _batch(run, "train", step, options.batch)
    loss, grads = run.bptt.gradients(run.model, done.state.parameters, batch, rate_cost=options.rate_cost)
    rate = learning_rate(run, done)
    state = run.bptt.step_adam(done.state, grads, learning_rate=rate, clip_norm=options.clip_norm)
    done = replace(done, state=state, losses=(*done.losses, loss))
    return with_look(run, done, _look(run, done)) if look_due(run, done) else done


def learning_rate(run: Run, done: Progressed) -> float:
    """Adam's, of the step to come: constant until the run has converged, then falling to 0 over the extra steps."""
    if done.converged_at is None:
        return run.options.learning_rate
    return run.options.learning_rate * (1 - (done.state.step - done.converged_at) / run.options.extra_steps)


def look_due(run: Run, done: Progressed) -> bool:
    return done.state.step % run.options.look_every == 0 and done.converged_at is None


def with_look(run: Run, done: Progressed, look: Look) -> Progressed:
    """The run after a look: it has converged where the stopping rule of TrainingOptions is met."""
    options = run.options
    enough = options.min_trials if options.min_trials is not None else MIN_TRIALS.get(run.task.name, 0)
    met = look.accuracy[run.task.rules[0]] > options.accuracy_above and look.loss < options.loss_below
    good = met and look.step * options.batch >= enough
    return replace(done, looks=(*done.looks, look), converged_at=look.step if good else None)


def judged_look(run: Run, step: int, outputs: NDArray[np.float64], trials: Trials, loss: float) -> Look:
    """What a look saw: outputs (time, batch, n_outputs) on its trials, and their mean loss."""
    task = run.task
    right = {rule: task.judge(outputs, trials, dt=task.dt, kind="rate", rule=rule) for rule in task.rules}
    return Look(step=step, accuracy={rule: float(v.mean()) for rule, v in right.items()}, loss=loss)


def _look(run: Run, done: Progressed) -> Look:
    batch, trials = _batch(run, "look", done.state.step, run.options.look_trials)
    outputs, loss = run.bptt.outputs_of(run.model, done.state.parameters, batch)
    return judged_look(run, done.state.step, outputs, trials, loss)


def _batch(run: Run, purpose: str, round_: int, n: int) -> tuple[bptt.Batch, Trials]:
    arrays, trials = drawn(run, purpose, round_, n)
    return run.bptt.Batch(**{name: run.bptt.tensor(a) for name, a in arrays.items()}), trials


def drawn(run: Run, purpose: str, round_: int, n: int) -> tuple[dict[str, NDArray[Any]], Trials]:
    """Inputs, targets, noise and x0 of n trials by name, as bptt.Batch has them, and the trials themselves."""
    trials = draw_trials(run.task, run.options, purpose, round_, n)
    noise, x0 = draw_noise(run.options, purpose, round_, trials.inputs.shape[0], trials.n_trials)
    return {"inputs": trials.inputs, "targets": trials.targets, "noise": noise, "x0": x0}, trials


def total_steps(run: Run, done: Progressed) -> int:
    if done.converged_at is None:
        return run.options.max_steps
    return done.converged_at + run.options.extra_steps  # beyond max_steps too: they belong to the answer


def _report(run: Run, done: Progressed, progress: Progress | None) -> None:
    if progress is not None:
        accuracy = done.looks[-1].accuracy[run.task.rules[0]] if done.looks else None
        progress(
            TrainingProgress(
                step=done.state.step,
                total_steps=total_steps(run, done),
                loss=done.losses[-1],
                accuracy=accuracy,
                converged=done.converged_at is not None,
            )
        )


def network_of(run: Run, done: Progressed) -> RateNetwork:
    """The RateNetwork of a state: the weights as they act, in double precision."""
    w_rec, tau = run.bptt.effective(run.model, done.state.parameters)
    inhibitory = run.fixed.sign < 0
    options = run.options
    return RateNetwork(
        tau=_double(tau),
        w_rec=_double(w_rec),
        w_in=run.fixed.w_in.astype(np.float64),
        w_out=_double(done.state.parameters["w_out"]),
        b_rec=np.zeros(options.n_neurons),
        b_out=_double(done.state.parameters["b_out"]),
        dt=run.task.dt,
        phi=options.phi,
        phi_max=PHI_MAX[options.phi],
        noise_sd=options.noise_sd,
        x0_sd=options.x0_sd,
        labels={"exc": ~inhibitory, "inh": inhibitory, "som": run.fixed.som},
        provenance={
            "source": "trained by spikeport train (Kim, Li & Sejnowski, PNAS 2019)",
            "task": run.task.name,
            "options": asdict(options),
            "steps": done.state.step,
            "converged_at": done.converged_at,
            "final_loss": float(np.mean(done.losses[-20:])) if done.losses else None,
            "versions": _versions(),
        },
    )


def result_of(
    run: Run, done: Progressed, accuracy: Mapping[str, float], begun: float, *, interrupted: bool
) -> TrainingResult:
    network = network_of(run, done)
    if accuracy:
        tested = {"test_accuracy": dict(accuracy), "test_trials": run.options.test_trials}
        network = replace(network, provenance={**network.provenance, **tested})
    return TrainingResult(
        network=network,
        accuracy=accuracy,
        losses=np.array(done.losses),
        looks=done.looks,
        steps=done.state.step,
        converged_at=done.converged_at,
        interrupted=interrupted,
        test_trials=run.options.test_trials,
        seconds=time.perf_counter() - begun,
    )


def save_run(run: Run, done: Progressed, path: Path) -> None:
    groups = {"parameters": done.state.parameters, "first": done.state.first, "second": done.state.second}
    arrays = {group: {name: t.numpy() for name, t in named.items()} for group, named in groups.items()}
    found = Checkpoint(
        step=done.state.step,
        arrays=arrays,
        losses=np.array(done.losses),
        looks=done.looks,
        converged_at=done.converged_at,
    )
    save_checkpoint(path, found, run.options, run.task.name)


def resumed(run: Run, found: Checkpoint) -> Progressed:
    groups = {group: {name: run.bptt.tensor(a) for name, a in named.items()} for group, named in found.arrays.items()}
    state = run.bptt.State(step=found.step, **groups)
    return Progressed(
        state=state, losses=tuple(found.losses.tolist()), looks=found.looks, converged_at=found.converged_at
    )


def load_bptt() -> Any:
    try:
        return import_module("spikeport.snn.training.bptt")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError.for_extra("torch", "train", "training") from error


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    torch: Any = sys.modules["torch"]
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _double(tensor: Any) -> Any:
    return tensor.detach().numpy().astype(np.float64)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("spikeport", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "unknown"
    return found
