"""Who may ask the console for what."""

import http.client
import re
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

PNG = b"\x89PNG\r\n\x1a\n not for the console"


def ask(console, path: str, *, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    """Ask for exactly this path; a client that tidies addresses would hide what a hostile one sends."""
    address = httpx.URL(console.address)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "10.0.0.1"]
)
def test_another_host_header_is_refused(console, host):
    status, body = ask(console, "/", host=host)
    assert status == 400
    assert b"24-1001" not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "LOCALHOST"])
def test_the_names_of_the_loopback_are_answered(console, host):
    assert ask(console, "/healthz", host=host)[0] == 200


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/", "localhost"),
        ("/nowhere", "localhost"),
        ("/static/style.css", "localhost"),
        ("/", "evil.example"),
    ],
)
def test_every_answer_keeps_the_browser_on_this_host(console, path, host):
    headers = console.get(path, headers={"Host": host}).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "cache-control" in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/refusals", "/api/studies", "/studies/{}", "/api/studies/{}"])
def test_nothing_can_be_changed(console, uid_of, method, path):
    status, body = ask(console, path.format(uid_of("1009")), method=method)
    assert status == 405
    assert b"it changes nothing" in body


def test_reading_waits_for_no_writer(console, filled, uid_of):
    with filled.ledger.begin() as session:
        session.execute(text("SELECT 1"))  # the write lock is taken with the first question
        started = time.monotonic()
        for path in ("/", "/refusals", f"/studies/{uid_of('1007')}", "/api/studies", "/healthz"):
            assert console.get(path).status_code == 200
        assert time.monotonic() - started < 5


def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline(console, uid_of):
    for path in ("/", "/refusals", f"/studies/{uid_of('1007')}", "/nowhere"):
        page = console.get(path).text
        assert all(target.startswith("/") for target in re.findall(r'(?:src|href)="([^"]*)"', page))
        assert re.findall(r"<script(?![^>]* src=)", page) == []
        assert re.findall(r"\son\w+=|\sstyle=|<style|<form", page) == []


@pytest.fixture
def secrets(filled, uid_of) -> Path:
    """Pictures that are none of the console's business, beside those that are."""
    results = filled.data_dir / "studies" / uid_of("1007") / "results"
    (filled.data_dir / "secret.png").write_bytes(PNG)
    (filled.data_dir / "studies" / "secret.png").write_bytes(PNG)
    (results / "secret.png").write_bytes(PNG)
    (results / "r1" / "secret.png").write_bytes(PNG)
    link = results / "r1" / "1.2.3.png"
    if not link.is_symlink():
        link.symlink_to(filled.data_dir / "secret.png")
    return results


@pytest.mark.parametrize(
    "name",
    [
        "secret.png",
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e%2fsecret.png",
        "..%2f..%2f..%2f..%2fsecret.png",
        "..%5csecret.png",
        "1..2.png",
        ".png",
        "1.2.3.png",
        "1.2.3%00.png",
        f"{'1.' * 40}1.png",
        "9.9.9.png",
    ],
)
def test_a_picture_of_no_lawful_name_or_outside_the_studies_is_404(console, secrets, uid_of, name):
    status, body = ask(console, f"/studies/{uid_of('1007')}/pictures/r1/{name}")
    assert status == 404
    assert b"not for the console" not in body


@pytest.mark.parametrize("study", ["..", "%2e%2e", "..%2f..", ".", "1.2/..", "%2fetc"])
def test_a_study_of_no_lawful_name_has_no_pictures(console, secrets, study):
    status, body = ask(console, f"/studies/{study}/pictures/r1/1.2.3.png")
    assert status == 404
    assert b"not for the console" not in body


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"]
)
def test_static_files_are_those_of_the_console_alone(console, path):
    assert ask(console, path)[0] == 404


def test_the_pictures_of_the_fixture_are_served(console, uid_of):
    page = console.get(f"/studies/{uid_of('1007')}").text
    [first, *_] = re.findall(r'<img src="(/studies[^"]+)"', page)
    assert ask(console, first)[0] == 200
