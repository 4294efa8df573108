"""Who may call, what ends an association, and what its end says."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from io import BytesIO
from ipaddress import ip_network

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from structlog.testing import capture_logs

from node.callers import THIS_MACHINE, Caller
from node.requestor import NoAssociation
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import encoded, mammogram, uid
from tests.reception.raw_callers import raw_caller
from tests.reception.senders import calling, send
from tests.servers import wait_for

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"


def caller(ae_title: str, network: str) -> Caller:
    return Caller(ae_title=ae_title, network=ip_network(network))


@pytest.mark.parametrize(
    ("callers", "accepted"),
    [
        (THIS_MACHINE, True),
        ([], False),
        ([caller("*", "127.0.0.0/8")], True),
        ([caller("*", "10.0.0.0/8")], False),
        ([caller("MODALITY1", "127.0.0.0/8")], True),
        ([caller("OTHER", "127.0.0.0/8"), caller("MODALITY1", "127.0.0.1/32")], True),
        ([caller("OTHER", "127.0.0.0/8")], False),
        ([caller("MODALITY1", "10.0.0.0/8")], False),
        ([caller("MODALITY1", "10.0.0.0/8"), caller("OTHER", "127.0.0.0/8")], False),
    ],
)
def test_a_caller_is_known_by_its_title_and_its_address(
    make_node: Callable[..., ListeningNode], callers: list[Caller], accepted: bool
):
    node = make_node(callers=callers)
    with capture_logs() as lines:
        if accepted:
            with calling(node.port) as conversation:
                assert send(conversation, mammogram("callers")).Status == 0x0000
        else:
            with pytest.raises(NoAssociation, match=r"(?i)calling AE title not recogni"), calling(node.port):
                pass
    rejections = [line for line in lines if line["event"] == "association-rejected"]
    assert len(rejections) == (not accepted)


def test_an_address_of_ipv4_within_ipv6_is_the_same_address():
    assert caller("A", "10.0.0.0/8").is_it("A", "::ffff:10.1.2.3")
    assert not caller("A", "10.0.0.0/8").is_it("A", "fe80::1")


def test_whoever_calls_somebody_else_is_rejected(node: ListeningNode):
    call = subprocess.run(
        ["echoscu", "-aec", "SOMEBODY", "127.0.0.1", str(node.port)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert call.returncode != 0
    assert "Called AE Title Not Recognized" in call.stderr


def test_that_everybody_may_call_is_said_once(make_node: Callable[..., ListeningNode]):
    with capture_logs() as lines:
        make_node()
        make_node(callers=[caller("*", "0.0.0.0/1"), caller("MODALITY1", "0.0.0.0/0")])
    assert "everybody-may-call" not in [line["event"] for line in lines]
    with capture_logs() as lines:
        make_node(callers=[caller("*", "0.0.0.0/0")])
    assert [line["log_level"] for line in lines if line["event"] == "everybody-may-call"] == ["warning"]


def test_the_end_of_an_association_names_its_studies(node: ListeningNode):
    with calling(node.port) as conversation:
        send(conversation, mammogram("first"))
        send(conversation, mammogram("second"))
        send(conversation, mammogram("second", "L CC"))
        assert not node.touched
    assert node.somebody_touched.wait(5)
    wait_for(lambda: len(node.touched) == 2, what="the naming of both studies", seconds=5)
    time.sleep(0.2)
    assert sorted(node.touched) == sorted([uid("first"), uid("second")])


def test_a_study_is_named_only_when_nobody_stores_into_it_any_more(node: ListeningNode):
    with calling(node.port) as slow:
        send(slow, mammogram("shared", "R CC"))
        with calling(node.port, ae_title="MODALITY2") as quick:
            send(quick, mammogram("shared", "L CC"))
            send(quick, mammogram("own"))
        assert node.somebody_touched.wait(5)
        time.sleep(0.2)
        assert node.touched == [uid("own")]
        node.somebody_touched.clear()
    assert node.somebody_touched.wait(5)
    assert node.touched == [uid("own"), uid("shared")]


def test_an_abort_ends_an_association_too(node: ListeningNode):
    with calling(node.port) as conversation:
        send(conversation, mammogram("aborted"))
        conversation.abort()
    assert node.somebody_touched.wait(5)
    assert node.touched == [uid("aborted")]


def test_a_connection_that_breaks_in_the_middle_of_an_image_leaves_nothing_half(node: ListeningNode):
    with calling(node.port) as conversation:
        send(conversation, mammogram("broken", "L CC"))
        whole = conversation.dul.socket.socket
        image = mammogram("broken", "R CC", side=2000)
        sender = threading.Thread(target=_send_slowly, args=(conversation, encoded(image), image))
        sender.start()
        wait_for(node.incoming, what="the begin of an image")
        whole.shutdown(socket.SHUT_RDWR)
        sender.join(30)
        conversation.abort()
    assert node.somebody_touched.wait(5)
    wait_for(lambda: not node.incoming(), what="the end of the half file")
    assert node.stored("broken") == [f"{uid('broken', 'L CC')}.dcm"]
    assert node.touched == [uid("broken")]


def _send_slowly(conversation, data_set: bytes, image: Dataset) -> None:
    """Send the command and the first half of the data set, in the library's own PDUs."""
    request = C_STORE()
    request.MessageID, request.Priority = 9, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    request.DataSet = BytesIO(data_set)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    pieces = list(message.encode_msg(conversation.accepted_contexts[0].context_id, 16384))
    for piece in pieces[: len(pieces) // 2]:
        conversation.dul.send_pdu(piece)


def test_lines_of_two_associations_name_their_own_sender(
    node: ListeningNode, capsys: pytest.CaptureFixture[str]
):
    def send_one(ae_title: str, study: str) -> None:
        with calling(node.port, ae_title=ae_title) as conversation:
            send(conversation, mammogram(study, PatientName="Geheim^Name", PatientID="SECRET-ID"))

    callers = [threading.Thread(target=send_one, args=(f"MODALITY{n}", f"log-{n}")) for n in range(4)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    lines = capsys.readouterr().out
    stored = [line for line in lines.splitlines() if "instance-stored" in line]
    ended = [line for line in lines.splitlines() if "association-ended" in line]
    assert len(stored) == len(ended) == 4
    for number in range(4):
        (line,) = [line for line in stored if uid(f"log-{number}") in line]
        assert f"calling_ae_title=MODALITY{number}" in line
        (line,) = [line for line in ended if f"calling_ae_title=MODALITY{number}" in line]
        assert "stored=1" in line
    assert "Geheim" not in lines
    assert "SECRET-ID" not in lines


def test_thirty_modalities_may_send_at_once(node: ListeningNode):
    answers = []

    def send_one(number: int) -> None:
        with calling(node.port) as conversation:
            answers.append(send(conversation, mammogram(f"many-{number}")).Status)

    callers = [threading.Thread(target=send_one, args=(number,)) for number in range(30)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert answers == [0x0000] * 30


@pytest.mark.parametrize("with_roles", [True, False])
def test_a_destination_reports_its_commitment_on_an_association_of_its_own(
    node: ListeningNode, with_roles: bool
):
    entity = AE(ae_title="PACS")
    roles = [build_role(STORAGE_COMMITMENT, scu_role=False, scp_role=True)] if with_roles else []
    conversation = entity.associate(
        "127.0.0.1",
        node.port,
        contexts=[build_context(STORAGE_COMMITMENT, ExplicitVRLittleEndian)],
        ae_title="MAMMOCALC",
        ext_neg=roles,
    )
    assert conversation.is_established
    if with_roles:
        assert conversation.accepted_contexts[0].as_scp
    status, _ = conversation.send_n_event_report(
        report("1.2.3"), 2, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1"
    )
    conversation.release()
    assert status.Status == 0x0000
    (received,) = node.reports
    assert received.transaction_uid == "1.2.3"
    assert received.committed == ("1.2.3.1",)
    assert received.failed.keys() == {"1.2.3.2"}


def report(transaction_uid: str) -> Dataset:
    kept, lost = Dataset(), Dataset()
    kept.ReferencedSOPClassUID = lost.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.50"
    kept.ReferencedSOPInstanceUID = f"{transaction_uid}.1"
    lost.ReferencedSOPInstanceUID = f"{transaction_uid}.2"
    lost.FailureReason = 0x0112
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = Sequence([kept])
    information.FailedSOPSequence = Sequence([lost])
    return information


def test_stopping_lets_an_open_association_end(node: ListeningNode):
    with calling(node.port) as conversation:
        send(conversation, mammogram("stop", "R CC"))
        stopping = threading.Thread(target=node.acceptor.stop)
        stopping.start()
        time.sleep(0.3)
        assert send(conversation, mammogram("stop", "L CC")).Status == 0x0000
    stopping.join(5)
    assert not stopping.is_alive()
    assert node.touched == [uid("stop")]


def porters() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name == "porter"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_doors_that_closed_by_themselves_are_told_of(make_node: Callable[..., ListeningNode]):
    lost = threading.Event()

    def fault(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    before = porters()
    node = make_node(on_stranger=fault, when_lost=lost.set)
    with raw_caller(node.port) as caller:
        caller.associate(called="SOMEBODY")
    assert lost.wait(10), "the role is to start anew"
    wait_for(lambda: not porters() - before, what="the end of its thread")


def test_doors_that_are_closed_by_the_node_are_no_loss(make_node: Callable[..., ListeningNode]):
    lost = threading.Event()
    make_node(when_lost=lost.set).acceptor.stop()
    assert not lost.wait(0.5)
