"""ONNX: spiking and rate networks as graphs of standard operators."""

from spikeport.targets.onnx.rate import export_rate
from spikeport.targets.onnx.reading import load_onnx
from spikeport.targets.onnx.target import ONNX as _Target

__all__ = ["ONNX", "export_rate", "load_onnx"]

ONNX = _Target()
