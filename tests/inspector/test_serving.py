"""The server as users start it: ports, several processes, stopping."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

from inspector.serving import listen
from nouns.errors import InputError


def test_a_port_of_somebody_else_is_refused_in_words():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match=r"cannot listen on 127\.0\.0\.1 port"):
            listen("127.0.0.1", other.getsockname()[1])


def test_two_server_processes_share_connections_evenly_replace_a_dead_one_and_stop_when_told(world):
    with listen("127.0.0.1", 0) as chosen:
        port = chosen.getsockname()[1]
    command = [sys.executable, "-m", "inspector", "serve", "--workspace", str(world.workspace)]
    server = subprocess.Popen([*command, "--port", str(port), "--workers", "2"], stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _healthy(port))
        clients = []
        for _ in range(24):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b'{"status":"ok"}'
            clients.append(client)
        processes = psutil.Process(server.pid).children()
        held = [sum(c.status == "ESTABLISHED" for c in process.net_connections()) for process in processes]
        assert len(held) == 2
        assert sum(held) >= 24
        assert abs(held[0] - held[1]) <= 4, held
        for client in clients:
            client.close()
        processes[0].kill()
        dead = processes[0].pid
        _until(lambda: len(found := [p.pid for p in psutil.Process(server.pid).children()]) == 2 and dead not in found)
        _until(lambda: _healthy(port))
        left = psutil.Process(server.pid).children()
        server.terminate()
        assert server.wait(timeout=20) == 0
        assert not any(process.is_running() for process in left)
    finally:
        if server.poll() is None:
            server.kill()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _until(condition, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
