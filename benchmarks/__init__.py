"""Measurements, each one command (`python -m benchmarks.NAME`) that prints ratios of one run."""
