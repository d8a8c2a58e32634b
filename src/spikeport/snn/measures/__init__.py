"""Measures: pure functions of recordings and counts."""

from __future__ import annotations

from spikeport.snn.measures.coincidence import coincidence_factor, coincident
from spikeport.snn.measures.intervals import mcnemar, paired_difference, wilson
from spikeport.snn.measures.paired import PairedSums
from spikeport.snn.measures.scores import Scores
from spikeport.snn.measures.trajectories import Components, aligned, distance, principal_components
from spikeport.snn.measures.variability import cv_of_intervals, fano_factor, rates_hz

__all__ = [
    "Components",
    "PairedSums",
    "Scores",
    "aligned",
    "coincidence_factor",
    "coincident",
    "cv_of_intervals",
    "distance",
    "fano_factor",
    "mcnemar",
    "paired_difference",
    "principal_components",
    "rates_hz",
    "wilson",
]
