"""Looking at a network: one trace feeds its tables, counts, fields and drawings, so that they cannot disagree."""
