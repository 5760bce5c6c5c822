"""The page from this machine to this machine."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from mlp_jax.cli import main


@pytest.fixture
def served(make_run, few_digits):
    """A process that serves a run's page, and its port."""
    command = [sys.executable, "-m", "mlp_jax", "serve", str(make_run(data=few_digits)), "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout
    line = process.stdout.readline()
    yield process, int(re.findall(r"http://127\.0\.0\.1:(\d+)/", line)[0])
    process.kill()
    process.wait()
    process.stdout.close()


def answer(port, hosts, path="/", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for host in hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    given = connection.getresponse()
    content = given.read()
    connection.close()
    return given, content


def test_one_page_is_served_to_this_machine_by_its_own_name_until_control_c(served):
    process, port = served
    given, page = answer(port, [f"127.0.0.1:{port}"])
    assert page.startswith(b"<!doctype html>")
    assert given.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert given.headers["Content-Type"] == "text/html; charset=utf-8"
    # A port that ssh forwards has another number at its other end.
    for host in ("localhost", f"localhost:{port}", "localhost:8000", "127.0.0.1"):
        assert answer(port, [host])[0].status == 200
    strangers = ["evil.example"], [f"evil.example:{port}"], ["localhost.evil.example"], ["127.0.0.1.evil.example"]
    for hosts in (*strangers, [], [""], ["localhost", "evil.example"], ["localhost@evil.example"]):
        given, said = answer(port, hosts)
        assert given.status == 421
        assert b'doctype html>\n<html lang="en">\n<head>\n<meta charset' not in said
    assert answer(port, ["localhost"], "/../config.json")[0].status == 404
    assert answer(port, ["localhost"], method="POST")[0].status == 501
    given, said = answer(port, ["localhost"], method="HEAD")
    assert (given.status, said, int(given.headers["Content-Length"])) == (200, b"", len(page))
    # Other addresses of this machine, which other machines could reach it by, are not listened on.
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.mark.parametrize("port", [70_000, -1])
def test_a_port_that_is_none_is_refused(tmp_path, capsys, port):
    assert main(["serve", str(tmp_path), "--port", str(port)]) == 2
    assert f"--port is {port}: expected 0 to 65535" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(make_run, few_digits, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(make_run(data=few_digits)), "--no-open", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1" in capsys.readouterr().err
