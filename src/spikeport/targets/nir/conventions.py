"""What each NIR reader computes from a file: literals, so that a network can be checked and written for one of them.

NIR fixes no dt, no order of a step, no reset by subtraction and no initial state, so each reader chose its own. Every
one of them steps a CubaLIF (or LI and LIF) like this, with a and b its decays of synapse and membrane:

    i = a i + u        (decays_input: i = a (i + u))        v = b v + i        spike v > v_threshold (or >=)

and a file for it holds the time constants from which *its* formula finds the decays of our step (tables.py):

    euler         decay = 1 - dt/tau        tau = dt / (1 - decay)
    exponential   decay = exp(-dt/tau)      tau = -dt / ln(decay)

A fault that a reader has is a field here, and a test fails if the reader loses it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from spikeport.snn.synapses import Delta, DoubleExponential, Exponential
from spikeport.targets.capabilities import ALL_PARAMETERS, Capabilities

_NIR = Capabilities(  # what no reader has, because NIR has no field for it
    synapses=frozenset({Exponential, Delta}), readouts=None, refractory=False, initially_refractory=False, noise=False,
    keyed_noise=False, noise_while_refractory=False, spikes_while_refractory=False, initial_v=False,
    source="nir 1.0.8, ir/neuron.py",
)  # fmt: skip
_UNIFORM = ALL_PARAMETERS - {"tau_mem", "tau_syn"}  # thresholds, resets and biases go into the weights


@dataclass(frozen=True, kw_only=True)
class Convention:
    """A NIR reader, as measured (or, where `measured` is False, as documented).

    dt: s, where the reader has its own; None: its caller says it, and must say the network's.  decay: "euler" or
    "exponential" (above).  in_steps: tau is read as a number of steps.  node: "CubaLIF", or "LIF" with an LI for each
    synapse.  decays_input, at_or_above: above.  leak: v_leak is added to v in each step "as it is" or "times
    dt/tau_mem"; "": v_leak must be 0, and a bias of the membrane goes through the synapse (exporting.py).
    several_spikes: floor(v / threshold) spikes in a step.  between: the delay from one population to the next, steps.
    late: how many steps after its own a spike comes out.  nested: a loop is a graph of its own.  loops_only: takes
    populations with a loop only, so that others are written with one of zeros.  linear: takes nir.Linear.  one_path:
    runs a node when its first way in has been run (nirtorch.load), or knows only one way.
    readout: LI behind the spikes is read.  float32_decays: it keeps a decay as one float32 number, which near 1 says
    little of its time constant.  rounds: what its arithmetic rounds, if anything.  call: how its user must
    call it.
    """

    name: str
    version: str
    dt: float | None = None
    decay: str = "euler"
    in_steps: bool = False
    node: str = "CubaLIF"
    decays_input: bool = False
    at_or_above: bool = False
    leak: str = ""
    several_spikes: bool = False
    between: int = 0
    late: int = 0
    nested: bool = True
    loops_only: bool = False
    linear: bool = True
    one_path: bool = False
    readout: bool = False
    float32_decays: bool = False
    rounds: str = ""
    capabilities: Capabilities
    call: str
    source: str
    measured: bool = True


ANY = Convention(
    name="any", version="nir 1.0.8",
    capabilities=replace(
        _NIR, resets=frozenset({"to_value"}), heterogeneous=_UNIFORM,
        source="what most of the readers below agree on",
    ),
    call="one step per call, state passed back; dt = the one in the metadata",
    source="forward Euler, current before membrane, r = tau_mem/dt, w_in = tau_syn/dt, v_leak = v_reset = 0",
)  # fmt: skip

SNNTORCH = Convention(
    name="snntorch", version="1.0.0",
    float32_decays=True,
    dt=1e-4,  # _nir_to_snntorch_module: a literal in each branch
    capabilities=replace(
        _NIR,
        resets=frozenset({"to_value"}),  # reset_mechanism="zero", whatever v_reset says
        source="snntorch 1.0.0, import_nir.py; measured",
    ),
    call="net = import_from_nir(nir.read(FILE)); snntorch.utils.reset(net) before each run; z, state = net(u, state), "
    "one step per call, state passed back",
    source="snntorch 1.0.0, import_nir.py: Synaptic(alpha = 1 - dt/tau_syn, beta = 1 - dt/tau_mem); measured. A loop "
    "in the same graph is rewired wrongly (the input goes through the recurrent weights), so it is nested",
)  # fmt: skip

NORSE = Convention(
    name="norse", version="1.1.0",
    one_path=True,  # nirtorch.load: trace_execution
    capabilities=replace(
        _NIR, dtypes=("float32",),
        source="norse 1.1.0, torch/utils/import_nir.py; measured",
    ),
    call="net = norse.torch.from_nir(nir.read(FILE), dt=DT, reset_method=reset_value, or reset_subtract where the "
    "metadata says subtract); z, state = net(u, state), one step per call, state passed back",
    source="norse 1.1.0: i += dt/tau_syn (w_in u - i), v += dt/tau_mem (r i - v), v > v_threshold; measured. v_reset "
    "is ignored (0), v_leak is counted in synapse and membrane, LI is dropped",
)  # fmt: skip

SPIKINGJELLY = Convention(
    name="spikingjelly", version="2.0.0",
    float32_decays=True,
    at_or_above=True,  # surrogate.heaviside is x >= 0
    capabilities=replace(
        _NIR,
        resets=frozenset({"to_value"}),  # map_cuba_lif gives every node a v_reset
        heterogeneous=_UNIFORM,  # _uniform_scalar
        source="spikingjelly 2.0.0, nir_exchange/from_nir.py; measured",
    ),
    call="net = import_from_nir(nir.read(FILE), dt=DT); z, state = net(u, state), one step per call, state passed "
    "back, state=None starts a run",
    source="spikingjelly 2.0.0: CUBALIFNode(c_decay = 1 - dt/tau_syn, v_decay = 1 - dt/tau_mem); measured. It refuses "
    "what it cannot do",
)  # fmt: skip

ROCKPOOL = Convention(
    name="rockpool", version="3.1.0",
    float32_decays=True,
    decay="exponential", decays_input=True, at_or_above=True, leak="as it is", several_spikes=True,
    one_path=True,  # nirtorch.load
    capabilities=replace(
        _NIR, synapses=frozenset({Exponential}),  # exp(-dt/tau_syn) is never 0, as a Delta would need
        resets=frozenset({"subtract"}),  # LIFTorch: v -= spikes * threshold
        source="rockpool 3.1.0, nn/modules/torch/nir.py and lif_torch.py; measured",
    ),
    call="net = from_nir(nir.read(FILE)) before each run; z, state = net(u), all steps in one call, u (batch, time, "
    "n). The state is kept between calls, and then it is trial 0's for every trial",
    source="rockpool 3.1.0: dt = min(tau_mem/(1 + r)), so r = tau_mem/dt - 1; i = a (i + u), v = b v + i + v_leak; "
    "measured. w_in and v_reset are ignored",
)  # fmt: skip

SPYX = Convention(
    name="spyx", version="1.0.0",
    float32_decays=True,
    between=1, late=1, one_path=True,
    capabilities=replace(
        _NIR,
        resets=frozenset({"subtract"}),  # CuBaLIF: V - spikes * threshold
        source="spyx 1.0.0, nir.py and nn.py; measured",
    ),
    call="net, z = spyx.nir.from_nir(nir.read(FILE), u, dt=DT), u (time + 1, batch, n); row k + 1 of z is step k",
    source="spyx 1.0.0: CuBaLIF and RCuBaLIF spike on the v of the call before, so every population is one step late; "
    "alpha = 1 - dt/tau_syn, beta = 1 - dt/tau_mem; measured. r, w_in, v_leak and v_reset are ignored",
)  # fmt: skip

SINABS = Convention(
    name="sinabs", version="3.1.3",
    float32_decays=True,
    decay="exponential", in_steps=True, node="LIF", at_or_above=True, several_spikes=True,
    nested=False, linear=False, readout=True,
    one_path=True,  # nirtorch.load
    capabilities=replace(
        _NIR, synapses=frozenset({Exponential, DoubleExponential, Delta}),
        readouts=frozenset({Exponential, DoubleExponential}),
        resets=frozenset({"subtract"}),  # LIFSqueeze's default reset_fn, MembraneSubtract
        source="sinabs 3.1.3, nir.py and layers/functional/lif.py; measured",
    ),
    call="net = sinabs.from_nir(nir.read(FILE), batch_size=1); z, state = net(u, state), one step per call, state "
    "passed back",
    source="sinabs 3.1.3: LIF and LI are v = exp(-1/tau) v + u; measured. CubaLIF and nir.Linear are not read",
)  # fmt: skip

LAVA_DL = Convention(
    name="lava-dl", version="0.6.0 (the importer of the NIR paper)",
    # cuba.Neuron: voltage >= threshold + threshold_eps, on a grid that is coarser than threshold_eps: above, not at
    loops_only=True,  # a CubaLIF alone becomes a block of 7 units ("n_neurons = 7")
    linear=False,  # nir.Linear stops in torch.zeros_like of a tuple
    one_path=True,  # "branching networks are not supported"
    rounds="decays and what arrives in a step to 1/4096 of the threshold, states cut toward 0 in every step",
    capabilities=replace(
        _NIR, resets=frozenset({"to_value"}), heterogeneous=_UNIFORM,
        source="nir_to_lava_dl.py of the NIR paper's repository, and lava-dl's slayer; read, not run",
    ),
    call="net = import_from_nir(nir.read(FILE), ImportConfig(dt=DT, fixed_pt=False, library_preference="
    "LavaLibrary.LavaDl)).float() before each run; z = net(u), all steps in one call, u (batch, n, time). A block "
    "keeps its state between calls, but not the spikes that it sends itself",
    source="nir_to_lava_dl.py: slayer.block.cuba.Recurrent, current_decay = dt/tau_syn, voltage_decay = dt/tau_mem, "
    "scale = 64, so that 1 is 4096 in its integers; wants r = tau_mem/dt, v_leak = 0 and one value per population. "
    "Read, not run; tests/targets/nir_integers.py has its integers",
    measured=False,
)  # fmt: skip

SPINNAKER2 = Convention(
    name="spinnaker2", version="py-spinnaker2 (s2_nir)",
    between=1, nested=False, leak="times dt/tau_mem",
    rounds="weights to 8 bits: the largest of a population's becomes 127",  # scale_weights
    capabilities=replace(
        _NIR,
        held_via=frozenset(),  # create_populations: the input is a spike_list
        synaptic_bias=False,  # an Affine bias becomes i_offset, of the membrane
        source="py-spinnaker2's s2_nir; read, not run: it is not on PyPI, and needs a board",
    ),
    call="from_nir(graph, ConversionConfig(dt=DT, conn_delay=0, scale_weights=True, "
    "integrator=IntegratorMethod.FORWARD, reset=ResetMethod.ZERO, or SUBTRACT where the metadata says subtract))",
    source="s2_nir: syn_decay = 1 - dt/tau_syn, alpha_decay = 1 - dt/tau_mem, gains (dt/tau) r and (dt/tau) w_in into "
    "the threshold (IntegratorMethod.FORWARD). Read, not run; tests/targets/nir_integers.py has its 8-bit weights",
    measured=False,
)  # fmt: skip

READERS = {
    c.name: c for c in (ANY, SNNTORCH, NORSE, ROCKPOOL, SPYX, SPIKINGJELLY, SINABS, LAVA_DL, SPINNAKER2)
}  # fmt: skip


def differ_at_ties() -> list[str]:
    """Readers that differ from `any` only where v is exactly the threshold."""
    return [c.name for c in READERS.values() if c.at_or_above != ANY.at_or_above]


def differences(c: Convention, dt: float) -> list[str]:
    """Where `c` means something else than `any` by the same file, of a network of step dt; ties apart."""
    found = []
    if c.dt is not None and abs(c.dt - dt) > 1e-9 * dt:
        found.append(f"its dt is {c.dt:g} s, the network's is {dt:g} s")
    for what, mine, theirs in (
        ("decays are", ANY.decay, c.decay),
        ("tau is read in", "s", "steps" if c.in_steps else "s"),
        ("neurons are", ANY.node, c.node),
        ("input is decayed", ANY.decays_input, c.decays_input),
        ("several spikes a step", ANY.several_spikes, c.several_spikes),
        ("steps between populations", ANY.between, c.between),
        ("steps late", ANY.late, c.late),
    ):
        found += [f"{what} {theirs}, here {mine}"] if mine != theirs else []
    missing = sorted(ANY.capabilities.resets - c.capabilities.resets)
    found += [f"no reset {', '.join(missing)}"] if missing else []
    return found
