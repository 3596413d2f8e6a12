"""HTML pages that stand alone, and the ink of their figures. Knows nothing of networks."""
