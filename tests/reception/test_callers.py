"""Who may call at this moment, from addresses of both kinds."""

import errno
import os
import socket
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from structlog.testing import capture_logs

from lab.demo.free_ports import free_port
from node.__main__ import _check_ports
from node.callers import Caller, Callers
from node.composition import CannotStart, callers_of
from node.settings import CallerSection, ConsoleSection, DestinationSection, NodeSection, NodeSettings
from tests.reception.conftest import ListeningNode
from tests.reception.raw_callers import association_request
from tests.servers import wait_for

ACCEPTED, REJECTED = 2, 3


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no address of IPv6")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a name server knows; who asks for another name is told to try again."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: object, **named: object) -> object:
        if host.endswith(".hospital") and host not in known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(known.get(host, host), *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def answered(address: str, port: int, calling: str = "MODALITY1") -> int:
    """The type of the PDU that a caller from this address is answered with; 0 where nobody listens."""
    try:
        connection = socket.create_connection((address, port), timeout=5)
    except OSError:
        return 0
    with connection:
        connection.sendall(association_request(calling=calling))
        return connection.recv(1)[0]


def may_call(callers: Callers, ae_title: str, address: str) -> bool:
    return any(caller.is_it(ae_title, address) for caller in callers)


def test_destinations_may_report_their_commitment(names: dict[str, str]):
    callers = Callers([], [("ORTHANC", "127.0.0.1"), ("PACS", "localhost"), ("GONE", "gone.hospital")])
    assert may_call(callers, "ORTHANC", "127.0.0.1")
    assert may_call(callers, "PACS", "::ffff:127.0.0.1") or may_call(callers, "PACS", "::1")
    assert not may_call(callers, "ORTHANC", "127.0.0.2")
    assert not any(caller.ae_title == "GONE" for caller in callers)


def test_a_destination_that_was_not_found_at_the_start_may_call_once_it_is(
    make_node: Callable[..., ListeningNode], names: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    """After a power cut everything starts at once, and the node before the name server."""
    monkeypatch.setattr("node.callers._LOST_SECONDS", 0.05)
    callers = callers_of(
        NodeSettings(
            callers=(CallerSection(ae_title="MODALITY1", host="10.0.0.0/8"),),
            destinations=(
                DestinationSection(
                    name="pacs", ae_title="PACS", host="pacs.hospital", port=104, commitment=True
                ),
            ),
        )
    )
    callers.start()
    try:
        node = make_node(callers=callers)
        assert answered("127.0.0.1", node.port, "PACS") == REJECTED
        names["pacs.hospital"] = "127.0.0.1"
        wait_for(lambda: answered("127.0.0.1", node.port, "PACS") == ACCEPTED, what="its name")
    finally:
        callers.stop()


def test_a_name_that_cannot_even_be_asked_for_keeps_nobody_else_out():
    callers = Callers([], [("NONE", "pacs..hospital"), ("ORTHANC", "127.0.0.1")])
    assert may_call(callers, "ORTHANC", "127.0.0.1")


def test_an_address_that_changes_is_followed_and_one_that_is_lost_stays(names: dict[str, str]):
    names["pacs.hospital"] = "10.0.0.5"
    listed = Caller(ae_title="MODALITY1", network=ip_network("10.1.0.0/16"))
    callers = Callers([listed], [("PACS", "pacs.hospital")])
    names["pacs.hospital"] = "10.0.0.6"
    callers.look_up()
    assert not may_call(callers, "PACS", "10.0.0.5")
    assert may_call(callers, "PACS", "10.0.0.6")
    del names["pacs.hospital"]
    with capture_logs() as lines:
        callers.look_up()
        callers.look_up()
        assert may_call(callers, "PACS", "10.0.0.6")
        names["pacs.hospital"] = "10.0.0.6"
        callers.look_up()
        callers.look_up()
    assert [line["event"] for line in lines] == ["destination-unresolved", "destination-resolved"]
    assert may_call(callers, "MODALITY1", "10.1.2.3")


@needs_ipv6
def test_a_node_on_every_address_is_reached_by_ipv4_and_ipv6(make_node: Callable[..., ListeningNode]):
    told = []
    node = make_node(host="::", on_stranger=lambda call, _: told.append(call.address))
    assert [answered(address, node.port) for address in ("127.0.0.1", "::1")] == [ACCEPTED, ACCEPTED]
    node.acceptor.stop()
    node.listen(host="::", callers=(), on_stranger=lambda call, _: told.append(call.address))
    assert [answered(address, node.port) for address in ("127.0.0.1", "::1")] == [REJECTED, REJECTED]
    assert told == ["127.0.0.1", "::1"], "as an operator would list them"


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_a_node_on_one_address_is_reached_there_alone(make_node: Callable[..., ListeningNode], host: str):
    node = make_node(host=host)
    answers = {address: answered(address, node.port) for address in ("127.0.0.1", "::1")}
    assert answers == {"127.0.0.1": 0, "::1": 0} | {host: ACCEPTED}


@needs_ipv6
def test_a_caller_whose_host_is_left_out_may_call_from_any_address(make_node: Callable[..., ListeningNode]):
    listed = callers_of(NodeSettings(callers=(CallerSection(ae_title="MODALITY1"),)))
    node = make_node(host="::", callers=listed)
    assert [answered(address, node.port) for address in ("127.0.0.1", "::1")] == [ACCEPTED, ACCEPTED]


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "::1", "0.0.0.0", "127.0.0.1"])  # noqa: S104
def test_a_node_starts_where_its_port_is_free(host: str):
    port = free_port()
    settings = NodeSettings(node=NodeSection(host=host, port=port))
    _check_ports(settings)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family), pytest.raises(CannotStart, match=str(port)):
        _check_ports(settings)


def test_a_port_is_held_until_the_others_were_had():
    """Each was free; both are not: one name may stand for the address that another setting gives."""
    port = free_port()
    node = NodeSettings(node=NodeSection(host="127.0.0.1", port=port))
    both = node.model_copy(update={"console": ConsoleSection(host="localhost", port=port)})
    with pytest.raises(CannotStart, match=rf"Port {port} on localhost .*another \[console\]\.port"):
        _check_ports(both)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("no such host", "The host no such host cannot be resolved"),
        ("192.0.2.1", "192.0.2.1 is not an address of this machine"),
    ],
)
@pytest.mark.parametrize("section", ["node", "console"])
def test_a_host_that_is_not_here_is_told_apart_from_a_port_that_is_taken(section: str, host: str, told: str):
    elsewhere = {section: {"host": host, "port": free_port()}}
    settings = NodeSettings.model_validate({"node": {"host": "127.0.0.1", "port": free_port()}} | elsewhere)
    with pytest.raises(CannotStart) as refused:
        _check_ports(settings)
    sentence = str(refused.value)
    assert sentence.startswith(told)
    assert f"[{section}].host" in sentence
    assert "running" not in sentence


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAFNOSUPPORT])
def test_what_else_keeps_a_node_from_listening_is_told_as_the_system_says_it(
    monkeypatch: pytest.MonkeyPatch, number: int
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(CannotStart, match=os.strerror(number)) as refused:
        _check_ports(NodeSettings())
    assert "running" not in str(refused.value)
