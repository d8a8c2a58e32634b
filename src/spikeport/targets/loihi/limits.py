"""What Loihi can hold: every number with where it comes from.

[D]  Davies et al., "Loihi: a neuromorphic manycore processor with on-chip learning", IEEE Micro 38(1), 82-99 (2018)
[L]  lava-nc 0.10, lava/proc/lif: the model tagged bit_accurate_loihi and its documented ranges
[M]  Michaelis, Lehr, Oed & Tetzlaff, Front. Neuroinform. 16:1015624 (2022); brian2-loihi 0.5.2 enforces the ranges
[N]  nengo-loihi 1.1, block.py, builder/discretize.py and hardware/validate.py, which marks some as to be checked
"""

from __future__ import annotations

# of a compartment
DECAY_BITS = 12  # [L] [M] a decay d keeps (4096 - d) / 4096 of a state
DECAY_MAX = 4095  # [L] du and dv: 0 .. 4095
CURRENT_OFFSET = 1  # [L] ds_offset: the current decays by du + 1, the voltage by dv
STATE_BITS = 24  # [L] u and v: 23 bits and a sign; u wraps, v saturates
V_MAX = 2**23 - 1  # [L]
V_MIN = -V_MAX  # [L]
STATE_SHIFT = 6  # [L] [M] weights and thresholds have 6 bits less than the states
ARRIVALS_MAX = 2**21 - 1  # [N] Q_BITS: the sum of one step's weights has 21 bits and a sign
THRESHOLD_MAX = 131071  # [L] [M] [N] vth: 17 bits
BIAS_MAX = 4095  # [N] mantissa; [L] has -4096 .. 4095
BIAS_EXPONENT_MAX = 7  # [L] [N]
REFRACTORY_MAX = 62  # [N] refractDelay 1 .. 63 with 1 = no step frozen; [M] has 1 .. 64
# of a synapse
WEIGHT_BITS = 8  # [L] [M] a mantissa is 0 .. 255, or -256 .. 254 in steps of 2 where both signs are mixed
WEIGHT_BITS_FEWER = (6, 5, 4, 3, 2, 1)  # [N] WEIGHT_BITS_MAP; the upper bits stay, so the step grows
WEIGHT_MAX = 255
WEIGHT_EXPONENT_MIN, WEIGHT_EXPONENT_MAX = -8, 7  # [M] [N]; below 0 the lowest bits are cut off, so nothing is gained
DELAY_MAX = 63  # steps to the arrival: 1, and a synaptic delay of 0 .. 62 [M]
# of a core
CORE_COMPARTMENTS = 1024  # [D]
CORE_PROFILES = 32  # [N] compartment configurations: (du, dv, refractory delay)
CORE_THRESHOLDS = 8  # [N] threshold configurations
CORE_FORMATS = 15  # [N] synapse formats (exponent, sign mode, delay): 16, of which the first is unused
CORE_IN_AXONS = 4096  # [N] "Input axons (4200) exceeded max (4096)"
CORE_OUT_AXONS = 4096  # [N]
CORE_SYNAPSE_BITS = 2**20  # [D] 128 KB of synaptic memory; [N] "Total synapse bits exceeded max (1048576)"
# how a list of synapses is stored [N] (SynapseConfig.bits_per_axon)
LIST_HEADER_BITS, LIST_WORD_BITS, LIST_LENGTH = 10, 64, 64
INDEX_BITS, DELAY_BITS = 10, 6
# of a chip
CHIP_CORES = 128  # [D]
