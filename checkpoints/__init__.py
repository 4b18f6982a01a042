"""Published checkpoints, read as data."""
