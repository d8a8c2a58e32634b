"""NEST: a runner on its `iaf_psc_exp_multisynapse`, and an exporter of PyNN scripts that run there."""

from spikeport.targets.nest.target import NEST as NEST
