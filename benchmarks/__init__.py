"""Benchmarks: ratios against peers and floors, measured in the same run."""
