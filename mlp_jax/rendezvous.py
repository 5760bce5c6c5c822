"""How the processes of a run find one another: each has a connection to process 0, for messages in lines of JSON."""

import json
import os
import socket
import time
from contextlib import suppress
from typing import Any


class ProcessError(ValueError):
    """Another process is missing, gone, stopped, or disagrees; the message says which."""


class Connection:
    """A connection to process `number`. timeout: seconds to wait for a message of it, 1 or more."""

    def __init__(self, connection: socket.socket, timeout: int, number: int = 0) -> None:
        self.number, self._connection, self._lines = number, connection, connection.makefile(encoding="utf-8")
        self.wait(timeout)

    def wait(self, timeout: int | None) -> None:
        """Set how many seconds to wait for each message; None for no limit."""
        self._timeout = timeout
        self._connection.settimeout(timeout)

    def send(self, **message: object) -> None:
        """Send a message. If the other process is gone, it is `receive` that raises."""
        with suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next message. Raises ProcessError if the other process is gone, stopped, or too slow."""
        try:
            message = json.loads(self._lines.readline(2**16))  # "" if the connection is closed, which is no JSON
        except TimeoutError as error:
            raise ProcessError(f"process {self.number} said nothing for {self._timeout} s") from error
        except (OSError, ValueError) as error:
            raise ProcessError(f"process {self.number} is gone") from error
        if "error" in message:
            raise ProcessError(message["error"], message["status"])
        return message

    def close(self) -> None:
        """Close the connection, which the other process notices."""
        self._lines.close()
        self._connection.close()


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT. Raises ValueError for anything else."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"the coordinator is {address!r}: expected HOST:PORT, 10.0.0.1:1234 for instance")
    return host.strip("[]"), int(port)


def await_others(others: list[Connection], address: str, count: int, timeout: int) -> None:
    """Wait in process 0 until all others are there, and add them to `others`. Raises ProcessError if one is missing."""
    (_, port), deadline, both = host_and_port(address), time.monotonic() + timeout, socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, backlog=count, dualstack_ipv6=both)
    except OSError as error:
        raise ProcessError(
            f"cannot listen on port {port} ({os.strerror(error.errno or 0)}): give all processes another "
            "--coordinator, whose port is free on the machine of process 0"
        ) from error
    with server:
        while missing := sorted(set(range(1, count)) - {other.number for other in others}):
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                other = Connection(server.accept()[0], timeout)
            except TimeoutError as error:
                absent = ", ".join(map(str, missing))
                raise ProcessError(
                    f"waited {timeout} s at {address} for {count - 1} other processes, but {absent} did not come"
                ) from error
            try:
                hello = other.receive()
                other.number, of = int(hello["process"]), int(hello["of"])
            except (ValueError, KeyError, TypeError):  # not a process of a run
                other.close()
                continue
            others.append(other)
            if of != count:
                raise ProcessError(
                    f"process {other.number} was started as one of {of} processes, process 0 as one of {count}: "
                    "give all the same --num-processes"
                )
            if other.number not in missing:
                raise ProcessError(f"two processes came as process {other.number}: give each its own --process-id")


def reach_process_0(address: str, timeout: int) -> Connection:
    """Connect to process 0. Raises ProcessError if nobody listens there until the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection = socket.create_connection(host_and_port(address), timeout=timeout)
            # If nothing listens yet, a connection within a machine may come from the very port that it goes to.
            if connection.getsockname() != connection.getpeername():
                return Connection(connection, timeout + 10)  # process 0 times out first
            connection.close()
        except OSError as error:
            if time.monotonic() > deadline:
                silence = f"nobody answered at {address} for {timeout} s ({error.strerror or error})"
                raise ProcessError(f"{silence}: start process 0 there, or correct --coordinator") from error
        time.sleep(0.1)
