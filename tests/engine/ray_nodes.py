"""A real Ray cluster on this machine's loopback, one `ray start` a node."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import processes


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
    port = env["RAY_ADDRESS"].rpartition(":")[2]
    with contextlib.ExitStack() as running:
        started = []
        for number in range(nodes):
            where = (
                ["--head", f"--port={port}", "--include-dashboard=false"]
                if number == 0
                else [f"--address={env['RAY_ADDRESS']}"]
            )
            log = work / f"node_{number}.txt"
            started.append(running.enter_context(node(log, where, env)))
        yield started


@contextlib.contextmanager
def node(log: Path, where: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A node that has joined; dead on leaving. log : where it writes what it has to say"""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *where]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=100000000"]
    with (
        log.open("w") as stream,
        processes.child(
            [*command, "--disable-usage-stats"],
            stdout=stream,
            stderr=stream,
            env={**os.environ, **env, "RAY_USAGE_STATS_ENABLED": "0"},
        ) as process,
    ):
        try:
            processes.wait_until(lambda: "Ray runtime started" in log.read_text(), process)
        except AssertionError as error:
            raise RuntimeError(f"ray start failed ({error}):\n{log.read_text()}") from None
        yield process


def kill(node: subprocess.Popen) -> None:
    """What a machine is that dies: all its processes gone at once, without a word."""
    processes.end(node)
