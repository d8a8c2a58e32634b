"""Spikes on their way: rings of packed spikes per source, weights dense or sparse, and the sums J of arrivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spikeport.snn.spiking import Projection, SpikingNetwork
from spikeport.targets.c import pieces
from spikeport.targets.c.text import bytes_of, integer_type
from spikeport.targets.c.writer import Writer
from spikeport.targets.tables import PopulationStep, SynapseStep


@dataclass(frozen=True, kw_only=True)
class Ring:
    """The spikes of a source in the last `slots` steps: one bit a unit, or a 16-bit count a channel of an input.

    field: in the state, "" where an input's counts are used straight from the caller.  offset: of an input's channels.
    """

    field: str
    index: str
    n: int
    slots: int
    is_input: bool
    offset: int = 0

    @property
    def bytes(self) -> int:
        """Of one slot."""
        return 2 * self.n if self.is_input else -(-self.n // 8)

    @property
    def now(self) -> str:
        """This step's slot."""
        return self.ago(0)

    def ago(self, delay: int) -> str:
        """The slot of `delay` steps ago."""
        if not self.field:
            return f"counts + {self.offset}u"
        if self.slots == 1:
            return f"s->{self.field}[0]"
        if delay == 0:
            return f"s->{self.field}[s->{self.index}]"
        return f"s->{self.field}[(s->{self.index} + {self.slots - delay}u) % {self.slots}u]"


def rings(network: SpikingNetwork, w: Writer) -> Mapping[str, Ring]:
    """Every population's and spike input's, by name; as long as the longest delay from it needs."""
    longest = {name: max((j.delay for j in network.projections if j.source == name), default=0)
               for name in [p.name for p in network.populations] + [i.name for i in network.spike_inputs]}  # fmt: skip
    found = {}
    for number, p in enumerate(network.populations):
        slots = longest[p.name] + 1
        w.state(f"z{number}", slots, -(-p.n // 8), ctype="uint8_t", what="spikes, one bit a unit, step by step")
        found[p.name] = Ring(field=f"z{number}", index=_index(w, f"z{number}", slots), n=p.n, slots=slots,
                             is_input=False)  # fmt: skip
    offset = 0
    for number, i in enumerate(network.spike_inputs):
        slots = longest[i.name] + 1
        field = f"y{number}" if slots > 1 else ""
        if field:
            w.state(field, slots, i.n, ctype="uint16_t", what="counts of an input, step by step")
        found[i.name] = Ring(field=field, index=_index(w, field, slots), n=i.n, slots=slots, is_input=True,
                             offset=offset)  # fmt: skip
        offset += i.n
    return found


def _index(w: Writer, field: str, slots: int) -> str:
    if slots > 1:
        w.state(f"{field}_now", ctype=integer_type(2 * slots), what="the slot of this step")
    return f"{field}_now"


class Delivery:
    """Writes the arrivals of each synapse, and the tables of weights. weights: "auto", "dense" or "sparse"."""

    def __init__(self, network: SpikingNetwork, w: Writer, known: Mapping[str, Ring], weights: str) -> None:
        self.w, self.rings, self.weights = w, known, weights
        self.number = {id(j): i for i, j in enumerate(network.projections)}
        self.used: dict[str, str] = {}
        spiking = [j for j in network.projections if j.source in known]
        self.index = integer_type(max((j.weight.shape[0] for j in spiking), default=1) - 1)
        self.first = integer_type(max((int(np.count_nonzero(j.weight)) for j in spiking), default=0))
        widest: dict[int, int] = {}
        for p in network.populations:
            for j, name in enumerate(p.synapses):
                if any(k.target == p.name and k.synapse == name and k.source in known for k in network.projections):
                    widest[j] = max(widest.get(j, 0), p.n)
        for j, n in widest.items():
            w.state(f"J{j}", n, what="what arrives, mV s")

    def acts(self, s: SynapseStep) -> bool:
        """Do spikes act through this synapse?"""
        return bool(s.spikes)

    def arrivals(self, step: PopulationStep, j: int, s: SynapseStep) -> list[str]:
        """J = sum of w z[k-d]."""
        if not self.acts(s):
            return []
        lines = self.w.loop(step.n, [f"s->J{j}[i] = 0;"])
        return lines + [self._projection(f"s->J{j}", k) for k in s.spikes if k.weight.any()]

    def _projection(self, J: str, k: Projection) -> str:
        ring, number, w = self.rings[k.source], self.number[id(k)], self.w
        targets, sources = k.weight.shape
        real = bytes_of(w.ctype)
        pairs = int(np.count_nonzero(k.weight))
        dense, sparse = (targets * sources * real,
                         pairs * (real + bytes_of(self.index)) + (sources + 1) * bytes_of(self.first))  # fmt: skip
        thin = self.weights == "sparse" or (self.weights == "auto" and sparse < dense)
        counts = "_counts" if ring.is_input else ""
        z = ring.ago(k.delay)
        looked = ["if ((z[i] >> 3) & 1u)"] if not counts else ["if (z[i] != 0)"]
        w.sizes.operations.add(looked, sources)
        if not thin:
            w.reals(f"w{number}", k.weight.T)
            w.sizes.operations.add(["J[i] += w[i] * count;" if counts else "J[i] += w[i];"], targets * sources)
            self.used.setdefault(f"dense{counts}", pieces.DENSE_COUNTS_TEXT if counts else pieces.DENSE_TEXT)
            return f"snn_dense{counts}({J}, w{number}, {z}, {sources}u, {targets}u);"
        source, target = np.nonzero(k.weight.T)  # in ascending order of sources, then targets
        w.reals(f"w{number}", k.weight.T[source, target])
        w.integers(self.index, f"t{number}", target)
        w.integers(self.first, f"f{number}", np.searchsorted(source, np.arange(sources + 1)))
        w.sizes.operations.add(["J[i] += w[i] * count;" if counts else "J[i] += w[i];", "t[i]"], pairs)
        w.sizes.operations.add(["f[i]", "f[i]"], sources)
        form = pieces.SPARSE_COUNTS_TEXT if counts else pieces.SPARSE_TEXT
        self.used.setdefault(f"sparse{counts}", form.format(first=self.first, index=self.index))
        return f"snn_sparse{counts}({J}, w{number}, f{number}, t{number}, {z}, {sources}u);"

    def helpers(self) -> list[str]:
        """The functions that are called."""
        return list(self.used.values())


def advance(known: Mapping[str, Ring], w: Writer) -> list[str]:
    """At the start of a step: every ring moves on, and an input's counts go into its own."""
    lines = []
    for ring in known.values():
        if ring.slots > 1:
            now = f"s->{ring.index}"
            lines.append(f"{now} = {now} + 1u == {ring.slots}u ? 0 : {now} + 1u;")
        if ring.is_input and ring.field:
            lines.append(f"memcpy({ring.now}, counts + {ring.offset}u, {ring.bytes}u);")
            w.sizes.operations.add(["y[i] = counts[i];"], ring.n)
    return lines
