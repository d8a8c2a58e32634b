"""The C file: spike for spike the engine's, its bytes and operations as it says, and nobody's name becomes code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_files import _strictly_compiled, counted_operations, run_program  # noqa: F401 (the first is a fixture)
from conformance_networks import NETWORKS, plain
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_networks import Case, cases
from require import need_compiler

from spikeport.snn import engine
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.targets.base import RunOptions
from spikeport.targets.c import C, build
from spikeport.targets.c.build import compiled
from spikeport.targets.c.source import float_source
from spikeport.targets.export import export_network

SLOW = settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))


def pair(case: Any, dtype: str, weights: str = "auto") -> tuple[Recording, Recording]:
    """What the file did, and what the engine did, with every v."""
    network = case.network
    record = tuple(f"{p.name}.v" for p in network.populations)
    lowering = C.lower(network, weights=weights)
    found = C.run(lowering, case.inputs, RunOptions(**case.run(), dtype=dtype, record=record))
    return found, engine.simulate(network, case.inputs, dtype=dtype, record=record, **case.run())


def assert_same(found: Recording, expected: Recording, *, exact: float) -> None:
    """The same spikes, and v to the last bit; outputs are summed in another order than the engine's."""
    assert {n: s.differing(found.spikes[n]) for n, s in expected.spikes.items()} == dict.fromkeys(expected.spikes, 0)
    for name, v in expected.traces.items():
        np.testing.assert_array_equal(found.traces[name], v)
    for name, values in expected.outputs.items():
        size = np.abs(values).max(initial=1.0)
        np.testing.assert_allclose(found.outputs[name] / size, values / size, rtol=0, atol=exact)


@SLOW
@given(cases(), st.sampled_from(["auto", "dense", "sparse"]))
def test_any_network_in_float64_has_the_spikes_and_potentials_of_the_engine(case: Case, weights: str) -> None:
    need_compiler()
    assert_same(*pair(case, "float64", weights), exact=1e-12)


@SLOW
@given(cases())
def test_any_network_in_float32_has_the_spikes_and_potentials_of_the_float32_engine(case: Case) -> None:
    need_compiler()
    assert_same(*pair(case, "float32"), exact=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_conformance_network_in_float32_has_the_engines_spikes(name: str) -> None:
    need_compiler()
    assert_same(*pair(NETWORKS[name], "float32"), exact=1e-5)


def many_channels() -> SpikingNetwork:
    """Held inputs of more channels than are written out one by one, on the membrane and through a synapse."""
    rng = np.random.default_rng(0)
    a = Population(name="a", n=40, neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=0.002),
                   synapses={"s": DoubleExponential(tau_rise=0.002, tau_decay=rng.uniform(0.005, 0.02, 40))},
                   noise_sd=0.05, v0=Uniform(-1.0, 0.9))  # fmt: skip
    return SpikingNetwork(
        populations=(a,), inputs=(HeldInput(name="u", n=24, dt=0.005), HeldInput(name="w", n=2, dt=0.001)),
        projections=(Projection(source="u", target="a", weight=rng.normal(0.1, 0.3, (40, 24))),
                     Projection(source="w", target="a", weight=rng.normal(0.1, 0.3, (40, 2))),
                     Projection(source="u", target="a", weight=rng.normal(0, 0.2, (40, 24)), synapse="s"),
                     Projection(source="a", target="a", weight=rng.normal(0, 0.004, (40, 40)), synapse="s", delay=3)),
        readouts=(ReadOut(name="o", source="a", weight=rng.normal(size=(6, 40)), bias=rng.normal(size=6),
                          synapse=Exponential(tau=0.01)),),
        dt=1e-3, integrator="exact",
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_many_channels_are_summed_in_the_engines_order(dtype: str) -> None:
    need_compiler()
    network, rng = many_channels(), np.random.default_rng(1)
    inputs = {"u": rng.uniform(0, 1, (200, 2, 24)), "w": rng.uniform(0, 1, (1000, 2, 2))}
    case = Case(network=network, inputs=inputs, n_steps=1100, n_batch=2, seed=5, first_trial=3, with_noise=True)
    found, expected = pair(case, dtype)  # more steps than a block of the host's
    assert expected.spikes["a"].n_spikes > 1000
    assert_same(found, expected, exact=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("weights", ["auto", "dense", "sparse"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_feature_compiles_without_a_warning(dtype: str, weights: str) -> None:
    commands = [need_compiler(), *([command] for command in ("gcc", "clang") if shutil.which(command))]
    for network in (*(case.network for case in NETWORKS.values()), many_channels(), named_alike()):
        text = float_source(network, dtype, weights).text
        for command in commands[1:] or commands:
            call = [*command, *build.FLAGS, "-fsyntax-only", "-x", "c", "-"]
            done = subprocess.run(call, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[:2000]


def named_alike() -> SpikingNetwork:
    """Few held channels on the membrane, and more in three inputs on the second synapse."""
    rng = np.random.default_rng(0)
    cell = LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=np.array([0, 0.3, 0.001]))
    a = Population(name="a", n=3, neuron=cell,
                   synapses={"r": Exponential(tau=0.01), "s": Exponential(tau=0.005)})  # fmt: skip
    ports = tuple(HeldInput(name=name, n=n, dt=0.001) for name, n in (("u", 1), ("w", 3), ("x", 4)))
    held = [("u", None), ("w", None), ("u", "s"), ("w", "s"), ("x", "s")]
    sizes = {p.name: p.n for p in ports}
    return SpikingNetwork(
        populations=(a,), inputs=ports, dt=1e-3, integrator="exact", readouts=(),
        projections=tuple(Projection(source=p, target="a", weight=rng.normal(0, 1, (3, sizes[p])), synapse=s)
                          for p, s in held),
    )  # fmt: skip


@pytest.mark.parametrize("flags", [("-O0",), ("-O3", "-march=native"), ("-Os",)], ids="".join)
def test_every_optimisation_gives_the_same_bits(flags: tuple[str, ...]) -> None:
    network = many_channels()
    need_compiler()
    expected = run_program(network, "float32", steps=300, flags=("-O2",))
    assert run_program(network, "float32", steps=300, flags=flags) == expected
    assert expected.count("1") > 100


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_sanitizers_find_nothing(dtype: str) -> None:
    need_compiler()
    flags = ("-g", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    for network in (many_channels(), NETWORKS["chain, delay 3"].network, NETWORKS["refractory"].network):
        assert "1" in run_program(network, dtype, steps=200, flags=flags)


@SLOW
@given(cases())
def test_a_step_never_takes_more_operations_than_the_file_says(case: Case) -> None:
    """Counted by compiling the same file as C++ with a type that counts."""
    need_compiler("g++")
    assume(case.network.n_neurons < 40)
    said = float_source(case.network, "float64", "auto").sizes.operations
    counted = counted_operations(case.network, steps=40)
    assert counted["multiplies"] <= said.multiplies
    assert counted["adds"] <= said.adds
    assert counted["compares"] <= said.compares


def test_where_every_unit_spikes_in_every_step_the_multiplies_and_adds_are_exactly_those() -> None:
    need_compiler("g++")
    network = plain()
    # a threshold under all that v can be: everyone spikes all the time
    always = replace(network.populations[0], neuron=replace(network.populations[0].neuron, v_threshold=-1, v_reset=-9))
    loop = Projection(source="a", target="a", weight=np.full((5, 5), 0.001), synapse="s", delay=1)
    readout = ReadOut(name="o", source="a", weight=np.arange(1.0, 11).reshape(2, 5), bias=np.ones(2),
                      synapse=DoubleExponential(tau_rise=0.002, tau_decay=0.006))  # fmt: skip
    network = replace(network, populations=(always,), projections=(*network.projections, loop), readouts=(readout,))
    said = float_source(network, "float64", "dense").sizes.operations
    counted = counted_operations(network, steps=40, weights="dense")
    # by hand: 5 units (3 inputs, 5 sources; x: 2, B: 1, A: 1), and 5 units of a read-out (3, and a weight each of 2)
    assert counted["multiplies"] == said.multiplies == 5 * 3 + 5 * 4 + 5 * 3 + 2 * 5
    assert counted["adds"] == said.adds == 5 * 3 + 5 * 5 + 5 * (1 + 2) + 5 * 2 + 2 * 5 + 2


@SLOW
@given(cases())
def test_the_state_and_the_tables_are_as_large_as_the_file_says(case: Case) -> None:
    need_compiler()
    source = float_source(case.network, "float32", "auto")
    tables = re.findall(r"^static const \w+ (\w+)\[\d+\] = ", source.text, flags=re.MULTILINE)
    total = " + ".join(f"sizeof({name})" for name in tables) or "0"
    use = f'#include "net.c"\nunsigned long tables(void);\nunsigned long tables(void) {{ return {total}; }}\n'
    use += "unsigned long state(void);\nunsigned long state(void) { return sizeof(snn_state); }\n"
    library = compiled({"net.c": source.text, "use.c": use}, "use.c", ("-O0",))
    assert (library.tables(), library.state()) == (source.sizes.flash_bytes, source.sizes.ram_bytes)


NASTY = st.text(max_size=12) | st.sampled_from(
    ["*/ int x = 1; /*", "??/\nint y;", "\\\nint z;", '"; system("ls"); "', "#error no\n", "naïve µ", "%d%s", "// a"]
)
NAMES = NASTY.map(lambda t: "".join(c for c in t if c.isprintable()) or "x")  # of populations, inputs, read-outs


@SLOW
@given(NAMES, NAMES, NASTY, NASTY)
def test_no_name_becomes_code(population: str, port: str, synapse: str, file: str) -> None:
    assume(population != port)
    need_compiler()
    network = plain()
    a = replace(network.populations[0], name=population, synapses={synapse: Exponential(tau=0.005)})
    into = replace(network.projections[0], source=port, target=population, synapse=synapse)
    readout = ReadOut(name=port, source=population, weight=np.ones((1, 5)), bias=np.zeros(1),
                      synapse=Exponential(tau=0.01))  # fmt: skip
    named = replace(network, populations=(a,), projections=(into,), inputs=(SpikeInput(name=port, n=3),),
                    readouts=(readout,), provenance={"source": {"file": file}})  # fmt: skip
    text, usual = (float_source(n, "float32", "auto").text for n in (named, replace(network, readouts=(
        replace(readout, source="a"),))))  # fmt: skip
    compiled({"net.c": text}, "net.c", ("-O0",))  # any warning, of a comment in a comment too, is an error
    code = [re.sub(r"^/\*.*?\*/", "", t, count=1, flags=re.DOTALL) for t in (text, usual)]
    assert code[0] == code[1]  # names are in the comment only
    assert text.isascii()


def test_the_file_declares_and_defines_apart(tmp_path: Path) -> None:
    cc = need_compiler()
    (tmp_path / "net.c").write_text(float_source(plain(), "float32", "auto").text)
    (tmp_path / "main.c").write_text(
        '#define SNN_DECLARATIONS\n#include "net.c"\nstatic snn_state s;\n'
        "int main(void)\n{\n    uint16_t counts[SNN_CHANNELS] = {3, 3, 3};\n    int k, fired = 0;\n"
        "    snn_init(&s, 0, 0);\n    for (k = 0; k < 50; k++) {\n        snn_step(&s, 0, counts);\n"
        "        fired += snn_fired(&s, 4);\n    }\n    return fired > 5 ? 0 : 1;\n}\n"
    )
    call = [*cc, *build.FLAGS, "net.c", "main.c", "-o", "program"]
    subprocess.run(call, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "program"], check=True)


def test_a_held_value_that_is_no_number_is_refused_and_the_state_stays(tmp_path: Path) -> None:
    cc = need_compiler()
    (tmp_path / "net.c").write_text(
        float_source(NETWORKS["held input on the membrane"].network, "float32", "auto").text
    )
    (tmp_path / "main.c").write_text(
        '#include "net.c"\n#include <math.h>\nint main(void)\n{\n    static snn_state s, before;\n'
        "    snn_real held[SNN_HELD] = {1, 1};\n    uint16_t counts[SNN_CHANNELS] = {1, 0, 2};\n"
        "    snn_init(&s, 0, 0);\n    if (snn_step(&s, held, counts))\n        return 1;\n    before = s;\n"
        "    held[1] = NAN;\n    if (!snn_step(&s, held, counts))\n        return 2;\n    held[1] = -INFINITY;\n"
        "    if (!snn_step(&s, held, counts))\n        return 3;\n"
        "    return memcmp(&s, &before, sizeof s) ? 4 : 0;\n}\n"
    )
    subprocess.run(
        [*cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "main.c", "-o", "program"], cwd=tmp_path, check=True
    )
    subprocess.run([tmp_path / "program"], check=True)


@pytest.mark.parametrize("flags", [("-ffast-math",), ("-O2", "-ffast-math")], ids="".join)
def test_a_compiler_that_may_reorder_sums_is_refused(flags: tuple[str, ...]) -> None:
    need_compiler()
    with pytest.raises(SpikeportError, match="ffast-math"):
        compiled({"net.c": float_source(plain(), "float32", "auto").text}, "net.c", flags)


def test_what_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    network = plain()
    large = replace(network, projections=(replace(network.projections[0], weight=np.full((5, 3), 1e39)),))
    with pytest.raises(RefusedError, match="beyond float32"):
        export_network(large, "c", tmp_path / "net.c")
    assert not list(tmp_path.iterdir())
    export_network(large, "c", tmp_path / "net.c", dtype="float64")


def test_without_a_compiler_it_exports_and_refuses_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    case = NETWORKS["plain"]
    with pytest.raises(RefusedError, match="there is no C compiler"):
        C.run(C.lower(case.network), case.inputs, RunOptions(**case.run()))
    assert export_network(case.network, "c", tmp_path / "net.c").costs["ram_bytes"] > 0


def test_a_file_without_a_generator_gives_noise_up_by_name() -> None:
    network = NETWORKS["noise"].network
    with pytest.raises(RefusedError, match="--allow noise"):
        C.lower(network, noise="none")
    lowering = C.lower(network, noise="none", allow=("noise",))
    assert [loss.what for loss in lowering.losses] == ["no membrane noise"]
    text = C.source(lowering).text
    assert "philox" not in text
    assert "philox" in C.source(C.lower(network)).text


def test_the_export_says_what_it_costs_and_where_it_comes_from(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from spikeport.cli import app
    from spikeport.snn.files import save_spiking_network

    network = plain()
    save_spiking_network(network, tmp_path / "net.h5")
    asked = ["export", str(tmp_path / "net.h5"), "--target", "c"]
    done = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "net.c"), "--json"])
    assert done.exit_code == 0, done.stderr
    costs = json.loads(done.stdout)["costs"]
    # by hand: v, x and J of 5 units (60), k (8), one byte of spikes, 5 flags, padded to 8
    assert costs["ram_bytes"] == 80
    assert costs["flash_bytes"] == 5 * 3 * 4
    assert costs["worst_step"]["multiplies"] == 5 * 3 + 5 * 4
    told = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "other.c")]).stdout
    assert re.search(r"ram bytes +80\n", told)
    from spikeport.snn.fingerprint import fingerprint

    text = (tmp_path / "net.c").read_text()
    assert f"sha256 {fingerprint(network)}" in text
    assert "0.001 s, integrator euler" in text
