"""What the chips store, and so what one spike makes them do: Loihi's lists of synapses by core, SpiNNaker's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.drive import Inputs
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.targets.base import Lowering
from spikeport.targets.estimates.counts import Counts, Ints, labels, plain_counts, samples, sent
from spikeport.targets.estimates.figures import ARRIVAL, MESSAGE, SPIKE, SYNAPSE, UPDATE
from spikeport.targets.loihi.limits import STATE_BITS
from spikeport.targets.loihi.partition import Core, list_bits
from spikeport.targets.spinnaker.chip import RECEPTORS

Hosted = tuple[int, int, bool]

TILE_CORES = 4  # Davies et al. 2018, p. 86: tiles of four cores; SANA-FE's loihi.yaml
MESH_ROWS = 4  # SANA-FE 2.2.9, loihi.yaml: 8 x 4 tiles, counted along the short side
WORDS = {"xylo": (1, 2)}  # bytes of a weight and a state; Muir & Bos, arXiv 2406.15112, 2024: 8 and 16 bits
SPINNAKER_CORE_NEURONS = 128  # at most in our script (script_text.py)
SPINNAKER_CHIP_CORES = 16  # Furber et al., Proc. IEEE 102(5), 2014: 18, of them one monitor and one spare
SPINNAKER_SYNAPSE_BYTES = 4  # sPyNNaker's C sources, synapse_row.h: weight, delay and index are one word
SPINNAKER_STATE_WORDS = 4  # v, refract_timer and the current of both receptors (IF_curr_exp)


def count(lowering: Lowering, recording: Recording, inputs: Inputs | None = None) -> Counts:
    """The counts of a run of `lowering`, as its target stores the network."""
    plain = plain_counts(lowering.target, lowering.network, recording, inputs, WORDS.get(lowering.target, (8, 8)))
    special = SPECIAL.get(lowering.target)
    return plain if special is None else special(plain, lowering, sent(lowering.network, recording, inputs))


def hosted(plain: Counts, lowering: Lowering, parts: Iterable[Hosted]) -> tuple[Ints, int]:
    """Multiply-accumulates of the host, and the values that it writes, where held inputs are biases or currents.

    parts: of each population its units, how many synapses of held values and constants the host filters for it, and
    whether held values come straight to it. Filtered, a unit has another value in each step; straight, in each sample.
    """
    host, writes = plain.host, 0
    ports = lowering.network.held_inputs
    often = max((samples(plain.n_steps, i, plain.dt) for i in ports), default=0)
    for units, filters, held in parts:
        host = host + units * filters * plain.n_steps
        writes += units * (plain.n_steps if filters else often if held else 0)
    return host, writes


def place(core: int) -> tuple[int, int]:
    """Of the tile of a core, where cores are filled one after another."""
    tile = core // TILE_CORES
    return tile // MESH_ROWS, tile % MESH_ROWS


def distance(a: int, b: int) -> int:
    """Tiles between two cores, along rows and columns."""
    (x, y), (u, v) = place(a), place(b)
    return abs(x - u) + abs(y - v)


def _loihi(plain: Counts, lowering: Lowering, trains: Mapping[str, SpikeTrains]) -> Counts:
    """By core: a spike is a message to every core and format that it reaches, and reads the list it finds there."""
    chip, cores = lowering.settings["chip"], lowering.settings["cores"]
    names = labels(lowering.network)
    of_unit = {name: t.counts() for name, t in trains.items()}
    zero: NDArray[np.int64] = np.zeros(plain.trials, dtype=np.int64)
    messages, hops = zero, zero
    events: dict[str, NDArray[np.int64]] = {name: zero for name in plain.events}
    reads = dict(events)
    loads = {e: np.zeros((plain.n_steps, plain.trials, len(cores)), dtype=np.int64)
             for e in (SYNAPSE, UPDATE, SPIKE, MESSAGE, ARRIVAL)}  # fmt: skip
    home = _homes(cores)
    for k, core in enumerate(cores):
        loads[UPDATE][:, :, k] = core.compartments
        for name, units in core.neurons.items():
            loads[SPIKE][:, :, k] += _by_step(trains[name], _mask(units, trains[name].shape[2]))
    for s in chip.synapses:
        n, name = of_unit[s.source], names[s.projection]
        for k, core in enumerate(cores):
            units = core.neurons.get(s.target)
            if units is None:
                continue
            stored = np.count_nonzero(s.mantissa[units], axis=0).astype(np.int64)
            read, reached = _read(stored, units.size, s.bits, s.delay > 1), (stored > 0).astype(np.int64)
            events[name] = events[name] + n @ stored
            reads[name] = reads[name] + n @ read
            loads[SYNAPSE][:, :, k] += _by_step(trains[s.source], read)
            loads[ARRIVAL][:, :, k] += _by_step(trains[s.source], reached)
            if s.source in home:
                messages = messages + n @ reached
                far = np.array([distance(c, k) for c in home[s.source]], dtype=np.int64)
                hops = hops + n @ (reached * far)
                for c in np.unique(home[s.source]):
                    loads[MESSAGE][:, :, c] += _by_step(trains[s.source], reached * (home[s.source] == c))
    bits = sum(core.synapse_bits for core in cores)
    compartments = sum(core.compartments for core in cores)
    host, writes = hosted(plain, lowering, ((c.n, len(c.filters), bool(c.held)) for c in chip.compartments))
    return replace(
        plain, host=host, writes=writes, events=events, reads=reads, messages=messages, hops=hops, loads=loads,
        memory={"weights": bits // 8, "states": compartments * 2 * STATE_BITS // 8},
        places={"cores": len(cores), "tiles": -(-len(cores) // TILE_CORES)},
        how=(
            "weights that rounding made 0 are not stored",
            "a list with few zeros is stored, and read, with them where that is shorter; they are no events",
            "a message goes to each core and synapse format that a spike reaches; cores fill tiles one after another",
            "weights in lists of 64-bit words, u and v of 24 bits; the host writes biases, filters and sends inputs",
        ),
    )  # fmt: skip


def _read(stored: Ints, size: int, bits: int, delayed: bool) -> Ints:
    """Synapses that are read for one spike: all of the core where the dense list is the shorter one."""
    shorter = list_bits(stored, size, bits, delayed)
    sparse = list_bits(stored, 1 << 30, bits, delayed)  # against a dense list that is never the shorter
    return np.asarray(np.where((stored > 0) & (shorter < sparse), size, stored))


def _homes(cores: tuple[Core, ...]) -> dict[str, Ints]:
    """population -> (n,) the core that each unit is on."""
    sizes: dict[str, int] = {}
    for core in cores:
        for name, units in core.neurons.items():
            sizes[name] = max(sizes.get(name, 0), int(units.max()) + 1)
    found: dict[str, Ints] = {name: np.zeros(n, dtype=np.int64) for name, n in sizes.items()}
    for k, core in enumerate(cores):
        for name, units in core.neurons.items():
            found[name][units] = k
    return found


def _mask(units: Ints, n: int) -> Ints:
    found = np.zeros(n, dtype=np.int64)
    found[units] = 1
    return found


def _by_step(trains: SpikeTrains, of_unit: Ints) -> Ints:
    """(steps, trials): the sum over spikes of `of_unit` (n,), an integer for each unit."""
    n_steps, n_batch, _ = trains.shape
    at = trains.step.astype(np.int64) * n_batch + trains.batch
    found = np.zeros(n_steps * n_batch, dtype=np.int64)
    np.add.at(found, at, of_unit[trains.neuron] * trains.count)
    return found.reshape(n_steps, n_batch)


def _spinnaker(plain: Counts, lowering: Lowering, trains: Mapping[str, SpikeTrains]) -> Counts:
    """A row for each source: one word for each weight that is not 0 after rounding; receptors are told apart in it."""
    chip = lowering.settings["chip"]
    names = labels(lowering.network)
    events = dict.fromkeys(plain.events, np.zeros(plain.trials, dtype=np.int64))
    words = slots = 0
    for s in chip.synapses:
        stored = np.count_nonzero(s.weight, axis=0)
        name = names[s.projection]
        events[name] = events[name] + trains[s.source].counts() @ stored
        words += int(stored.sum())
    for c in chip.cells:
        longest = max((s.delay for s in chip.synapses if s.target == c.name), default=1)
        slots += c.n * len(RECEPTORS) * (1 << int(longest).bit_length())  # delays 1 .. longest, a power of two of slots
    n = sum(c.n for c in chip.cells)
    host, writes = hosted(plain, lowering, ((c.n, len(c.hosted), bool(c.held)) for c in chip.cells))
    cores = sum(-(-c.n // SPINNAKER_CORE_NEURONS) for c in chip.cells)
    return replace(
        plain, host=host, writes=writes, events=events, reads=events,
        memory={"weights": words * SPINNAKER_SYNAPSE_BYTES, "states": n * SPINNAKER_STATE_WORDS * 4 + slots * 2},
        places={"cores": cores, "chips": -(-cores // SPINNAKER_CHIP_CORES)},
        how=(
            "weights that rounding made 0 are not connected; those of both signs are events of one kind",
            "one word of 4 bytes a synapse, without the headers of rows; v, currents and ring buffers as states",
            f"at least so many cores, of {SPINNAKER_CORE_NEURONS} neurons, without those of inputs and current sources",
        ),
    )  # fmt: skip


SPECIAL: Mapping[str, Callable[[Counts, Lowering, Mapping[str, SpikeTrains]], Any]] = {
    "loihi": _loihi,
    "spinnaker": _spinnaker,
}
