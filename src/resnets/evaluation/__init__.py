"""Measuring and using trained networks: figures, finished runs, predictions, and the report."""

from resnets.evaluation.activation import class_activation_maps
from resnets.evaluation.device import pick_device
from resnets.evaluation.explained import Explained, cam
from resnets.evaluation.exported import export_weights, loading_line
from resnets.evaluation.imported import import_weights
from resnets.evaluation.metrics import Evaluation, evaluate
from resnets.evaluation.predicted import NumberPrediction
from resnets.evaluation.prediction import Prediction
from resnets.evaluation.regression import RegressionEvaluation
from resnets.evaluation.report import write_report
from resnets.evaluation.run import Run
from resnets.evaluation.selection import evaluate_split

__all__ = [
    "Evaluation",
    "Explained",
    "NumberPrediction",
    "Prediction",
    "RegressionEvaluation",
    "Run",
    "cam",
    "class_activation_maps",
    "evaluate",
    "evaluate_split",
    "export_weights",
    "import_weights",
    "loading_line",
    "pick_device",
    "write_report",
]
