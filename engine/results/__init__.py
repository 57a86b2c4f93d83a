"""Expressions as records, and the run folders that hold them."""
