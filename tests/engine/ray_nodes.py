"""A real Ray cluster on this machine's loopback, one `ray start` a node."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def environment() -> dict[str, str]:
    """Return the variables that a driver needs to join: the address, and a token against others."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # Ray's own port may be in use
        port = server.getsockname()[1]
    return {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@contextlib.contextmanager
def started(work: Path, env: dict[str, str], nodes: int = 2) -> Iterator[list[subprocess.Popen]]:
    """Start so many nodes with one core each, the head first. env : of `environment`"""
    running: list[subprocess.Popen] = []
    port = env["RAY_ADDRESS"].rpartition(":")[2]
    try:
        for number in range(nodes):
            where = (
                ["--head", f"--port={port}", "--include-dashboard=false"]
                if number == 0
                else [f"--address={env['RAY_ADDRESS']}"]
            )
            running.append(start(work / f"node_{number}.txt", where, env))
        yield running
    finally:
        for node in reversed(running):
            kill(node)


def start(output: Path, where: list[str], env: dict[str, str]) -> subprocess.Popen:
    """Start one node, and return when it runs. output : the file for what it prints"""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *where]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=100000000"]
    with output.open("w") as stream:
        node = subprocess.Popen(
            [*command, "--disable-usage-stats"],
            stdout=stream,
            stderr=stream,
            env={**os.environ, **env, "RAY_USAGE_STATS_ENABLED": "0"},
            start_new_session=True,
        )
    until = time.monotonic() + 60
    while "Ray runtime started" not in output.read_text():
        if node.poll() is not None or time.monotonic() > until:
            kill(node)
            raise RuntimeError(f"ray start failed:\n{output.read_text()}")
        time.sleep(0.1)
    return node


def kill(node: subprocess.Popen) -> None:
    """Kill all processes of a node at once, as when its machine dies."""
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
