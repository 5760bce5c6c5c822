"""The page of a run in the browser, from this machine to this machine alone."""

import signal
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = ("127.0.0.1", "localhost")
"""By which this machine calls itself. Who forwards a port may call it by another number: ports are not compared."""


class PageServer(ThreadingHTTPServer):
    """Serves one page at / on a port of 127.0.0.1 to who calls it by that name, or by localhost.

    Another name that leads here is a stranger's page that had its own name point at this machine (DNS rebinding) to
    read what is served: it is refused.
    """

    daemon_threads = True  # a browser that keeps its connection open keeps nobody from ending this

    def __init__(self, page: str, port: int) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise OSError(f"port {port} of 127.0.0.1 cannot be served: {error}; 0 is a free one") from error
        self.page = page.encode()

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride] - the one that makes it
    timeout = 30
    server_version, sys_version = "mlp-jax", ""

    def do_GET(self) -> None:
        self._answer(with_page=True)

    def do_HEAD(self) -> None:
        self._answer(with_page=False)

    def _answer(self, *, with_page: bool) -> None:
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
        if with_page:
            with suppress(ConnectionError):  # somebody closed the tab
                self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - what it is called there
        """Say nothing: what the page is asked for is no news."""


def serve(page: str, announce: Callable[[str], object], port: int = 0) -> None:
    """Serve the page until Control-C; `announce` is told its address once it can be asked for.

    port: of 127.0.0.1, a free one for 0. Raises OSError where it is taken, or no port.
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
