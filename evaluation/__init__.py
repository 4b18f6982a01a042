"""Metrics, thresholds and result files; `python -m evaluation DIR` needs saved CSV files only."""
