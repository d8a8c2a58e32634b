"""The integer file: every integer of the emulated chip, in 32 bits, and its refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_files import _strictly_compiled, run_integers  # noqa: F401 (the first is a fixture)
from conformance_networks import NETWORKS, plain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import Case, cases
from require import need_compiler

from spikeport.snn.errors import RefusedError, UnsupportedError
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Population, Projection, SpikeInput
from spikeport.snn.synapses import Exponential
from spikeport.targets.approximations import APPROXIMATIONS
from spikeport.targets.base import RunOptions
from spikeport.targets.c import C_LOIHI
from spikeport.targets.c.build import compiled
from spikeport.targets.export import export_network
from spikeport.targets.fixed_point.integers import decay
from spikeport.targets.loihi import LOIHI

SLOW = settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))


def outcome(target: Any, case: Case) -> Any:
    """The recording, or what was refused at which step."""
    traces = [f"{p.name}.v" for p in case.network.populations]
    options = RunOptions(**(case.run() | {"with_noise": False}), record=traces)
    try:
        return target.run(target.lower(case.network, allow=tuple(APPROXIMATIONS)), case.inputs, options)
    except UnsupportedError as refusal:  # of lowering, or of the run
        return refusal


@SLOW
@given(cases())
def test_any_network_that_the_chip_takes_has_the_chips_own_integers(case: Case) -> None:
    need_compiler()
    expected = outcome(LOIHI, case)
    found = outcome(C_LOIHI, case)
    if isinstance(expected, UnsupportedError):
        assert isinstance(found, UnsupportedError)
        return
    assert not isinstance(found, UnsupportedError), found
    for name, trains in expected.spikes.items():
        assert found.spikes[name].differing(trains) == 0
        np.testing.assert_array_equal(found.traces[f"{name}.v"], expected.traces[f"{name}.v"])
    for name, values in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], values)


@given(st.integers(-(2**23), 2**23), st.integers(0, 4096))
@settings(max_examples=30, deadline=None)
def test_a_decay_in_32_bits_is_the_chips(x: int, keep: int) -> None:
    need_compiler()
    source = C_LOIHI.source(C_LOIHI.lower(plain(), allow=("precision",))).text
    more = "int32_t probe(int32_t x, int32_t keep);\n"
    more += "int32_t probe(int32_t x, int32_t keep) { return snn_decay(x, keep); }\n"
    library = compiled({"net.c": source, "use.c": '#include "net.c"\n' + more}, "use.c", ("-O0",))
    assert library.probe(x, keep) == int(decay(np.array([x]), np.array([keep]), 12)[0])


def test_the_file_has_no_floating_point_and_nothing_wider_than_32_bits() -> None:
    case = NETWORKS["chain, delay 3"]
    text = C_LOIHI.source(C_LOIHI.lower(case.network, allow=("precision",))).text
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("SNN_DT_S 0.001", "")
    assert not re.search(r"\b(?:float|double|int64_t|uint64_t|long)\b|\d\.\d*[f;,) ]", code)


def test_a_state_that_overflows_is_refused_at_the_chips_step() -> None:
    """Many sources into a current that hardly decays."""
    need_compiler()
    a = Population(name="a", n=1, neuron=LIF(tau_mem=4.0, v_threshold=1.0, v_reset=0.0, t_ref=0.05),
                   synapses={"s": Exponential(tau=4.0)}, bias=100.0)  # fmt: skip
    given = Projection(source="x", target="a", weight=2000 * np.geomspace(1, 1e-3, 64)[None], synapse="s")
    strong = replace(plain(), populations=(a,), inputs=(SpikeInput(name="x", n=64),), projections=(given,))
    every = {"x": np.ones((400, 1, 64), dtype=np.int64)}
    options = RunOptions(n_steps=400, n_batch=1)
    steps = []
    for target in (LOIHI, C_LOIHI):
        with pytest.raises(RefusedError, match=r"a state overflows[^$]*step \d+ of trial 0") as refusal:
            target.run(target.lower(strong, allow=("precision",)), every, options)
        steps.append(re.findall(r"step \d+ of trial", str(refusal.value)))
    assert steps[0] == steps[1]


def test_several_spikes_of_a_channel_in_a_step_are_refused() -> None:
    need_compiler()
    lowering = C_LOIHI.lower(plain(), allow=("precision",))
    with pytest.raises(RefusedError, match="several spikes of one channel"):
        C_LOIHI.run(lowering, {"x": np.full((20, 1, 3), 2)}, RunOptions(n_steps=20))


def test_the_sanitizers_find_nothing_in_the_integers() -> None:
    need_compiler()
    flags = ("-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    for name in ("chain, delay 3", "refractory", "recurrent, delay 4"):
        lowering = C_LOIHI.lower(NETWORKS[name].network, allow=("precision", "min_delay"))
        assert "1" in run_integers(C_LOIHI.source(lowering).text, steps=200, flags=flags)


def test_the_state_and_the_tables_are_as_large_as_the_integer_file_says(tmp_path: Path) -> None:
    need_compiler()
    network = NETWORKS["recurrent, delay 4"].network
    done = export_network(network, "c_loihi", tmp_path / "net.c", allow=("precision",))
    text = (tmp_path / "net.c").read_text()
    tables = re.findall(r"^static const \w+ (\w+)\[\d+\] = ", text, flags=re.MULTILINE)
    assert tables
    use = f'#include "net.c"\nunsigned long tables(void);\nunsigned long tables(void) {{ return {" + ".join(f"sizeof({t})" for t in tables)}; }}\n'  # noqa: E501
    use += "unsigned long state(void);\nunsigned long state(void) { return sizeof(snn_state); }\n"
    library = compiled({"net.c": text, "use.c": use}, "use.c", ("-O0",))
    assert (library.tables(), library.state()) == (done.costs["flash_bytes"], done.costs["ram_bytes"])
    assert done.losses  # 8-bit weights are named
