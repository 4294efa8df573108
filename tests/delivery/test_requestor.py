"""Calling another application entity: what went wrong is told apart, and no response is lost."""

import socket
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from lab.demo.free_ports import free_port
from node.requestor import Lanes, NoAssociation, NothingAccepted, association, propose
from node.settings import LONGEST_TIMEOUT
from tests.servers import wait_for

CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"


def call(port, *, host="127.0.0.1", sop_class=CAD_SR, handlers=(), timeout=timedelta(seconds=1)):
    return association(
        propose(sop_class),
        calling_ae_title="MAMMOCALC",
        called_ae_title="PEER",
        host=host,
        port=port,
        timeout=timeout,
        handlers=handlers,
    )


def test_nobody_there_is_told_from_somebody_who_does_not_answer():
    with pytest.raises(NoAssociation, match="cannot be reached"), call(free_port()):
        pass
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        began = time.monotonic()
        with pytest.raises(NoAssociation, match="did not answer"), call(deaf.getsockname()[1]):
            pass
        assert time.monotonic() - began < 3


def test_the_longest_timeout_of_the_settings_is_one_that_a_connection_takes():
    with pytest.raises(NoAssociation, match="cannot be reached"), call(free_port(), timeout=LONGEST_TIMEOUT):
        pass


def test_an_unknown_host_is_named():
    with (
        pytest.raises(NoAssociation, match=r"nowhere\.invalid is not known"),
        call(104, host="nowhere.invalid"),
    ):
        pass


def test_a_rejection_gives_the_peers_reason():
    entity = AE(ae_title="OTHER")
    entity.require_called_aet = True
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    with pytest.raises(NoAssociation, match="Called AE title"), call(server.server_address[1]):
        pass
    server.shutdown()


def test_a_peer_that_accepts_no_sop_class_is_told_apart():
    entity = AE(ae_title="PEER")
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    with pytest.raises(NothingAccepted), call(server.server_address[1]):
        pass
    server.shutdown()


def test_the_connection_waits_for_no_acknowledgement_and_leaves_responses_to_the_sender():
    entity = AE(ae_title="PEER")
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    with call(server.server_address[1], sop_class=Verification) as conversation:
        connection = conversation.dul.socket.socket
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        conversation.dimse.msg_queue.put((1, "the response"))
        # pynetdicom's own thread looks for requests every millisecond and must not take it
        time.sleep(0.05)
        assert conversation.dimse.get_msg(block=True) == (1, "the response")
        assert conversation.send_c_echo().Status == 0x0000
    server.shutdown()


def test_a_lane_that_is_slow_delays_no_other_and_is_not_entered_twice():
    lanes, go, done = Lanes(2), threading.Event(), []
    lanes.start("slow", lambda: done.append(go.wait(10)))
    lanes.start("quick", lambda: done.append("quick"))
    wait_for(lambda: not lanes.busy("quick"), what="the quick lane's end")
    assert done == ["quick"]
    assert lanes.busy("slow")
    go.set()
    lanes.wait()
    assert done == ["quick", True]
    lanes.close()


def test_what_broke_in_a_lane_is_raised_once():
    lanes = Lanes(1)
    lanes.start("lane", lambda: 1 // 0)
    wait_for(lambda: not lanes.busy("lane"))
    lanes.start("lane", lambda: None)
    with pytest.raises(ZeroDivisionError):
        lanes.raise_failures()
    lanes.wait()
    lanes.close()


def test_what_broke_in_several_lanes_is_raised_together():
    lanes = Lanes(2)
    lanes.start("one", lambda: 1 // 0)
    lanes.start("another", lambda: {}["nothing"])
    with pytest.raises(ExceptionGroup) as failures:
        lanes.wait()
    assert {type(each) for each in failures.value.exceptions} == {ZeroDivisionError, KeyError}
    lanes.raise_failures()
    lanes.close()


def test_an_association_that_the_peer_aborts_ends_without_waiting():
    entity = AE(ae_title="PEER")
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_C_ECHO, lambda event: event.assoc.abort() or 0x0000)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    began = time.monotonic()
    with call(server.server_address[1], sop_class=Verification) as conversation:
        assert "Status" not in conversation.send_c_echo()
    assert time.monotonic() - began < 0.9
    server.shutdown()
