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
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import Runner, RunOptions, check_choices
from spikeport.targets.rewrites import open_loop, with_replay


@dataclass(frozen=True, kw_only=True)
class Replay:
    """differing: (step, trial, unit) with another count than the reference; compared: spikes of the reference.

    A silent trial compares nothing: `compared` says how much 0 differing spikes is worth.
    """

    target: str
    compared: int
    differing: int
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
    return Replay(
        target=target.name,
        compared=sum(s.n_spikes for s in expected.spikes.values()),
        differing=sum(s.differing(found.spikes[name]) for name, s in expected.spikes.items()),
        silent_trials=_silent(expected),
        losses=lowering.losses,
        expected=expected,
        found=found,
    )


def _silent(recording: Recording) -> int:
    fired = np.sum([s.counts().sum(axis=1) for s in recording.spikes.values()], axis=0)
    return int((fired == 0).sum())
