"""What Norse's LIFBox really computes, and that the target says what it cannot."""

from __future__ import annotations

import pytest
from conformance_networks import NETWORKS, neuron
from require import need
from torch_networks import need_library

from spikeport.snn.errors import RefusedError
from spikeport.targets.base import RunOptions
from spikeport.targets.norse import build_module
from spikeport.targets.registry import get_target

norse = need_library("norse")
torch = need("torch", resource="norse")


def test_the_membrane_is_lifboxs_own() -> None:
    cell = build_module(NETWORKS["tau_mem per unit"].network, dtype="float64").populations[0].cell
    p = cell.parameters_of("heaviside")
    assert type(p).__name__ == "LIFBoxParameters"
    torch.testing.assert_close(p.tau_mem_inv, 1e-3 / torch.linspace(0.005, 0.03, 5, dtype=torch.float64))


def test_a_frozen_unit_keeps_its_v_to_the_last_bit() -> None:
    cell = build_module(NETWORKS["tau_mem per unit"].network, dtype="float64").populations[0].cell
    v = torch.rand((4, 5), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, after = cell.step(v, v, torch.zeros(4, 5, dtype=torch.bool), False)
    assert (after == v).all()


@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_norses_superspike_does_not_use_its_alpha(alpha: float) -> None:
    from norse.torch.functional.threshold import threshold

    x = torch.tensor([0.5], requires_grad=True)
    threshold(x, "super", torch.tensor(alpha)).backward()
    assert x.grad.item() == pytest.approx(1 / 1.5**2)


def test_norses_reset_by_subtraction_forgets_v_reset() -> None:
    from norse.torch.functional.reset import reset_subtract

    # v - (v_th - v_reset) would be 1.2 - (1 - 0.5)
    found = reset_subtract(torch.tensor(1.0), torch.tensor(1.2), torch.tensor(0.5), torch.tensor(1.0))
    assert found.item() == pytest.approx(0.2)


def test_a_step_longer_than_the_membrane_constant_runs() -> None:
    case, target = NETWORKS["plain"], get_target("norse")
    coarse = neuron(tau_mem=0.0008)
    from spikeport.snn import reference

    expected = reference.simulate(coarse, case.inputs, **case.run())
    found = target.run(target.lower(coarse), case.inputs, RunOptions(**case.run()))
    assert (expected.spikes["a"].n_spikes > 0, expected.spikes["a"].differing(found.spikes["a"])) == (True, 0)


def test_a_membrane_without_leak_is_refused() -> None:
    target = get_target("norse")
    assert [p.feature for p in target.problems(neuron(tau_mem=1e15))] == ["integrator"]
    with pytest.raises(RefusedError, match=r"population a: tau_mem: 1e\+15 s, .* LIFBox needs a leak"):
        target.lower(neuron(tau_mem=1e15))
