"""The command that shows the page of a run in the browser."""

import threading
import webbrowser

from mlp_jax.commands.report import made
from mlp_jax.commands.shared import make_console
from mlp_jax.config import Serve
from mlp_jax.programs import keep_programs
from mlp_jax.report import serve as serve_page


def serve(settings: Serve) -> int:
    """Serve the page of a run to this machine until Control-C."""
    keep_programs(settings.cache)
    page, console = made(settings.directory), make_console()

    def announce(address: str) -> None:
        console.print(f"{address} shows {settings.directory}; Control-C ends it", soft_wrap=True, markup=False)
        if settings.open:  # in a thread, because a browser in the terminal would keep this one from serving the page
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve_page(page, announce, settings.port)
    return 0
