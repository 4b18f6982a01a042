"""From the clips of a dataset to their frames."""
