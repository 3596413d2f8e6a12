"""Residual analysis: what the residuals of a regression say about it. Knows nothing of networks."""

from resnets.residuals.analysis import residual_analysis
from resnets.residuals.findings import ASSUMPTIONS, FAULTS, Finding, Remedy, ResidualAnalysis, Test

__all__ = ["ASSUMPTIONS", "FAULTS", "Finding", "Remedy", "ResidualAnalysis", "Test", "residual_analysis"]
