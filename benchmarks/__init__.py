"""The measurements behind the README's figures: one command a claim, one JSON a result."""
