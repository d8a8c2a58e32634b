"""Faults planted into real networks: the ladder names the declared ones, replay the others, in the first second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_attribution import late, neuron, rounded, scaled

from spikeport import load_source, transfer
from spikeport.convert.attribution.words import SPIKING
from spikeport.resources import model_path
from spikeport.snn import engine
from spikeport.snn.drive import Inputs
from spikeport.snn.rate import RateNetwork
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.base import RunOptions
from spikeport.targets.own import ENGINE
from spikeport.validation import ValidationResult, validate_network

pytestmark = pytest.mark.slow

MODELS = {
    "third party": ("go-nogo", 45),
    "go-nogo": ("go-nogo", 30),
    "xor": ("xor", 35),
    "integration": ("integration", 45),
}


@pytest.fixture(params=MODELS, scope="module")
def case(request: pytest.FixtureRequest) -> tuple[str, RateNetwork, str, float]:
    task, inverse_lambda = MODELS[request.param]
    if request.param == "third party":
        folder: Path = request.getfixturevalue("shared_data")
        return request.param, load_source(folder / "kim/go_nogo_n200.mat"), task, inverse_lambda
    return request.param, load_source(model_path(task)), task, inverse_lambda


def validated(network: SpikingNetwork, source: RateNetwork, task: str, trials: int, *targets: Any) -> ValidationResult:
    return validate_network(network, source, task, trials=trials, first=2000, seed=0, why=True, targets=targets)


@pytest.mark.parametrize(
    ("step", "plant"),
    [
        ("weights", lambda source, inverse: rounded(transfer(source, inverse), 3)),
        ("refractory", lambda source, inverse: neuron(transfer(source, inverse), t_ref=0.02)),
        ("dt: noise per step", lambda source, inverse: transfer(source, inverse, dt=2e-3)),
    ],
    ids=["3-bit weights", "t_ref 20 ms", "dt 2 ms"],
)
def test_a_declared_fault_is_named_on_the_ladder(
    case: tuple[str, RateNetwork, str, float], step: str, plant: Callable[[RateNetwork, float], SpikingNetwork]
) -> None:
    name, source, task, inverse = case
    why = validated(plant(source, inverse), source, task, 100).why
    assert why is not None
    ladder = why.ladders["spiking network"]
    assert step in [r.name for r in ladder.rungs]
    assert why.remainders == ()
    if (name, step) == ("go-nogo", "weights"):  # 3 bits cost this network nothing, and they are not blamed
        rung = next(r for r in ladder.rungs if r.name == step)
        assert rung.against_above is not None
        assert rung.against_above.interval[1] > 0
        blamed, costs, _ = why.sentence.partition("costs")
        assert costs
        assert SPIKING in blamed
        assert step not in blamed
    else:
        assert f"{step} (" in why.sentence
        assert "costs most" in why.sentence.split(f"{step} (")[1]


def inhibitory(source: RateNetwork) -> list[int]:
    return [int(i) for i in np.flatnonzero(source.labels["inh"])]


def slow_inhibition(source: RateNetwork, network: SpikingNetwork) -> SpikingNetwork:
    """Twice the time constant in the inhibitory units."""
    (p,) = network.populations
    tau = np.array(p.synapses["rec"].tau_decay)  # type: ignore[union-attr]
    tau[source.labels["inh"]] *= 2
    return replace(network, populations=(replace(p, synapses={"rec": replace(p.synapses["rec"], tau_decay=tau)}),))


@pytest.mark.parametrize("fault", ["weights", "tau", "inputs"])
def test_a_target_with_an_undeclared_fault_is_caught_by_replay_in_the_first_second(
    case: tuple[str, RateNetwork, str, float], fault: str
) -> None:
    _, source, task, inverse = case

    def simulate(n: SpikingNetwork, inputs: Inputs | None, options: RunOptions) -> Any:
        if fault == "weights":
            n = scaled(n, -1, rows=7)
        elif fault == "tau":
            n = slow_inhibition(source, n)
        else:
            n, inputs = late(n, inputs)
        names = ("n_steps", "n_batch", "seed", "first_trial", "with_noise", "record")
        return engine.simulate(n, inputs, **{k: getattr(options, k) for k in names})

    network = transfer(source, inverse, preset="kim2019" if fault != "inputs" else "standard")
    found = validated(network, source, task, 4, replace(ENGINE, name="faulty", simulate=simulate))
    assert found.why is not None
    (remainder,) = found.why.remainders
    assert remainder.seconds < 1
    if fault == "weights":
        assert remainder.units == (7,)
        assert remainder.edges == ("rec->rec",)
        assert "weights rec->rec of these units negated" in remainder.text
    elif fault == "tau":
        assert set(remainder.units) <= set(inhibitory(source))
        assert remainder.edges == ("rec->rec",)
        assert "a time constant of synapse rec 2 times" in remainder.text
    else:
        assert remainder.edges == ("u->rec",)
        assert "input u one step late" in remainder.text
