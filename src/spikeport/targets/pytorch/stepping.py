"""The loop over the steps of a block: the hot path of the PyTorch targets.

At 200 units an operation costs 2 to 10 microseconds whatever its size, so what counts is how many there are. Where no
gradient is wanted, on the CPU, the few spikes of a step are looked up and their rows of the weights added, one by one
in ascending order as the reference does, in place of a product with all weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spikeport.snn.integrators import FLUSH_EVERY
from spikeport.targets.pytorch.population import FromSpikes, PopulationBlock, States, flushed

DENSE = 0.1  # of all units spiking in one step: above, one product with all weights. A guess, not measured


@dataclass
class Moving:
    """What a population is at, while a block runs. until: the last step of the block in which a unit is frozen.

    z: the spikes of earlier steps, `before` of them from earlier blocks, then those of this one.
    events: (trial, unit) of each spike of a step; None: look at z.
    """

    v: Tensor
    until: Tensor
    x: list[States]
    z: list[Tensor]
    events: list[Tensor | None]
    before: int
    trace: list[Tensor] = field(default_factory=list)


def run_block(
    blocks: Sequence[PopulationBlock], moving: dict[str, Moving], n_steps: int, record: Sequence[str], given: bool
) -> None:
    """Move every population on by n_steps.  given: v was set from outside and may be above the threshold."""
    tracing = torch.is_grad_enabled()
    sparse = not tracing and all(m.v.device.type == "cpu" for m in moving.values())
    if sparse:
        for m in moving.values():
            m.events = [z.nonzero() for z in m.z]
    for k in range(n_steps):
        for block in blocks:
            m = moving[block.name]
            drive = _drive(block, m, moving, k)
            z = _fire(block, m, drive, k, given and k == 0, block.name in record)
            m.z.append(z)
            m.events.append(z.nonzero() if sparse else None)
            if block.freezes:
                _freeze(block, m, z, k)
        if not tracing and (k + 1) % FLUSH_EVERY == 0:  # a gradient would not pass where x is 0
            for m in moving.values():
                m.x = [flushed(x) for x in m.x]
                m.v = flushed((m.v,))[0]
    for block in blocks:
        block.cell.finish()


def _drive(block: PopulationBlock, m: Moving, moving: dict[str, Moving], k: int) -> Tensor:
    """1 and half of 2: the synapses move on, and what reaches the membrane in step k."""
    drive = block.drive[k]
    for move in block.moves:
        added = _product(move, moving, k, drive)
        drive = drive if added is None else added
    for i, synapse in enumerate(block.synapses):
        arrivals = [None if rows is None else rows[k] for rows in synapse.outside]
        for c, sources in enumerate(synapse.inside):
            for source in sources:
                added = _product(source, moving, k, arrivals[c])
                arrivals[c] = arrivals[c] if added is None else added
        m.x[i] = x = synapse.filter.step(m.x[i], arrivals)
        for c, coupling in enumerate(synapse.coupling):
            if coupling is not None:
                drive = torch.addcmul(drive, coupling, x[c])
    return drive


def _product(source: FromSpikes, moving: dict[str, Moving], k: int, onto: Tensor | None) -> Tensor | None:
    """onto + weight z[k-d], or None where z is silent."""
    m = moving[source.source]
    row = m.before + k - source.delay
    z, events = m.z[row], m.events[row]
    if events is None or events.shape[0] > z.numel() * DENSE:
        return z @ source.weight if onto is None else torch.addmm(onto, z, source.weight)
    if events.shape[0] == 0:
        return None
    total = z.new_zeros((z.shape[0], source.weight.shape[1])) if onto is None else onto.clone()
    trial, unit = events.unbind(1)
    return total.index_add_(0, trial, source.weight.index_select(0, unit))


def _fire(block: PopulationBlock, m: Moving, drive: Tensor, k: int, given: bool, record: bool) -> Tensor:
    """The rest of 2, and 3, by the library's cell; masks around it hold refractory units."""
    cell, v = block.cell, m.v
    if not block.freezes:
        if record:
            m.trace.append(cell.before_reset(drive, v, None))
        z, m.v = cell.step(drive, v, None, given)
        return z
    free = m.until < k
    if block.spikes_frozen:
        drive = torch.where(free, drive, v)
        drive = drive if block.noise is None else drive + block.noise[k]
        if record:
            m.trace.append(cell.before_reset(drive, v, free))
        z, m.v = cell.step(drive, v, free, given)
    else:
        # the cell sees 0 in place of a frozen unit, which therefore cannot spike, and its v is kept here
        kept = v if block.noise is None else v + block.noise[k]
        drive, v = torch.where(free, drive, block.zero), torch.where(free, v, block.zero)
        if record:
            m.trace.append(torch.where(free, cell.before_reset(drive, v, None), kept))
        z, after = cell.step(drive, v, None, given)
        m.v = torch.where(free, after, kept)
    return z


def _freeze(block: PopulationBlock, m: Moving, z: Tensor, k: int) -> None:
    """Who spiked in step k is frozen for the steps after it; 0 steps too, which ends what was left of earlier ones."""
    events = m.events[-1]
    if events is not None and events.shape[0] == 0:
        return
    if block.same_steps is None:
        m.until = torch.where(z > 0, block.steps + k, m.until)
    else:
        m.until.masked_fill_(z > 0, k + block.same_steps)
