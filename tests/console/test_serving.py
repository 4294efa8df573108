"""How the console is started and stopped."""

import threading
import time

import httpx
import pytest

from lab.demo.free_ports import free_port
from node.console.app import make_console, serve

ANYWHERE = "0.0.0.0"  # noqa: S104 - as an address to listen on it is lawful, as a name it is not


def test_it_serves_until_it_is_told_to_stop(empty):
    app = make_console(ledger=empty.ledger, data_dir=empty.data_dir, node_name="MAMMOCALC", destinations=[])
    port, stop = free_port(), threading.Event()
    serving = threading.Thread(target=serve, args=(app, "127.0.0.1", port, stop), daemon=True)
    serving.start()
    until = time.monotonic() + 10
    while True:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/healthz")
            break
        except httpx.ConnectError:
            assert time.monotonic() < until, "The console did not answer within 10 s."
            time.sleep(0.02)
    assert answer.status_code == 200
    assert "server" not in answer.headers
    stop.set()
    serving.join(10)
    assert not serving.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")


@pytest.mark.anyio
@pytest.mark.parametrize(("host", "status"), [("mammo.hospital", 200), (ANYWHERE, 400), ("other", 400)])
async def test_the_configured_name_is_answered_and_a_wildcard_address_is_no_name(empty, host, status):
    app = make_console(
        ledger=empty.ledger,
        data_dir=empty.data_dir,
        node_name="MAMMOCALC",
        destinations=[],
        host_names=["mammo.hospital", ANYWHERE],
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8080") as client:
        assert (await client.get("/healthz")).status_code == status


@pytest.fixture
def anyio_backend():
    return "asyncio"
