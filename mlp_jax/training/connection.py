"""Lines of JSON between two processes."""

import json
import socket
from contextlib import suppress
from typing import Any


class Connection:
    """A connection to another process. timeout: seconds to wait for what it says, 1 or more."""

    def __init__(self, connection: socket.socket, timeout: int) -> None:
        connection.settimeout(timeout)
        self._connection, self._lines = connection, connection.makefile(encoding="utf-8")

    def send(self, **message: object) -> None:
        """If the other is no longer there, receiving says so."""
        with suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """Raises OSError where the connection is closed or too slow, ValueError for anything but a message."""
        line = self._lines.readline(2**16)
        if not line:
            raise ConnectionError("closed by the other side")
        return json.loads(line)

    def wait_for_ever(self) -> None:
        """From now on, however long the other is silent."""
        self._connection.settimeout(None)

    def close(self) -> None:
        """The other sees that it is closed."""
        self._lines.close()
        self._connection.close()


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT. Raises ValueError for anything else."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"the coordinator is {address!r}: expected HOST:PORT, 10.0.0.1:1234 for instance")
    return host.strip("[]"), int(port)
