"""From a rate network to a spiking one."""
