"""The float file: the canonical step (snn/reference.py), with the engine's sums in the engine's order.

    arrivals     J += w z, projection by projection, source by source, in ascending order
    one loop     x = D x + jump J + held H;  v = (A v + B x) + (1 - A) (constant + w u);  noise;  spike;  reset
    read-outs    x = D x + jump z;  o = bias + w x_0, in ascending order

Constants are computed here, in float64, and rounded once, as the engine's are; so float64 has the reference's spikes
and float32 the engine's, every one. Parameters that all units share are literals, not tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeport.snn import noise
from spikeport.snn.drive import noise_key
from spikeport.snn.integrators import FLUSH_EVERY, TINY
from spikeport.snn.neurons import Array, per_unit
from spikeport.snn.spiking import Projection, SpikingNetwork, Uniform
from spikeport.targets.c import pieces, text
from spikeport.targets.c.comment import comment, macros
from spikeport.targets.c.delivery import Delivery, advance, rings
from spikeport.targets.c.drawing import Drawing
from spikeport.targets.c.sizes import Sizes
from spikeport.targets.c.writer import Writer, block, floored, literal_zero
from spikeport.targets.tables import PopulationStep, ReadOutStep, SynapseStep, population_steps, readout_steps

UNROLLED = 4  # channels and outputs written out one by one; more are a loop


@dataclass(frozen=True, kw_only=True)
class Source:
    """A C file, and what it costs. v_fields: the state's fields of v, in the network's order, with their units."""

    text: str
    sizes: Sizes
    v_fields: tuple[tuple[str, int], ...]


def float_source(network: SpikingNetwork, dtype: str, weights: str) -> Source:
    """The file of `network`. dtype: "float32" or "float64". weights: "auto" (the smaller), "dense" or "sparse"."""
    return _File(network, dtype, weights).whole()


class _File:
    """One file while it is written. Populations are called by their place in the network, never by their names."""

    def __init__(self, network: SpikingNetwork, dtype: str, weights: str) -> None:
        self.network, self.dtype, self.w = network, dtype, Writer(dtype)
        self.number = {p.name: i for i, p in enumerate(network.populations)}
        self.first = dict(zip(self.number, np.cumsum([0, *(p.n for p in network.populations)]).tolist(), strict=False))
        self.rings = rings(network, self.w)
        self.delivery = Delivery(network, self.w, self.rings, weights)
        self.drawing = Drawing(network, self.w)
        ports = network.held_inputs
        self.held_at = dict(zip((h.name for h in ports), np.cumsum([0, *(h.n for h in ports)]).tolist(), strict=False))
        self.states: list[tuple[str, int]] = []  # what is flushed
        self.many_held = False

    def whole(self) -> Source:
        w, network = self.w, self.network
        for p in network.populations:
            self.states.append((w.state(f"v{self.number[p.name]}", p.n, what="mV"), p.n))
        populations = [self._population(step) for step in population_steps(network)]
        outputs = sum(r.weight.shape[0] for r in network.readouts)
        if outputs:
            w.state("out", outputs, what="of the last step")
        readouts = [self._readout(i, step) for i, step in enumerate(readout_steps(network))]
        w.state("fired", max(p.n for p in network.populations), ctype="uint8_t", what="of the population at work")
        fills = self.drawing.fills()
        w.state("k", ctype="uint64_t", what="steps done")
        init, step = self._init(), self._step(fills)
        head = pieces.HEAD.format(
            macros="\n".join(macros(network, w.sizes)), ctype=w.ctype, ram_bytes=w.sizes.ram_bytes,
            members="\n".join(m.declaration() for m in w.sizes.ordered()),
        )  # fmt: skip
        tiny = pieces.FLUSH_TEXT.format(tiny=f"{TINY:g}", literal=text.real(w.cast(TINY), self.dtype))
        helpers = [*self.drawing.helpers(), *self.delivery.helpers(), *([pieces.HELD_TEXT] * self.many_held), tiny]
        parts = [comment(network, self.dtype, w.sizes), head, *w.tables, "", *helpers, *populations, *readouts, init,
                 step, self._fired(), pieces.TAIL]  # fmt: skip
        return Source(
            text="\n".join(parts),
            sizes=w.sizes,
            v_fields=tuple((f"v{i}", p.n) for i, p in enumerate(network.populations)),
        )

    def _population(self, step: PopulationStep) -> str:
        """static void snn_population_I: arrivals, then one loop over units."""
        w, n, ring = self.w, step.n, self.rings[step.name]
        lines: list[str] = []
        statements: list[str] = []
        current = ""
        for j, synapse in enumerate(step.synapses):
            lines += self.delivery.arrivals(step, j, synapse)
            current = self._synapse(step, j, synapse, lines, statements, current)
        drive = self._drive(step, lines, statements)
        statements += self._membrane(step, current, drive, lines)
        lines += w.loop(n, statements)
        lines += [f"memset({ring.now}, 0, {ring.bytes}u);"]
        w.sizes.operations.add(["z[i] = 0;"], ring.bytes)
        lines += w.loop(n, ["if (s->fired[i])", f"    {ring.now}[i >> 3] |= (uint8_t)(1u << (i & 7u));"])
        name = f"snn_population_{self.number[step.name]}"
        return function(f"static void {name}(snn_state *s, const snn_real *held, const uint16_t *counts)", lines)

    def _synapse(
        self, step: PopulationStep, j: int, s: SynapseStep, before: list[str], out: list[str], current: str
    ) -> str:
        """Statements that move a synapse on, and the name of the current with it."""
        w, tag, t = self.w, f"{self.number[step.name]}_{j}", s.table
        arriving = f"{w.vector(f'jump{tag}', t.jump[:, -1])} * s->J{j}[i]" if self.delivery.acts(s) else ""
        if s.n_states == 0:
            if arriving:
                out.append(f"const snn_real c{j} = {_sum(current, arriving)};")
            return f"c{j}" if arriving else current
        double = s.n_states == 2
        x, h = w.state(f"x{tag}", step.n), w.state(f"h{tag}", step.n) if double else ""
        self.states += [(f, step.n) for f in (x, h) if f]
        held = self._held_of(step, j, s, before, out)
        x_new, coupled = f"{w.vector(f'D{tag}', t.D[:, 0, 0])} * {x}[i]", ""
        if double:
            rise = f"{w.vector(f'F{tag}', t.D[:, 1, 1])} * {h}[i]"
            x_new = _sum(x_new, f"{w.vector(f'E{tag}', t.D[:, 0, 1])} * {h}[i]", held[0])
            out += [f"const snn_real x{j} = {x_new};", f"const snn_real h{j} = {_sum(rise, arriving, held[-1])};"]
            coupled = "" if literal_zero(t.B[:, 1]) else f"{w.vector(f'C{tag}', t.B[:, 1])} * h{j}"
        else:
            out.append(f"const snn_real x{j} = {_sum(x_new, arriving, held[0])};")
        coupling = f"{w.vector(f'B{tag}', t.B[:, 0])} * x{j}"
        out.append(f"const snn_real c{j} = {_sum(current, coupling, coupled)};")
        out += [f"{x}[i] = x{j};", *([f"{h}[i] = h{j};"] if double else [])]
        return f"c{j}"

    def _held_of(
        self, step: PopulationStep, j: int, s: SynapseStep, before: list[str], out: list[str]
    ) -> tuple[str, ...]:
        """held H of each state, as expressions; "" where there is nothing, or nothing of that state."""
        w, tag, gains = self.w, f"{self.number[step.name]}_{j}", s.table.held
        named = s.name in step.population.synaptic_bias
        if not s.held and not named:
            return ("",) * s.n_states
        states = [i for i in range(s.n_states) if not literal_zero(gains[:, i])]
        if not s.held:
            constant = {i: w.cast(gains[:, i]) * w.cast(s.bias) for i in states}
            return tuple(w.vector(f"H{tag}_{i}", constant[i]) if i in states else "" for i in range(s.n_states))
        total = self._with_held(f"s{tag}", s.bias, s.held, before)
        out.append(f"const snn_real u{j} = {total};")
        return tuple(f"{w.vector(f'G{tag}_{i}', gains[:, i])} * u{j}" if i in states else ""
                     for i in range(s.n_states))  # fmt: skip

    def _with_held(self, tag: str, constant: Array, held: tuple[Projection, ...], before: list[str]) -> str:
        """constant + w u, channel by channel: an expression, or a loop before the loop where channels are many."""
        w, n = self.w, constant.size
        if sum(j.weight.shape[1] for j in held) <= UNROLLED:
            total = w.vector(f"k{tag}", constant)
            for a, j in enumerate(held):
                for c in range(j.weight.shape[1]):
                    at = self.held_at[j.source] + c
                    total += f" + {w.vector(f'w{tag}_{a}_{c}', j.weight[:, c])} * held{at}"
                    told = f"const snn_real held{at} = held[{at}];"  # read once: a store to s might change held[]
                    before += [] if told in before else [told]
            return total
        self.many_held = True
        field = w.state(f"t{tag}", n, what="constant + w u")
        before += w.loop(n, [f"{field}[i] = {w.vector(f'k{tag}', constant)};"])
        for a, j in enumerate(held):
            channels = j.weight.shape[1]
            w.reals(f"w{tag}_{a}", j.weight.T)
            before.append(f"snn_held({field}, w{tag}_{a}, held + {self.held_at[j.source]}u, {channels}u, {n}u);")
            w.sizes.operations.add(["total[i] += w[i] * u[i];"], channels * n)
        return f"{field}[i]"

    def _drive(self, step: PopulationStep, before: list[str], out: list[str]) -> str:
        """(1 - A) (constant + w u): an expression."""
        w, tag, fresh = self.w, str(self.number[step.name]), 1 - step.A
        if not step.held:
            return w.vector(f"drive{tag}", w.cast(fresh) * w.cast(step.constant))
        out.append(f"const snn_real total = {self._with_held(f'u{tag}', step.constant, step.held, before)};")
        return f"{w.vector(f'fresh{tag}', fresh)} * total"

    def _membrane(self, step: PopulationStep, current: str, drive: str, before: list[str]) -> list[str]:
        """Evolve, noise, spike, reset: selects rather than branches, so that a compiler may vectorise."""
        w, p, a = self.w, step.population, self.number[step.name]
        v, freezes = f"s->v{a}", step.may_freeze
        noisy = step.noisy
        out = [f"const snn_real old = {v}[i];"]
        if noisy:
            scale = w.vector(f"noise{a}", per_unit(p.noise_sd, p.n) / noise.NORMAL_SD)
            before.append(f"const int16_t *noise = s->noise{a}[s->k & {noise.WORDS - 1}u];")
            out.append(f"const snn_real added = (snn_real)noise[i] * {scale};")
        moved = f"{w.vector(f'A{a}', step.A)} * old"
        moved = f"({moved} + {current}) + {drive}" if current else f"{moved} + {drive}"
        evolved = f"({moved}) + added" if noisy else moved
        fires = f"v > {w.vector(f'threshold{a}', floored(step.threshold, self.dtype))}"
        if freezes:
            ref, narrow, wide = self._refractory_field(step)
            steps = w.whole_vector(f"ref{a}", step.refractory)
            frozen = "old + added" if noisy and p.noise_while_refractory else "old"
            out += [
                f"const int awake = {ref}[i] == 0;",
                f"const snn_real next = {evolved};",
                f"const snn_real kept = {frozen};",
                "const snn_real v = awake ? next : kept;",
                f"const int fired = {fires};" if p.spikes_while_refractory else f"const int fired = ({fires}) & awake;",
                f"{ref}[i] = ({narrow})(fired ? {steps} : ({wide}){ref}[i] - !awake);",
            ]
        else:
            out += [f"const snn_real v = {evolved};", f"const int fired = {fires};"]
        reset = w.vector(f"reset{a}", -(step.threshold - step.reset) if step.subtracts else step.reset)
        after = f"v + {reset}" if step.subtracts else reset
        out += [
            f"SNN_TRACE({self.first[step.name]}u + i, v);",
            f"{v}[i] = fired ? {after} : v;",
            "s->fired[i] = (uint8_t)fired;",
        ]
        return out

    def _refractory_field(self, step: PopulationStep) -> tuple[str, str, str]:
        """The field, its type, and the type to compute in."""
        ctype = text.integer_type(int(max(step.refractory.max(), step.ref0.max())))
        field = self.w.state(f"ref{self.number[step.name]}", step.n, ctype=ctype, what="refractory steps left")
        return field, ctype, "uint64_t" if ctype == "uint64_t" else "uint32_t"

    def _readout(self, index: int, step: ReadOutStep) -> str:
        """static void snn_readout_I."""
        w, r, t = self.w, step.readout, step.table
        n, outputs, double = t.jump.shape[0], r.weight.shape[0], r.synapse.n_states == 2
        first = sum(other.weight.shape[0] for other in self.network.readouts[:index])
        x, h = w.state(f"rx{index}", n), w.state(f"rh{index}", n) if double else ""
        self.states += [(f, n) for f in (x, h) if f]
        z = self.rings[r.source].now
        jump = w.vector(f"rjump{index}", t.jump[:, -1])
        out = [f"const int fired = ({z}[i >> 3] >> (i & 7u)) & 1;",
               f"const snn_real jump = fired ? {jump} : 0;"]  # fmt: skip
        moved = f"{w.vector(f'rD{index}', t.D[:, 0, 0])} * {x}[i]"
        if double:
            out += [f"const snn_real x = {moved} + {w.vector(f'rE{index}', t.D[:, 0, 1])} * {h}[i];",
                    f"{h}[i] = {w.vector(f'rF{index}', t.D[:, 1, 1])} * {h}[i] + jump;"]  # fmt: skip
        else:
            out.append(f"const snn_real x = {moved} + jump;")
        out.append(f"{x}[i] = x;")
        lines = w.loop(n, out)
        for o in range(outputs):
            weight = w.vector(f"rw{index}_{o}", r.weight[o])
            lines += ["total = 0;", *w.loop(n, [f"total += {weight} * {x}[i];"])]
            lines.append(f"s->out[{first + o}] = total + {text.real(w.cast(r.bias[o]), self.dtype)};")
            w.sizes.operations.add([lines[-1]], 1)
        return function(f"static void snn_readout_{index}(snn_state *s)", ["snn_real total;", *lines])

    def _init(self) -> str:
        """void snn_init."""
        w = self.w
        lines = ["memset(s, 0, sizeof *s);"]
        drawn = False
        for step in population_steps(self.network):
            p, a = step.population, self.number[step.name]
            if isinstance(p.v0, Uniform):
                drawn = True
                lines += self.drawing.initial(a, p.v0, *noise_key(self.network, p))
            else:
                lines += [f"for (i = 0; i < {p.n}u; i++) {{",
                          f"    s->v{a}[i] = {w.vector(f'start{a}', per_unit(p.v0, p.n))};", "}"]  # fmt: skip
            if step.may_freeze and step.ref0.any():
                lines += [f"for (i = 0; i < {p.n}u; i++) {{",
                          f"    s->ref{a}[i] = {w.whole_vector(f'refstart{a}', step.ref0)};", "}"]  # fmt: skip
        keyed = [*(["s->seed = seed;", "s->trial = trial;", "s->noisy = 1;"] if self.drawing.noisy else [])]
        lines += keyed or ([] if drawn else ["(void)seed;", "(void)trial;"])
        return function("void snn_init(snn_state *s, uint64_t seed, uint32_t trial)", lines)

    def _step(self, fills: list[str]) -> str:
        """int snn_step."""
        w = self.w
        held = sum(i.n for i in self.network.held_inputs)
        lines = []
        if held:
            check = "if (held[i] - held[i] != 0)"
            w.sizes.operations.add([check], held)
            lines = [f"for (i = 0; i < {held}u; i++) {{", f"    {check}", "        return 1;", "}"]
        lines += [*advance(self.rings, self.w), *fills]
        lines += [f"snn_population_{self.number[self.network.populations[i].name]}(s, held, counts);"
                  for i in self.network.population_order()]  # fmt: skip
        lines += [f"snn_readout_{i}(s);" for i in range(len(self.network.readouts))]
        lines += [f"if ((++s->k & {FLUSH_EVERY - 1}u) == 0) {{"]
        lines += [f"    snn_flush({field}, {n}u);" for field, n in self.states]
        w.sizes.operations.add(["x[i] = (x[i] > t || x[i] < t) ? x[i] : 0;"], sum(n for _, n in self.states))
        lines += ["}", "return 0;"]
        return function("int snn_step(snn_state *s, const snn_real *held, const uint16_t *counts)", lines)

    def _fired(self) -> str:
        """int snn_fired."""
        lines = []
        for p in self.network.populations:
            lines += [f"if (unit < {p.n}u)", f"    return ({self.rings[p.name].now}[unit >> 3] >> (unit & 7u)) & 1;",
                      f"unit -= {p.n}u;"]  # fmt: skip
        return function("int snn_fired(const snn_state *s, uint32_t unit)", [*lines[:-1], "return 0;"])


def _sum(*parts: str) -> str:
    """Left to right, as C adds."""
    return " + ".join(part for part in parts if part)


def function(head: str, lines: list[str]) -> str:
    """A function; what it does not use of its parameters is said so."""
    body = "\n".join(lines)
    counter = ["uint32_t i;"] if "for (i = 0" in body else []
    parameters = [name for name in ("held", "bias", "counts") if f"*{name}" in head]
    unused = [
        f"(void){name};" for name in parameters if not any(f"{name}{then}" in body for then in ("[", " +", ",", ")"))
    ]
    return f"{head}\n{{\n{block([*counter, *unused, *lines])}\n}}\n"
