"""Measures: pure functions of recordings and counts."""

from __future__ import annotations

from spikeport.snn.measures.intervals import wilson

__all__ = ["wilson"]
