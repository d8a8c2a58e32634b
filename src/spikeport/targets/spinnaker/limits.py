"""What SpiNNaker 1 and sPyNNaker can hold: every number with where it comes from.

[P]  sPyNNaker 1!7.4.1, the Python package
[C]  sPyNNaker's C sources as published (neural_modelling/src/neuron)
[F]  Furber, Galluppi, Temple & Plana, "The SpiNNaker project", Proc. IEEE 102(5), 652-665 (2014)
"""

from __future__ import annotations

WEIGHT_MAX = 2**16 - 1  # [C] synapse_row.h: weights of 16 bits, no sign; ring buffers as well, and they saturate
SHIFT_MAX = 15  # 65535 << 15 is the last that fits 32 bits
DELAY_MAX = 128  # steps; [P] more work with delay extensions, this many are tested with its mapping
SLOWEST = 2**15  # steps: kdivk(dt, tau) of a slower tau is 0 [C]
POTENTIAL_MAX = 2.0**15  # mV: differences of two potentials have to fit s16.15
CURRENT_ROOM = 2.0**12  # nA, a sixteenth of s16.15: room for held values larger than 1
GAIN_MAX = 8  # currents are 2^gain nA per mV: below 2^-8 mV nothing is gained
TIME_MAX = 2**31 - 1  # raw s16.15: 65.5 s [P]
DTCM = 65536  # bytes of a core's own memory [F]; current sources are kept in it [C]
