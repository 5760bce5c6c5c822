"""The page of a run in the browser, from this machine to this machine alone."""

import signal
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = ("127.0.0.1", "localhost")
"""Names of this machine for itself. Ports are not compared, because a forwarded port may have another number."""


class PageServer(ThreadingHTTPServer):
    """Serves one page at / on a port of 127.0.0.1 to who calls it by that name, or by localhost.

    Any other name is refused: another site may have pointed its own name at this machine to read the page (DNS
    rebinding).
    """

    daemon_threads = True  # so that a connection that a browser keeps open does not delay the end

    def __init__(self, page: str, port: int) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise OSError(f"port {port} of 127.0.0.1 cannot be served: {error}; 0 is a free one") from error
        self.page = page.encode()

    @property
    def address(self) -> str:
        """The page's address for a browser."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride] - the one that makes it
    timeout = 30
    server_version, sys_version = "mlp-jax", ""

    def do_GET(self) -> None:
        if [host.partition(":")[0] for host in self.headers.get_all("Host", [])] not in [[name] for name in NAMES]:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "this page is for 127.0.0.1 alone")
            return
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND, "there is one page here, at /")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.send_header("Cache-Control", "no-store")  # the port may be another run's tomorrow
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")  # which a meta tag cannot say
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # somebody closed the tab
                self.wfile.write(self.server.page)

    do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Log nothing."""


def serve(page: str, announce: Callable[[str], object], port: int = 0) -> None:
    """Serve the page until Control-C; `announce` is told its address once it can be asked for.

    port: of 127.0.0.1, a free one for 0. Raises OSError if it is taken, or no port.
    """
    with PageServer(page, port) as server:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            announce(server.address)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGINT, before)
