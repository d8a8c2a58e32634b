"""Training of rate networks; needs the extra `train` (torch), which is imported only when `train` is called."""

from __future__ import annotations

from spikeport.snn.training.many import ManyProgress, train_many
from spikeport.snn.training.options import (
    Look,
    Progress,
    TrainingInterrupted,
    TrainingOptions,
    TrainingProgress,
    TrainingResult,
)
from spikeport.snn.training.run import train

__all__ = [
    "Look",
    "ManyProgress",
    "Progress",
    "TrainingInterrupted",
    "TrainingOptions",
    "TrainingProgress",
    "TrainingResult",
    "train",
    "train_many",
]
