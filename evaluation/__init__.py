"""Metrics, thresholds and result files; `python -m evaluation DIR` runs alone on saved CSVs."""
