"""The search over lambda: candidates x trials in the engine, on any joblib backend.

Every candidate sees the same trials with the same noise (common random numbers), so candidates differ by lambda
alone. The winner has the highest accuracy within the budget of spikes; ties go to the middle of the plateau.

`fast` stops who can no longer win. Who is within the budget is known at the end only, so a candidate may have been
stopped for one that turns out to spend too much: then it goes on, until none is left that could win.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from spikeport.convert.evaluate import Part, evaluate
from spikeport.convert.grid import bracket as bracket_grid
from spikeport.convert.grid import middle_of_plateau
from spikeport.snn.errors import MissingDependencyError, SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork, steps_of
from spikeport.snn.tasks.base import Task

Progress = Callable[[int, int, str], None]  # done, total, what
Build = Callable[[float], SpikingNetwork]

CHUNK = 10  # trials in a job: long enough to hide its start, short enough for a progress bar and for Ctrl-C
CHUNK_BYTES = 64 * 2**20  # of a job's outputs, at most
ANSWER_SECONDS = 10.0  # for a cluster to answer
ZOOMS = 2  # rounds of refinement of a bracket


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One lambda, over `trials` trials. accuracy: by the rule in use; by_rule: by each rule of the task. distance: root
    mean square between spiking and rate outputs, where it was the objective. stopped: it could no longer win."""

    inverse_lambda: float
    accuracy: float | None
    by_rule: dict[str, float]
    mean_rate_hz: float
    distance: float | None
    trials: int
    stopped: bool = False

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "inverse_lambda": self.inverse_lambda,
            "accuracy": self.accuracy,
            "mean_rate_hz": self.mean_rate_hz,
        }
        found |= {f"accuracy_{rule}": value for rule, value in self.by_rule.items()}
        return found | {"distance": self.distance, "trials": self.trials, "stopped": self.stopped}


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a conversion: where it was, and in `candidates` what was measured until then."""

    def __init__(self, where: str, candidates: tuple[Candidate, ...]) -> None:
        super().__init__(f"interrupted {where}")
        self.where, self.candidates = where, candidates


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to search: how to build a candidate, on which task, judged how. rule: None for the distance objective.

    fast: stop who can no longer win, by that rule: of distances, none is stopped.  max_rate_hz: spikes/s a unit that
    the winner may have; None: any.
    """

    build: Build
    task: Task
    rule: str | None
    source: RateNetwork
    trials: int
    seed: int = 0
    dtype: str = "float32"
    fast: bool = False
    max_rate_hz: float | None = None
    scheduler: str | None = None
    n_jobs: int = -1
    progress: Progress | None = None

    def over(self, grid: Sequence[float]) -> tuple[Candidate, ...]:
        """The curve over a grid, a candidate per value, in the grid's order."""
        if not grid:
            raise SpikeportError("search: an empty grid, must have at least 1 value of 1/lambda")
        if self.trials < 1:
            raise SpikeportError(f"search: {self.trials} trials, must be at least 1", hint="--trials 100")
        networks = [self.build(v) for v in grid]
        tally = _Tally(len(grid), self.task.rules, first=0, trials=self.trials)
        with _backend(self.scheduler):
            return self._run(grid, networks, tally)

    def within(self, low: float, high: float) -> tuple[Candidate, ...]:
        """The curve over a bracket: a coarse grid, then twice a finer one around the best; sorted."""
        found = list(self.over(bracket_grid(low, high)))
        for _ in range(ZOOMS):
            found.sort(key=lambda c: c.inverse_lambda)
            best = self.best(found)
            left, right = found[max(best - 1, 0)].inverse_lambda, found[min(best + 1, len(found) - 1)].inverse_lambda
            known = {round(c.inverse_lambda, 9) for c in found}
            fresh = [v for v in bracket_grid(left, right, 7) if round(v, 9) not in known]
            if not fresh:
                break
            try:
                found += self.over(fresh)
            except SearchInterrupted as interrupt:
                raise SearchInterrupted(interrupt.where, _sorted([*found, *interrupt.candidates])) from None
        return _sorted(found)

    def best(self, candidates: Sequence[Candidate]) -> int:
        """The winner's index; candidates that were stopped early, or are above the budget, cannot win. Where all are
        above it, the one with the fewest spikes."""
        if not any(self.allows(c) for c in candidates):
            return min(range(len(candidates)), key=lambda i: candidates[i].mean_rate_hz)
        return middle_of_plateau([self._score(c) if self.allows(c) else -np.inf for c in candidates])

    def allows(self, candidate: Candidate) -> bool:
        """Did it see all trials, within the budget?"""
        return not candidate.stopped and (self.max_rate_hz is None or candidate.mean_rate_hz <= self.max_rate_hz)

    def _score(self, candidate: Candidate) -> float:
        value = candidate.accuracy if self.rule is not None else candidate.distance
        assert value is not None
        return value if self.rule is not None else -value

    def _run(self, grid: Sequence[float], networks: list[SpikingNetwork], tally: _Tally) -> tuple[Candidate, ...]:
        chunks = _chunks(self.trials, chunk_size(networks[0], self.task, len(networks), self.trials, _workers(self)))
        fast = self.fast and self.rule is not None
        most = None if self.max_rate_hz is None else self.max_rate_hz * self.trials * _unit_seconds(self, networks[0])
        done = 0
        try:
            while True:
                for group in _groups(chunks, _workers(self) if fast else len(chunks)):
                    alive = [i for i in range(len(grid)) if not tally.stopped[i] and tally.trials[i] == group[0][0]]
                    if not alive:
                        continue
                    with closing(_in_parallel(self, [networks[i] for i in alive], group)) as parts:
                        for part in parts:
                            tally.add(alive, part)
                            done = min(done + 1, len(chunks))
                            if self.progress is not None:
                                self.progress(done, len(chunks), "search")
                    if fast:
                        tally.stop_hopeless(str(self.rule), self.trials, most)
                if not (fast and tally.go_on(str(self.rule), self.trials, most)):
                    return tally.candidates(grid, self)
        except KeyboardInterrupt:
            where = f"in the search, after {int(tally.trials.max())} of {self.trials} trials"
            raise SearchInterrupted(where, tally.candidates(grid, self)) from None


class _Tally:
    """Counts of all candidates while a search over trials first .. first + trials - 1 runs."""

    def __init__(self, n: int, rules: Sequence[str], *, first: int, trials: int) -> None:
        self.first = first
        self.trials = np.zeros(n, dtype=np.int64)
        self.right = {rule: np.zeros(n, dtype=np.int64) for rule in rules}
        self.spikes = np.zeros(n, dtype=np.int64)
        self.squared = np.full((n, trials), np.nan)  # by trial: parts come in any order, and a sum of floats has one
        self.stopped = np.zeros(n, dtype=np.bool_)

    def add(self, alive: Sequence[int], part: Part) -> None:
        for rule, right in part.right.items():
            self.right[rule][alive] += right.sum(axis=1)
        self.spikes[alive] += part.spikes.sum(axis=1)
        at = part.first - self.first
        self.squared[np.asarray(alive), at : at + part.spikes.shape[1]] = part.distance
        self.trials[alive] += part.spikes.shape[1]

    def stop_hopeless(self, rule: str, total: int, most: float | None) -> None:
        """Stop who would lose even if every trial left were right, against who is not above the budget by now.

        most: spikes of a candidate over all trials, or None.
        """
        right = self.right[rule]
        rivals = right[~self.stopped & ~self._over(most)]
        if rivals.size:
            self.stopped |= (self.trials < total) & (right + (total - self.trials) < rivals.max())

    def go_on(self, rule: str, total: int, most: float | None) -> bool:
        """At the end, with the budget kept or not: start those again that could still win; are there any?"""
        right = self.right[rule]
        within = right[(self.trials == total) & ~self._over(most)]
        could = right + (total - self.trials) >= (within.max() if within.size else 0)
        over = self._over(most) if within.size else np.zeros(right.size, dtype=np.bool_)  # else all: for the refusal
        again = self.stopped & could & ~over
        self.stopped &= ~again
        return bool(again.any())

    def _over(self, most: float | None) -> NDArray[np.bool_]:
        """Above the budget, whatever comes."""
        return np.asarray(self.spikes > (np.inf if most is None else most))

    def distance(self, candidate: int) -> float:
        """Root mean square distance to the rate outputs over the trials done; NaN where it was not measured."""
        done = self.squared[candidate][~np.isnan(self.squared[candidate])]
        return float(np.sqrt(done.mean())) if done.size else float("nan")

    def candidates(self, grid: Sequence[float], search: Search) -> tuple[Candidate, ...]:
        unit_seconds = _unit_seconds(search, search.build(grid[0]))
        found = []
        for i, value in enumerate(grid):
            n = int(self.trials[i])
            if n == 0:
                continue  # an interrupted search: nothing is known of it
            by_rule = {rule: int(right[i]) / n for rule, right in self.right.items()} if search.rule is not None else {}
            found.append(
                Candidate(
                    inverse_lambda=float(value),
                    accuracy=by_rule[search.rule] if search.rule is not None else None,
                    by_rule=by_rule,
                    mean_rate_hz=float(self.spikes[i] / (n * unit_seconds)),
                    distance=self.distance(i) if search.rule is None else None,
                    trials=n,
                    stopped=bool(self.stopped[i]),
                )
            )
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one network did on some trials. right: by rule.  rate_hz: spikes/s a unit.  rate_error: its standard error,
    of the trials' spread (infinite of a single one).  distance: to the rate outputs, or NaN."""

    right: dict[str, int]
    rate_hz: float
    rate_error: float
    distance: float


def run_parts(network: SpikingNetwork, search: Search, *, first: int, n: int) -> Parts:
    """Trials first .. first + n - 1 of one network on the search's backend."""
    tally = _Tally(1, search.task.rules, first=first, trials=n)
    spikes: list[NDArray[np.int64]] = []
    with _backend(search.scheduler):
        chunks = _chunks(n, chunk_size(network, search.task, 1, n, _workers(search)), first)
        with closing(_in_parallel(search, [network], chunks)) as parts:
            for done, part in enumerate(parts, start=1):
                tally.add([0], part)
                spikes.append(part.spikes[0])
                if search.progress is not None:
                    search.progress(done, len(chunks), "fresh trials")
    unit_seconds = _unit_seconds(search, network)
    spread = float(np.std(np.sort(np.concatenate(spikes)), ddof=1)) if n > 1 else np.inf  # sorted: parts have no order
    return Parts(
        right={rule: int(right[0]) for rule, right in tally.right.items()},
        rate_hz=float(tally.spikes[0]) / (n * unit_seconds), rate_error=spread / np.sqrt(n) / unit_seconds,
        distance=tally.distance(0),
    )  # fmt: skip


def beyond(value: float, limit: float) -> str:
    """A value above a limit, with the digits that it takes to be above it as both are printed; 4 or more."""
    printed = float(f"{limit:g}")
    texts = [f"{value:.{digits}g}" for digits in range(4, 18)]
    return next((text for text in texts if float(text) > printed), texts[0])


def _unit_seconds(search: Search, network: SpikingNetwork) -> float:
    """Seconds of a trial times units: what a trial's spikes are divided by."""
    return float(steps_of(search.task.n_samples, network.held_inputs[0], network.dt) * network.dt * network.n_neurons)


def chunk_size(network: SpikingNetwork, task: Task, n_candidates: int, trials: int, workers: int) -> int:
    """Trials in a job: at most CHUNK, fewer where outputs are large or workers would idle."""
    steps = steps_of(task.n_samples, network.held_inputs[0], network.dt)
    outputs = sum(r.weight.shape[0] for r in network.readouts)
    fits = CHUNK_BYTES // max(1, steps * n_candidates * outputs * 8)
    return max(1, min(CHUNK, fits, -(-trials // max(1, workers))))


def _sorted(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda c: c.inverse_lambda))


def _chunks(n: int, size: int, first: int = 0) -> list[tuple[int, int]]:
    return [(first + i, min(size, n - i)) for i in range(0, n, size)]


def _groups(chunks: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for i in range(0, len(chunks), size):
        yield chunks[i : i + size]


def _in_parallel(
    search: Search, networks: Sequence[SpikingNetwork], chunks: Sequence[tuple[int, int]]
) -> Generator[Part, None, None]:
    """Parts as they are done, on threads (the engine releases the interpreter lock) or on the named cluster.

    To be closed by who takes them: Ctrl-C leaves jobs behind.
    """
    source = search.source if search.rule is None else None
    jobs = [
        joblib.delayed(evaluate)(
            networks, search.task, seed=search.seed, first=first, n=n, dtype=search.dtype, source=source
        )
        for first, n in chunks
    ]
    if search.scheduler is None:
        local = joblib.Parallel(n_jobs=search.n_jobs, prefer="threads", return_as="generator_unordered")
        parts = local(jobs)
        try:
            for part in parts:  # noqa: UP028 (`yield from` would pass a close on to joblib, which warns)
                yield part
        finally:
            with warnings.catch_warnings():  # that jobs are cancelled is what Ctrl-C is for
                warnings.simplefilter("ignore", UserWarning)
                parts.close()
    else:
        for i in range(0, len(jobs), _workers(search)):  # in rounds, for the progress bar
            yield from joblib.Parallel(n_jobs=-1)(jobs[i : i + _workers(search)])


def _workers(search: Search) -> int:
    if search.scheduler is not None:
        from distributed import get_client

        client: Any = get_client()
        return max(1, int(sum(client.nthreads().values())))
    return int(joblib.effective_n_jobs(search.n_jobs))


@contextmanager
def _backend(scheduler: str | None) -> Iterator[None]:
    """The joblib backend: local threads, or the Dask cluster at `scheduler` ("tcp://host:port")."""
    if scheduler is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError.for_extra("dask.distributed", "dask", f"--scheduler {scheduler}") from None
    start = "dask scheduler   starts one and prints its address"
    try:
        client: Any = Client(scheduler, timeout=ANSWER_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise SpikeportError(f"scheduler {scheduler}: no answer ({error})", hint=start) from None
    try:
        client.wait_for_workers(1, timeout=ANSWER_SECONDS)
    except TimeoutError:
        client.close()
        raise SpikeportError(
            f"scheduler {scheduler}: has no workers after {ANSWER_SECONDS:g} s",
            hint=f"dask worker {scheduler}   starts one",
        ) from None
    with client, client.as_current(), joblib.parallel_config(backend="dask"):
        yield
