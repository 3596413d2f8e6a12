"""Measuring and using trained networks: figures, finished runs, predictions, and the report."""

from resnets.evaluation.device import pick_device
from resnets.evaluation.metrics import Evaluation, evaluate
from resnets.evaluation.prediction import Prediction
from resnets.evaluation.report import write_report
from resnets.evaluation.run import Run
from resnets.evaluation.selection import evaluate_split

__all__ = ["Evaluation", "Prediction", "Run", "evaluate", "evaluate_split", "pick_device", "write_report"]
