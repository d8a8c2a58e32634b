"""Every target on every conformance network: it agrees with the reference, or refuses exactly what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
from conformance_matrix import AGREES, LOSS, REFUSES, columns, lowered, pages, suited
from conformance_networks import NETWORKS, Conformance
from require import missing, need_compiler

from spikeport.snn import reference
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import per_unit
from spikeport.snn.recording import Recording
from spikeport.targets.base import Lowering, Runner, RunOptions
from spikeport.targets.capabilities import Capabilities, check
from spikeport.targets.checking import missing_modules
from spikeport.targets.feed import read_out
from spikeport.targets.registry import TARGETS, get_target
from spikeport.targets.replay import replay

RUNNERS = [name for name in TARGETS if isinstance(get_target(name), Runner)]


def installed(name: str) -> Runner:
    target = get_target(name)
    assert isinstance(target, Runner)
    if missing_modules(target):
        missing(name, f"{', '.join(missing_modules(target))} is not installed")
    if target.name in ("c", "c_loihi"):
        need_compiler()
    return target


def options(case: Conformance, **changes: object) -> RunOptions:
    return replace(RunOptions(**case.run()), **changes)  # type: ignore[arg-type]


def assert_agrees(found: Recording, expected: Recording) -> None:
    differing = {name: s.differing(found.spikes[name]) for name, s in expected.spikes.items()}
    assert differing == dict.fromkeys(expected.spikes, 0)
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(found.outputs[name], values, rtol=1e-9, atol=1e-9)


def assert_agrees_where_rounding_cannot_decide(found: Recording, expected: Recording, lowering: Lowering) -> None:
    """A target whose lowering says how far rounding can take v ("rounding", in units of its network) is compared until
    v first is so near a threshold: of that unit, or of any unit where populations reach each other."""
    rounding = lowering.settings.get("rounding")
    if rounding is None:
        assert_agrees(found, expected)
        return
    network, compared = lowering.network, 0
    first = {}
    for p in network.populations:
        away = np.abs(expected.traces[f"{p.name}.v"] - per_unit(p.neuron.v_threshold, p.n))
        near = away <= rounding[p.name]
        first[p.name] = np.where(near.any(axis=0), near.argmax(axis=0), len(near))
    if any(j.source in first for j in network.projections):
        soonest = np.min([f.min(axis=1) for f in first.values()], axis=0)
        first = {name: np.broadcast_to(soonest[:, None], f.shape) for name, f in first.items()}
    for name, f in first.items():
        before = np.arange(expected.n_steps)[:, None, None] < f
        compared += int(before.sum())
        assert ((found.spikes[name].dense() - expected.spikes[name].dense())[before] == 0).all()
    assert compared >= 40
    for name, values in read_out(network, found.spikes).items():
        np.testing.assert_allclose(found.outputs[name], values, rtol=1e-9, atol=1e-9)


def traces(lowering: Lowering) -> list[str]:
    return [f"{p.name}.v" for p in lowering.network.populations]


@pytest.mark.parametrize("name", columns())
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_a_refusal_names_exactly_what_the_target_lacks(case: Conformance, name: str) -> None:
    target, choices = columns()[name]
    case = suited(target, case, **choices)
    problems = target.problems(case.network, **choices)
    assert {p.feature for p in problems} <= case.features, "it refuses what is not there"
    if problems:
        with pytest.raises(RefusedError, match=f"^{target.name}") as refusal:
            target.lower(case.network, **choices)
        assert refusal.value.problems == tuple(map(str, problems))
    else:
        assert target.lower(case.network, **choices).source is case.network


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_a_target_agrees_with_the_reference_or_refuses(
    case: Conformance, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Where a loss is allowed, it agrees with the network that the loss leaves."""
    target = installed(name)
    verdict, lowering = lowered(target, case)
    record_property("verdict", verdict)
    if lowering is None:
        assert verdict == REFUSES
        return
    noisy = target.capabilities.keyed_noise
    case, lowering, found = ran(target, case, lowering, with_noise=noisy)
    if found is None:
        assert case.name == "saturation, weaker"
        return
    if verdict == AGREES:
        expected = case.expected(with_noise=noisy)
    else:
        assert lowering.losses
        assert verdict == LOSS
        # in the units of the target, but the same spikes and outputs
        expected = reference.simulate(
            lowering.network, case.inputs, with_noise=noisy, record=traces(lowering), **case.run()
        )
    assert_agrees_where_rounding_cannot_decide(found, expected, lowering)


def ran(
    target: Runner, case: Conformance, lowering: Lowering, **changes: object
) -> tuple[Conformance, Lowering, Recording | None]:
    """A run; where it is refused, as a loss has told, the one of the same network with weaker weights, or None."""
    try:
        return case, lowering, target.run(lowering, case.inputs, options(case, **changes))
    except RefusedError:
        assert any("a run in which it does is refused" in loss.how_much for loss in lowering.losses)
    if case.name.endswith("weaker"):
        return case, lowering, None
    weaker = tuple(replace(j, weight=0.15 * j.weight) for j in case.network.projections)
    case = replace(case, name=f"{case.name}, weaker", network=replace(case.network, projections=weaker))
    again = lowered(target, case)[1]
    assert again is not None
    return ran(target, case, again, **changes)


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_replay_differs_in_no_spike(case: Conformance, name: str) -> None:
    target = installed(name)
    if lowered(target, case)[0] != AGREES:
        return
    found = replay(target, case.network, case.inputs, options(case))
    assert (found.differing, found.compared > 0) == (0, case.spikes)


@pytest.mark.parametrize("name", RUNNERS)
def test_v_is_recorded_in_millivolts_before_the_reset(name: str) -> None:
    target, case = installed(name), NETWORKS["millivolts"]
    lowering, recorded = whole(target, case), options(case, record=("a.v",))
    if not target.capabilities.records_v:
        with pytest.raises(SpikeportError, match="record"):
            target.run(lowering, case.inputs, recorded)
        return
    found = target.run(lowering, case.inputs, recorded)
    # integers are cut in every step; the same decays in floating point are this near
    tolerance = {"rtol": 1e-9, "atol": 1e-9 if target.capabilities.precision else 0.01}
    expected = reference.simulate(lowering.network, case.inputs, record=("a.v",), **case.run())
    np.testing.assert_allclose(found.traces["a.v"], lowering.invert(expected).traces["a.v"], **tolerance)
    if target.capabilities.precision:
        np.testing.assert_allclose(found.traces["a.v"], case.expected().traces["a.v"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RUNNERS)
def test_a_given_v0_is_used(name: str) -> None:
    target, case = installed(name), NETWORKS["millivolts"]
    v0 = {"a": np.random.default_rng(0).uniform(-64, -41, (case.n_batch, 5))}
    case, lowering, found = ran(target, case, whole(target, case), v0=v0)
    assert found is not None
    there = {"a": lowering.forward_v("a", v0["a"])}
    expected = reference.simulate(lowering.network, case.inputs, v0=there, record=traces(lowering), **case.run())
    assert_agrees_where_rounding_cannot_decide(found, expected, lowering)
    if target.capabilities.precision:
        assert_agrees(found, case.expected(v0=v0))


def whole(target: Runner, case: Conformance) -> Lowering:
    """The case on a target that gives up at most its precision."""
    return target.lower(case.network, allow=() if target.capabilities.precision else ("precision",))


@pytest.mark.slow  # lowers every network to every target
def test_the_tables_in_the_documents_are_what_the_targets_declare() -> None:
    stale = [path.name for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "python tests/conformance_matrix.py --write"


def flips(can: Capabilities) -> Iterator[tuple[str, Capabilities]]:
    """Each capability turned into its opposite, or its set with one element more or less."""
    every = Capabilities(source="")
    for field in fields(Capabilities):
        value, whole = getattr(can, field.name), getattr(every, field.name)
        if isinstance(value, bool) and field.name not in UNSEEN:
            yield field.name, replace(can, **{field.name: not value})  # type: ignore[arg-type]
        elif isinstance(whole, frozenset):
            for element in whole:
                changed = frozenset() if value is None else value ^ {element}
                label = element.__name__ if isinstance(element, type) else element
                yield f"{field.name} {label}", replace(can, **{field.name: changed})  # type: ignore[arg-type]
    yield "delays", replace(can, delays=None if can.delays == 1 else 1)  # a long limit has a test with its target
    yield "min_delay", replace(can, min_delay=2 if can.min_delay < 2 else 0)
    yield "populations", replace(can, populations=1 if can.populations is None else None)


UNSEEN = {"keyed_noise", "records_v", "spike_inputs"}  # the first two are behaviour, with tests of their own above


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "reference"])
def test_a_capability_that_is_flipped_changes_the_table(name: str) -> None:
    """So that no flag can be wrong unseen: the tests above run every entry of the table."""
    target, _ = columns()[name]
    declared = column(target.capabilities)
    assert not [flag for flag, can in flips(target.capabilities) if column(can) == declared]


def column(can: Capabilities) -> list[set[str]]:
    found = [{p.feature for p in check(case.network, can)} for case in NETWORKS.values()]
    assert len(found) == len(NETWORKS)
    return found
