"""A real Ray cluster on this machine's loopback, one `ray start` a node."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PORT = 6379
ADDRESS = f"127.0.0.1:{PORT}"


def environment() -> dict[str, str]:
    """What a driver needs to join: the address, and a token, for nobody else is to."""
    return {
        "RAY_ADDRESS": ADDRESS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@contextlib.contextmanager
def started(work: Path, env: dict[str, str], nodes: int = 2) -> Iterator[list[subprocess.Popen]]:
    """So many nodes of a core each; the first is the head. env : of `environment`"""
    running: list[subprocess.Popen] = []
    try:
        for number in range(nodes):
            where = (
                ["--head", f"--port={PORT}", "--include-dashboard=false"]
                if number == 0
                else [f"--address={ADDRESS}"]
            )
            running.append(start(work / f"node_{number}.txt", where, env))
        yield running
    finally:
        for node in reversed(running):
            kill(node)


def start(said: Path, where: list[str], env: dict[str, str]) -> subprocess.Popen:
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *where]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=100000000"]
    with said.open("w") as stream:
        node = subprocess.Popen(
            [*command, "--disable-usage-stats"],
            stdout=stream,
            stderr=stream,
            env={**os.environ, **env, "RAY_USAGE_STATS_ENABLED": "0"},
            start_new_session=True,
        )
    until = time.monotonic() + 60
    while "Ray runtime started" not in said.read_text():
        if node.poll() is not None or time.monotonic() > until:
            kill(node)
            raise RuntimeError(f"ray start failed:\n{said.read_text()}")
        time.sleep(0.1)
    return node


def kill(node: subprocess.Popen) -> None:
    """What a machine is that dies: all its processes gone at once, without a word."""
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
