"""What snnTorch's Leaky really computes, and that the target says what it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conformance_networks import NETWORKS, neuron
from require import need

from spikeport.snn.errors import RefusedError
from spikeport.targets.registry import get_target
from spikeport.targets.snntorch import build_module

snntorch = need("snntorch", resource="snntorch")
torch = need("torch", resource="snntorch")


def fire(start: float, drive: float, **how: object) -> tuple[float, float]:
    """(spike, v) of one step of Leaky with beta 0.5 and threshold 1."""
    cell = snntorch.Leaky(beta=0.5, **how)
    z, v = cell(torch.tensor([[drive]]), torch.tensor([[start]]))
    return z.item(), v.item()


def test_leaky_resets_one_step_late_by_default() -> None:
    assert fire(0.0, 1.5) == (1.0, 1.5)
    assert fire(0.0, 1.5, reset_delay=False) == (1.0, 0.5)
    assert fire(0.0, 1.5, reset_delay=False, reset_mechanism="zero") == (1.0, 0.0)


def test_leaky_above_its_threshold_misses_a_spike_and_with_zero_counts_its_input_twice() -> None:
    # the canonical step from v = 1.8: 0.5 * 1.8 + 0.2 = 1.1, a spike, and 0.1 or 0 after it
    assert fire(1.8, 0.2, reset_delay=False) == (0.0, pytest.approx(1.1))
    assert fire(1.8, 0.2, reset_delay=False, reset_mechanism="zero") == (0.0, pytest.approx(0.4))


def test_the_cell_around_leaky_spikes_there() -> None:
    for reset, after in (("subtract", 0.1), ("to_value", 0.0)):
        module = build_module(neuron(reset=reset, tau_mem=0.002), dtype="float64")
        cell = module.populations[0].cell
        v = torch.full((1, 5), 1.8, dtype=torch.float64)
        z, v = cell.step(torch.full_like(v, 0.2), v, None, True)
        torch.testing.assert_close((z, v), (torch.ones_like(v), torch.full_like(v, after)))


def test_leaky_spikes_are_float32_whatever_v_is_and_ours_are_not() -> None:
    v = torch.zeros(1, 5, dtype=torch.float64)
    assert snntorch.Leaky(beta=0.5)(v, v)[0].dtype == torch.float32
    module = build_module(NETWORKS["plain"].network, dtype="float64")
    assert module(torch.zeros(2, 1, 3))[1]["a"].dtype == torch.float64


def test_leaky_clamps_a_negative_decay_so_it_is_refused() -> None:
    assert snntorch.Leaky(beta=-0.5)(torch.zeros(1, 1), torch.ones(1, 1))[1].item() == 0.0
    coarse, target = neuron(tau_mem=0.0008), get_target("snntorch")
    assert [p.feature for p in target.problems(coarse)] == ["integrator"]
    with pytest.raises(
        RefusedError, match=r"population a: tau_mem: 0\.0008 s, below dt .* Leaky clamps its decay to 0 \.\. 1"
    ):
        target.lower(coarse)
    assert target.problems(replace(coarse, integrator="exact")) == ()


def test_no_module_stays_in_snntorchs_list_of_all_neurons() -> None:
    before = list(snntorch.SpikingNeuron.instances)
    build_module(NETWORKS["plain"].network)
    assert all(a is b for a, b in zip(snntorch.SpikingNeuron.instances, before, strict=True))


def test_the_membrane_is_leakys_own() -> None:
    module = build_module(NETWORKS["tau_mem per unit"].network, dtype="float64")
    (leaky,) = [m for m in module.modules() if isinstance(m, snntorch.Leaky)]
    torch.testing.assert_close(leaky.beta, 1 - 1e-3 / torch.linspace(0.005, 0.03, 5, dtype=torch.float64))
    assert (leaky.threshold.item(), leaky.reset_mechanism, leaky.reset_delay) == (1.0, "zero", False)
