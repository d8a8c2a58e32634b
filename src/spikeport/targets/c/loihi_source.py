"""The integer file: Loihi's step (targets/loihi/step.py) of a lowered network, in int32 and nothing wider.

    J    = sum of the weights that arrive, in units of 2^6
    u    = wrap(u (4095 - du) / 4096 + 2^6 J, 24 bits)
    v    = saturate(v (4096 - dv) / 4096 + u + bias)      where not refractory; division cuts toward 0
    z    = v > 2^6 vth, then v = 0

A product of 24 and 13 bits is made of two that fit. Arrivals beyond 21 bits are cut there, and told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from spikeport.snn.errors import RefusedError
from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.c import loihi_pieces, pieces
from spikeport.targets.c.comment import comment, macros
from spikeport.targets.c.delivery import Ring, advance, rings
from spikeport.targets.c.source import Source, function
from spikeport.targets.c.text import integer_type, signed_type
from spikeport.targets.c.writer import Writer
from spikeport.targets.fixed_point.integers import Ints
from spikeport.targets.loihi.chip import Chip, Compartments, Synapses
from spikeport.targets.loihi.drive import round_bias
from spikeport.targets.loihi.limits import ARRIVALS_MAX, CURRENT_OFFSET, DECAY_BITS, STATE_SHIFT, V_MAX, V_MIN

WHOLE = 1 << DECAY_BITS
MOST = ARRIVALS_MAX >> STATE_SHIFT  # of J


def loihi_source(network: SpikingNetwork, chip: Chip, deep: frozenset[str]) -> Source:
    """The file of a lowered network and its chip. deep: populations whose v may stop at its floor, as a loss says."""
    file = _File(network, chip, deep)
    return file.whole()


class _File:
    def __init__(self, network: SpikingNetwork, chip: Chip, deep: frozenset[str]) -> None:
        self.network, self.chip, self.deep, self.w = network, chip, deep, Writer("float32")
        self.rings: Mapping[str, Ring] = rings(network, self.w)
        self.number = {c.name: i for i, c in enumerate(chip.compartments)}
        self.ends = np.cumsum([0, *(c.n for c in chip.compartments)]).tolist()
        self.used: dict[str, str] = {}
        self.bias = np.concatenate([round_bias(c, c.bias).value for c in chip.compartments])
        self._check_sums()

    def _check_sums(self) -> None:
        """J must fit 32 bits when every source spikes; the chip's 21 bits are told step by step."""
        found = []
        for c in self.chip.compartments:
            total = np.zeros(c.n, dtype=np.int64)
            for s in self.chip.synapses:
                total += (np.abs(s.weight) >> STATE_SHIFT).sum(axis=1) if s.target == c.name else 0
            if total.max() >= 2**31:
                found.append(f"population {c.name}: {total.max()}, limit {2**31 - 1}")
        if found:
            raise RefusedError("c_loihi: sums of weights are beyond 32 bits", found, hint="fewer sources to a unit")

    def whole(self) -> Source:
        w = self.w
        populations = [self._population(c) for c in self.chip.compartments]
        w.state("J", max(c.n for c in self.chip.compartments), ctype="int32_t", what="what arrives, in 2^6")
        w.state("fired", max(c.n for c in self.chip.compartments), ctype="uint8_t", what="of the population at work")
        if self.bias.any():
            w.signed("bias_constant", self.bias)
        init, step = self._init(), self._step()
        head = loihi_pieces.HEAD.format(
            macros="\n".join(m for m in macros(self.network, w.sizes) if "SNN_HELD" not in m and "OUTPUTS" not in m),
            ram_bytes=w.sizes.ram_bytes, members="\n".join(m.declaration() for m in w.sizes.ordered()),
        )  # fmt: skip
        told = replace(self.network, readouts=())
        usage = "snn_init(&s);  then every SNN_DT_S seconds  snn_step(&s, bias, counts);  snn_fired(&s, unit)"
        top = comment(told, "Loihi's integers (int32)", w.sizes, usage, "the host computes biases and outputs")
        parts = [top, head, *w.tables, "", *self.used.values(), *populations, init, step, self._fired(), pieces.TAIL]
        fields = tuple((f"v{i}", c.n) for i, c in enumerate(self.chip.compartments))
        return Source(text="\n".join(parts), sizes=w.sizes, v_fields=fields)

    def _population(self, c: Compartments) -> str:
        w, a, n = self.w, self.number[c.name], c.n
        u, v = w.state(f"u{a}", n, ctype="int32_t"), w.state(f"v{a}", n, ctype="int32_t")
        first = self.ends[a]
        lines = ["int over = 0;", *w.loop(n, ["s->J[i] = 0;"])]
        lines += [line for i, s in enumerate(self.chip.synapses) if s.target == c.name for line in self._arrivals(i, s)]
        constant = f"bias_constant[{first}u + i]" if self.bias.any() else "0"
        floor = "" if c.name in self.deep else f"over |= v_free < {V_MIN} ? SNN_FLOOR : 0;"
        freezes = bool(c.refractory.any())
        ref, narrow, steps = "", "", ""
        if freezes:
            narrow, steps = integer_type(int(c.refractory.max())), w.whole_vector(f"ref_steps{a}", c.refractory)
            ref = w.state(f"ref{a}", n, ctype=narrow, what="refractory steps left")
        statements = [
            f"const int32_t J = s->J[i] > {MOST} ? {MOST} : (s->J[i] < -{MOST} ? -{MOST} : s->J[i]);",
            f"const int32_t u_free = snn_decay({u}[i], {self._keep(f'ku{a}', WHOLE - c.du - CURRENT_OFFSET)})"
            f" + J * {1 << STATE_SHIFT};",
            "const int32_t u = 8388608 - ((8388608 - u_free) & 16777215);",
            f"const int32_t drive = bias ? bias[{first}u + i] : {constant};",
            f"const int32_t v_free = snn_decay({v}[i], {self._keep(f'kv{a}', WHOLE - c.dv)}) + u + drive;",
            f"const int32_t v_new = v_free > {V_MAX} ? {V_MAX} : (v_free < {V_MIN} ? {V_MIN} : v_free);",
            *([f"const int awake = {ref}[i] == 0;", f"const int32_t v = awake ? v_new : {v}[i];",
               f"const int fired = awake & (v > {c.scale});"] if freezes
              else ["const int32_t v = v_new;", f"const int fired = v > {c.scale};"]),
            "over |= J != s->J[i] ? SNN_ARRIVALS : (u != u_free ? SNN_CURRENT : 0);",
            *([floor.replace("v_free <", "awake && v_free <") if freezes else floor] if floor else []),
            *([f"{ref}[i] = ({narrow})(fired ? {steps} : (uint32_t){ref}[i] - !awake);"] if freezes else []),
            f"{u}[i] = u;",
            f"SNN_TRACE({first}u + i, v);",
            f"{v}[i] = fired ? 0 : v;",
            "s->fired[i] = (uint8_t)fired;",
        ]  # fmt: skip
        lines += w.loop(n, statements)
        w.sizes.operations.bit_operations += 6 * n  # of the two decays
        w.sizes.operations.multiplies += 4 * n
        w.sizes.operations.adds += 2 * n
        now = self.rings[c.name].now
        lines += [f"memset({now}, 0, {self.rings[c.name].bytes}u);"]
        lines += w.loop(n, ["if (s->fired[i])", f"    {now}[i >> 3] |= (uint8_t)(1u << (i & 7u));"])
        head = f"static int snn_population_{a}(snn_state *s, const int32_t *bias, const uint16_t *counts)"
        return function(head, [*lines, "return over;"])

    def _keep(self, name: str, values: Ints) -> str:
        """A factor of a decay, as a signed literal where all units share it."""
        return str(int(values[0])) if np.ptp(values) == 0 else self.w.whole_vector(name, values)

    def _arrivals(self, index: int, s: Synapses) -> list[str]:
        weight = s.weight >> STATE_SHIFT
        source, target = np.nonzero(weight.T)
        if not source.size:
            return []
        w, ring, values = self.w, self.rings[s.source], weight.T[source, target]
        kinds = (signed_type(int(values.min()), int(values.max())), integer_type(source.size),
                 integer_type(weight.shape[0] - 1))  # fmt: skip
        w.signed(f"w{index}", values, kinds[0])
        w.integers(kinds[1], f"f{index}", np.searchsorted(source, np.arange(weight.shape[1] + 1)))
        w.integers(kinds[2], f"t{index}", target)
        bits, spiked = ("uint16_t", "z[j] != 0") if ring.is_input else ("uint8_t", "(z[j >> 3] >> (j & 7u)) & 1")
        name = "_".join(["counts" if ring.is_input else "spikes", *(kind.removesuffix("_t") for kind in kinds)])
        self.used.setdefault(name, loihi_pieces.DELIVERY.format(
            name=name, weight=kinds[0], first=kinds[1], index=kinds[2], bits=bits, spiked=spiked
        ))  # fmt: skip
        w.sizes.operations.add(["if (z[i] != 0)" if ring.is_input else "if ((z[i] >> 3) & 1u)", "f[i]", "f[i]"],
                               weight.shape[1])  # fmt: skip
        w.sizes.operations.add(["J[i] += w[i];", "t[i]"], source.size)
        return [f"snn_{name}(s->J, w{index}, f{index}, t{index}, {ring.ago(s.delay)}, {weight.shape[1]}u);"]

    def _init(self) -> str:
        lines = ["memset(s, 0, sizeof *s);"]
        for a, c in enumerate(self.chip.compartments):
            if c.v0.any():
                self.w.signed(f"start{a}", c.v0)
                lines += [f"for (i = 0; i < {c.n}u; i++) {{", f"    s->v{a}[i] = start{a}[i];", "}"]
        return function("void snn_init(snn_state *s)", lines)

    def _step(self) -> str:
        channels = sum(self.chip.inputs.values())
        lines = ["int over = 0;"]
        if channels:
            lines += self.w.loop(channels, ["over |= counts[i] > 1 ? SNN_CROWDED : 0;"])
        lines += advance(self.rings, self.w)
        order = [self.network.populations[i].name for i in self.network.population_order()]
        lines += [f"over |= snn_population_{self.number[name]}(s, bias, counts);" for name in order]
        return function(
            "int snn_step(snn_state *s, const int32_t *bias, const uint16_t *counts)", [*lines, "return over;"]
        )

    def _fired(self) -> str:
        lines: list[str] = []
        for c in self.chip.compartments:
            lines += [f"if (unit < {c.n}u)", f"    return ({self.rings[c.name].now}[unit >> 3] >> (unit & 7u)) & 1;",
                      f"unit -= {c.n}u;"]  # fmt: skip
        return function("int snn_fired(const snn_state *s, uint32_t unit)", [*lines[:-1], "return 0;"])
