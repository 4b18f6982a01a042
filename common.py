"""The helpers of the official baseline, under their official names."""

from __future__ import annotations

from core.command_line import command_line_chk
from core.log import logger
from core.settings import yaml_load
from data.audio import file_load, file_to_vectors

__all__ = ["command_line_chk", "file_load", "file_to_vectors", "logger", "yaml_load"]
