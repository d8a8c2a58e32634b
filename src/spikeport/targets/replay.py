"""Replay: each population is driven by the reference's own spikes, so a difference is that population's own step.

Running freely, a recurrent network magnifies a last bit until every spike differs; replayed, it cannot.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from spikeport.snn import engine
from spikeport.snn.drive import Inputs
from spikeport.snn.losses import Loss
from spikeport.snn.measures.differences import by_rounding, differing
from spikeport.snn.open_loop import open_loop, with_replay
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Runner, RunOptions, check_choices


@dataclass(frozen=True, kw_only=True)
class Replay:
    """differing: (step, trial, unit) with another count than the reference; compared: spikes of the reference.

    A silent trial compares nothing: `compared` says how much 0 differing spikes is worth.  by_rounding: how many of the
    differing are decided by rounding, because the reference's v is within 1e-9 mV of its threshold there.
    """

    target: str
    compared: int
    differing: int
    by_rounding: int
    silent_trials: int
    losses: tuple[Loss, ...]
    expected: Recording
    found: Recording


def replay(
    target: Runner,
    network: SpikingNetwork,
    inputs: Inputs | None = None,
    options: RunOptions | None = None,
    *,
    allow: Collection[str] = (),
    **choices: str,
) -> Replay:
    """Run `network` freely in float64 without noise, then `target` fed with those spikes, and compare.

    The free run is the engine's, whose spikes in float64 are the reference's, every one.
    """
    options = RunOptions() if options is None else options
    quiet = replace(options, with_noise=False, noise_values=None)
    expected = engine.simulate(
        network, inputs, n_steps=quiet.n_steps, n_batch=quiet.n_batch, seed=quiet.seed, first_trial=quiet.first_trial,
        with_noise=False, v0=quiet.v0, record=[name for name in quiet.record if name.endswith(".v")],
    )  # fmt: skip
    opened, given = open_loop(network, expected)
    lowering = target.lower(opened, allow=allow, **check_choices(target, choices))
    timed = replace(quiet, n_steps=expected.n_steps, n_batch=expected.n_batch)
    found = target.run(lowering, with_replay(inputs, network, given), timed)
    n_differing = differing(expected, found)
    rounding = 0
    if n_differing:  # v takes much memory, so it is recorded only where it is needed
        again = engine.simulate(
            opened, with_replay(inputs, network, given), n_steps=expected.n_steps, n_batch=expected.n_batch,
            seed=quiet.seed, first_trial=quiet.first_trial, v0=quiet.v0,
            record=[f"{p.name}.v" for p in opened.populations],
        )  # fmt: skip
        rounding = by_rounding(again, found, network)
    return Replay(
        target=target.name,
        compared=sum(s.n_spikes for s in expected.spikes.values()),
        differing=n_differing,
        by_rounding=rounding,
        silent_trials=_silent(expected),
        losses=lowering.losses,
        expected=expected,
        found=found,
    )


def _silent(recording: Recording) -> int:
    fired = np.sum([s.counts().sum(axis=1) for s in recording.spikes.values()], axis=0)
    return int((fired == 0).sum())
