"""How fast and how large: this project beside the originals, and on many workers."""
