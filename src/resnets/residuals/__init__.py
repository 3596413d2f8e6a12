"""Residual analysis: what the residuals of a regression say about it. Knows nothing of networks."""
