"""Speed and memory: this project compared with the originals, and on many workers."""
