"""What `02_report.py` is made of: results read, tables, pictures, clips to hear, the page."""

from __future__ import annotations
