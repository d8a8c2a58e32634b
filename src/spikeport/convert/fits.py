"""Whether a task is one for this network."""

from __future__ import annotations

from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.tasks.base import Task


def check_fit(network: RateNetwork, task: Task) -> None:
    """Refuse a task whose channels or clock are not the network's, all problems at once."""
    problems = []
    if task.n_inputs != network.n_inputs:
        problems.append(f"inputs: the task has {task.n_inputs} channels, the network takes {network.n_inputs}")
    if task.n_outputs != network.n_outputs:
        problems.append(f"outputs: the task judges {task.n_outputs}, the network has {network.n_outputs}")
    if abs(task.dt - network.dt) > 1e-9:
        problems.append(f"clock: the task has a sample every {task.dt:g} s, the network steps by {network.dt:g} s")
    if problems:
        raise SpikeportError(
            f"task '{task.name}' does not fit the network",
            problems,
            hint="spikeport inspect MODEL   shows what it takes",
        )
