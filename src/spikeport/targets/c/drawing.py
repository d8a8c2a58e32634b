"""What is drawn: the keyed noise and initial v of snn/noise.py, number for number, where a network has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import noise
from spikeport.snn.drive import noise_key
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.targets.c import pieces
from spikeport.targets.c.text import integer_type
from spikeport.targets.c.writer import Writer


class Drawing:
    """Writes the generator and its calls. A counter gives four words, so noise is drawn every fourth step."""

    def __init__(self, network: SpikingNetwork, w: Writer) -> None:
        self.w = w
        self.noisy = [(i, p.n, *noise_key(network, p)) for i, p in enumerate(network.populations)
                      if np.any(np.asarray(p.noise_sd) > 0)]  # fmt: skip
        self.drawn = any(isinstance(p.v0, Uniform) for p in network.populations)
        for i, n, _, _ in self.noisy:
            w.state(f"noise{i}", noise.WORDS, n, ctype="int16_t", what="drawn for this step and the next ones")
        if self.noisy:
            w.state("seed", ctype="uint64_t", what="of the noise")
            w.state("trial", ctype="uint32_t", what="of the noise")
            w.state("noisy", ctype="uint8_t", what="0: no noise is added; snn_init sets it to 1")

    def _unit(self, name: str, ids: NDArray[Any]) -> str:
        if (ids == np.arange(ids.size)).all():
            return "i"
        if f" {name}[" not in "".join(t.partition("=")[0] for t in self.w.tables):
            self.w.integers(integer_type(int(ids.max())), name, ids)
        return f"{name}[i]"

    def fills(self) -> list[str]:
        """At the start of a step: the noise of this one and the next three."""
        if not self.noisy:
            return []
        lines = ["if (s->noisy && (s->k & 3u) == 0) {"]
        for i, n, key, ids in self.noisy:
            tag = (noise.STREAMS["membrane"] << 16) | key
            statements = [f"uint32_t c[4] = {{(uint32_t)(s->k >> 2), {self._unit(f'id{i}', ids)}, s->trial, {tag}u}};",
                          "snn_philox(c, (uint32_t)s->seed, (uint32_t)(s->seed >> 32));",
                          *(f"s->noise{i}[{j}][i] = snn_normal(c[{j}]);" for j in range(noise.WORDS))]  # fmt: skip
            lines += ["    " + line for line in [f"for (i = 0; i < {n}u; i++) {{",
                                                 *("    " + s for s in statements), "}"]]  # fmt: skip
            self.w.sizes.operations.writes += noise.WORDS * n
            each = pieces.PHILOX_OPERATIONS + noise.WORDS * pieces.NORMAL_OPERATIONS
            self.w.sizes.operations.bit_operations += each * n
        return [*lines, "}"]

    def initial(self, a: int, v0: Uniform, key: int, ids: NDArray[Any]) -> list[str]:
        """v of population a, drawn uniformly; in double, as it is everywhere, and then rounded."""
        tag = (noise.STREAMS["v0"] << 16) | key
        low, span = float(v0.low), float(v0.high) - float(v0.low)
        return [
            f"for (i = 0; i < {ids.size}u; i++) {{",
            f"    uint32_t c[4] = {{0, {self._unit(f'id{a}', ids)}, trial, {tag}u}};",
            "    snn_philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));",
            f"    s->v{a}[i] = (snn_real)({low.hex()} + {span.hex()} * ((double)(c[0] >> 8) / 16777216.0));",
            "}",
        ]

    def helpers(self) -> list[str]:
        """The generator, where anything is drawn."""
        normal = pieces.NORMAL_TEXT.format(sd=f"{noise.NORMAL_SD:.6g}", bound=noise.NORMAL_BOUND)
        return [pieces.NOISE_TEXT] * bool(self.noisy or self.drawn) + [normal] * bool(self.noisy)
