"""Metrics and benchmarks (extra `eval`)."""
