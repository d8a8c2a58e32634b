"""What Xylo-Audio 2 (SYNS61201) can hold: every number with where it comes from.

[X]  xylosim 0.1.3, version 2: SynSense's own simulator; what it enforces or does was measured
[R]  SynSense's Rockpool documentation, "Overview of the Xylo family" (rockpool.ai/devices/xylo-overview.html)
[M]  Rockpool's mapper, devices/xylo/syns61201/xylo_mapper.py
[D]  its board utilities, devices/xylo/syns61201/xa2_devkit_utils.py: the memories, which the host writes
"""

from __future__ import annotations

STATE_BITS = 16  # [X] i of both synapses, dv and v; they saturate
STATE_MAX, STATE_MIN = 2**15 - 1, -(2**15)
THRESHOLD_MAX = 2**15 - 1  # [X] a larger one is a TypeError
BIAS_MAX, BIAS_MIN = 2**15 - 1, -(2**15)  # [X]
WEIGHT_MAX, WEIGHT_MIN = 127, -128  # [X] 8 bits [R]
SHIFT_MAX = 7  # of a matrix, to the left: with 8 a weight of 128 fills 16 bits [X]
DASH_MAX = 15  # 4 bits by the comment in [X], which takes 16 and more
DASH_SYN_MIN = 1  # with 0 a current is gone before it acts [X]
SYNAPSES = 2  # of a hidden neuron [R]; 1 of a read-out neuron
INPUTS = 16  # channels [R]
INPUT_SPIKES = 15  # of a channel in a step [R]
HIDDEN = 1000  # neurons [R] [M]
HIDDEN_SPIKES = 31  # of a neuron in a step [R] [X]
OUTPUTS = 8  # read-out neurons, of one spike a step [R] [M]
FAN_OUT = 64  # hidden neurons that one hidden neuron reaches [R]
RECURRENT = 32000  # pairs of hidden neurons [D] rforam; an average fan-out of 32 [R]

FULL = STATE_MAX  # the threshold at which v saturates: a spike leaves 0, so it resets to a value
HALF = 2**14  # the threshold that subtracts: v is below two of it, so no neuron spikes twice in a step
