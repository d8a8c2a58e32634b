"""The same network in brian2-loihi: a second, independent emulator of Loihi (Michaelis et al. 2022).

pip install brian2-loihi       needs the extra brian2; with --no-deps it leaves what is installed as it is
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from spikeport.targets.loihi.chip import EXCITATORY, INHIBITORY, MIXED, Chip


def peer_run(chip: Chip, given: Any, n_steps: int) -> tuple[Any, Any, Any]:
    """(spikes, u, v after the reset), (time, n), of a chip of one population `a` and one input `x` (time, channels)."""
    import brian2
    import brian2_loihi as peer

    brian2.prefs.codegen.target = "numpy"
    modes = peer.synapse_sign_mode
    signs = {MIXED: modes.MIXED, EXCITATORY: modes.EXCITATORY, INHIBITORY: modes.INHIBITORY}
    c = chip.compartments[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Brian2's own
        group = peer.LoihiNeuronGroup(
            c.n, refractory=int(c.refractory[0]) + 1, threshold_v_mant=c.vth, decay_v=int(c.dv[0]),
            decay_I=int(c.du[0]) + 1, name="a",
        )  # fmt: skip
        steps, channels = np.nonzero(given)
        # a generator's spike of time t acts in the step of the same number
        source = peer.LoihiSpikeGeneratorGroup(given.shape[1], channels, steps, name="x")
        parts = [group, source]
        for index, s in enumerate(chip.synapses):
            synapses = peer.LoihiSynapses(
                source if s.source == "x" else group, group, delay=s.delay - (s.source != "x"), w_exp=s.exponent,
                sign_mode=signs[s.mode], name=f"s{index}",
            )  # fmt: skip
            post, pre = np.nonzero(s.mantissa)
            synapses.connect(i=pre, j=post)
            synapses.w = s.mantissa[post, pre].astype(np.int64)
            parts.append(synapses)
        fired = peer.LoihiSpikeMonitor(group, name="fired")
        u = peer.LoihiStateMonitor(group, "I", name="u")
        v = peer.LoihiStateMonitor(group, "v", name="v")
        peer.LoihiNetwork(*parts, fired, u, v).run(n_steps)
    z = np.zeros((n_steps, c.n), dtype=np.int64)
    z[np.round(np.asarray(fired.t_) * 1000).astype(int), np.asarray(fired.i)] = 1
    return z, np.asarray(u.I).T.astype(np.int64), np.asarray(v.v).T.astype(np.int64)
