"""Senders ask us to commit to what they sent, and are told: on their association, or on one of ours."""

import errno
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt

from lab.demo.free_ports import free_port
from lab.demo.orthanc import Orthanc, orthanc_program
from mammography.ledger.commitment_requests import commitment_requests, record_commitment_request
from mammography.ledger.signals import signals_of
from mammography.ledger.tables import CommitmentRequestRow
from mammography.ledger.write_ahead_log import NotDurable
from node.callers import Caller
from node.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from node.commitment_provider import CommitmentProvider
from node.composition import callers_of, make_commitment_provider
from node.delivery import GIVE_UP_AFTER
from node.operations import MOST_ITEMS, OperationRefused, decoded
from node.report_addresses import ReportAddress, ReportAddresses
from node.requestor import association
from node.settings import CallerSection, NodeSection, NodeSettings
from node.wire.command_set import CommandField, encode_command
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import CT, FOR_PRESENTATION, encoded, mammogram, saved, screening_set, uid
from tests.reception.raw_callers import fragments, pdus, raw_caller
from tests.reception.senders import calling, send
from tests.servers import wait_for

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECONDS = timedelta(seconds=10)


@dataclass
class Asked:
    """A node that is asked to commit."""

    node: ListeningNode
    reports: dict[str, ReportAddress] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    now: datetime = NOW

    def provider(self) -> CommitmentProvider:
        return CommitmentProvider(
            ledger=self.node.ledger,
            data_dir=self.node.data_dir,
            ae_title="MAMMOCALC",
            report_to=lambda ae_title, _: self.reports.get(ae_title),
            on_listed=self.listed.append,
        )

    def operations(self) -> dict[tuple[CommandField, str], Any]:
        return {
            (CommandField.N_ACTION, str(PUSH_MODEL)): lambda asked: self.provider().request(
                asked, now=self.now
            )
        }

    def row(self) -> CommitmentRequestRow:
        with self.node.ledger.read() as session:
            (row,) = commitment_requests(session)
        return row

    def sweep(self) -> int:
        provider = self.provider()
        count = provider.sweep(now=self.now)
        provider.wait()
        provider.close()
        return count


@pytest.fixture
def asked(node: ListeningNode) -> Iterator[Asked]:
    node.acceptor.stop()
    asked = Asked(node)
    node.listen(operations=asked.operations())
    with calling(node.port) as conversation:
        for image in screening_set("asked"):
            assert send(conversation, image).Status == 0x0000
    return asked


def request(*views: str, transaction: str = "1.2.3", sop_class_uid: str = FOR_PRESENTATION) -> Dataset:
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for view in views:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, uid("asked", view)
        information.ReferencedSOPSequence.append(item)
    return information


@dataclass
class Heard:
    """What a sender was told."""

    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    status: int = 0x0000
    came: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        self.came.set()
        return self.status, None


def ask(
    port: int,
    information: Dataset,
    heard: Heard | None = None,
    *,
    action: int = 1,
    instance: str = PUSH_MODEL_INSTANCE,
) -> int:
    """Ask as pynetdicom's user of the service does; wait for the report where one is to be heard."""
    with association(
        [build_context(PUSH_MODEL, ExplicitVRLittleEndian)],
        calling_ae_title="MODALITY1",
        called_ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=port,
        timeout=SECONDS,
        handlers=[(evt.EVT_N_EVENT_REPORT, heard)] if heard else [],
    ) as conversation:
        status, _ = conversation.send_n_action(information, action, PUSH_MODEL, instance)
        if heard:
            assert heard.came.wait(10)
            threading.Event().wait(0.2)  # the answer to the report is on its way
    return int(status.Status)


@contextmanager
def modality(heard: Heard, *, provider: bool | None = True) -> Iterator[int]:
    """A modality that takes reports on a port of its own, if it lets us be the provider; None answers no roles."""
    entity = AE(ae_title="MODALITY1")
    entity.add_supported_context(PUSH_MODEL, scu_role=provider and False, scp_role=provider)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)]
    )
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def told(report: tuple[int, Dataset]) -> tuple[int, int, list[int]]:
    event_type, information = report
    return (
        event_type,
        len(information.get("ReferencedSOPSequence") or []),
        [item.FailureReason for item in information.get("FailedSOPSequence") or []],
    )


def test_who_has_no_port_for_reports_is_told_on_its_own_association(asked: Asked):
    heard = Heard()
    assert ask(asked.node.port, request("R CC", "L CC"), heard) == 0x0000
    assert [told(report) for report in heard.reports] == [(1, 2, [])]
    assert heard.reports[0][1].TransactionUID == "1.2.3"
    row = asked.row()
    assert (row.calling_ae_title, row.reason) == ("MODALITY1", "2 committed, 0 not")
    assert row.reported_at is not None
    assert row.next_attempt_at is None


def test_a_report_that_is_refused_is_not_taken_for_told(asked: Asked):
    heard = Heard(status=0x0110)
    ask(asked.node.port, request("R CC"), heard)
    row = asked.row()
    assert row.reported_at is None
    assert "0110H" in row.reason


def test_only_what_is_here_whole_is_committed(asked: Asked):
    whole, short, gone = (asked.node.instances("asked")[index] for index in (0, 1, 2))
    path = asked.node.data_dir / short.path
    path.write_bytes(path.read_bytes()[: short.bytes])
    (asked.node.data_dir / gone.path).unlink()
    information = request("R CC", "L CC", "R MLO", "never sent")
    other_class = request("L MLO", sop_class_uid=CT).ReferencedSOPSequence
    information.ReferencedSOPSequence.extend(other_class)
    heard = Heard()
    ask(asked.node.port, information, heard)
    (report,) = heard.reports
    assert report[0] == 2
    assert [item.ReferencedSOPInstanceUID for item in report[1].ReferencedSOPSequence] == [
        whole.sop_instance_uid
    ]
    reasons = {item.ReferencedSOPInstanceUID: item.FailureReason for item in report[1].FailedSOPSequence}
    assert reasons == {
        short.sop_instance_uid: 0x0110,
        gone.sop_instance_uid: 0x0110,
        uid("asked", "never sent"): 0x0112,
        uid("asked", "L MLO"): 0x0119,
    }
    assert not asked.listed, "not all of the list is here"


def test_who_has_a_port_is_told_there_as_often_as_it_takes(asked: Asked):
    port = free_port()
    asked.reports["MODALITY1"] = ReportAddress(port=port)
    assert ask(asked.node.port, request("R CC")) == 0x0000
    assert asked.sweep() == 1
    assert "cannot be reached" in asked.row().reason
    assert asked.sweep() == 0, "not at once again"
    asked.now += timedelta(hours=1)
    heard = Heard()
    with modality(heard) as port:
        asked.reports["MODALITY1"] = ReportAddress(port=port)
        assert asked.sweep() == 1
        assert [told(report) for report in heard.reports] == [(1, 1, [])]
        assert asked.row().reported_at is not None
        assert asked.row().attempts == 2
        asked.now += timedelta(days=1)
        assert asked.sweep() == 0, "told once"
        ask(asked.node.port, request("R CC", "L CC"))
        assert asked.sweep() == 1
    assert [told(report) for report in heard.reports] == [(1, 1, []), (1, 2, [])]


def test_a_report_whose_sender_has_no_port_any_more_says_so_and_comes_to_an_end(asked: Asked):
    asked.reports["MODALITY1"] = ReportAddress(port=free_port())
    ask(asked.node.port, request("R CC"))
    asked.reports.clear()
    assert asked.sweep() == 0
    assert "no commitment_port" in asked.row().reason
    asked.now += GIVE_UP_AFTER
    asked.sweep()
    assert asked.row().next_attempt_at is None


def test_reports_that_are_taken_elsewhere_are_brought_there_another_time(asked: Asked):
    """Two sites with one AE title; only the first has its port open now."""
    asked.reports["MODALITY1"] = ReportAddress(port=free_port())
    for transaction in ("1.2.3", "1.2.4"):
        ask(asked.node.port, request("R CC", transaction=transaction))
        asked.now += timedelta(seconds=1)
    with asked.node.ledger.begin() as session:
        session.get(CommitmentRequestRow, ("1.2.4", "MODALITY1")).address = "127.0.0.2"
    heard = Heard()
    with modality(heard) as port:
        ports = {"127.0.0.1": port, "127.0.0.2": free_port()}
        provider = CommitmentProvider(
            ledger=asked.node.ledger,
            data_dir=asked.node.data_dir,
            ae_title="MAMMOCALC",
            report_to=lambda _, address: ReportAddress(port=ports[address]),
        )
        assert provider.sweep(now=asked.now) == 1
        provider.wait()
        assert [information.TransactionUID for _, information in heard.reports] == ["1.2.3"]
        assert provider.sweep(now=asked.now) == 1
        provider.wait()
        provider.close()
    assert len(heard.reports) == 1
    with asked.node.ledger.read() as session:
        rows = {row.transaction_uid: row.reason for row in commitment_requests(session)}
    assert "cannot be reached" in rows["1.2.4"]


def test_each_is_told_where_the_first_that_it_is_takes_reports():
    def listed(ae_title: str, network: str, port: int) -> tuple[Caller, ReportAddress]:
        return Caller(ae_title=ae_title, network=ip_network(network)), ReportAddress(port=port)

    addresses = ReportAddresses(
        [
            listed("*", "10.0.0.0/8", 1),
            listed("*", "0.0.0.0/0", 2),
            listed("MODALITY1", "10.1.0.0/16", 3),
            listed("MODALITY1", "10.2.0.0/16", 4),
        ]
    )
    told = {
        (title, address): getattr(addresses.of(title, address), "port", None)
        for title in ("MODALITY1", "MODALITY2")
        for address in ("10.1.0.1", "10.2.0.1", "10.3.0.1", "192.0.2.1", "::1")
    }
    assert list(told.values()) == [3, 4, 1, 2, None, 1, 1, 1, 2, None]


@pytest.mark.parametrize("title", ["MODALITY1", "*"])
def test_whoever_a_caller_with_a_port_stands_for_is_told_there(asked: Asked, title: str):
    """As modalities do: it asks, releases at once, and waits for the report at its own port."""
    heard = Heard()
    with modality(heard) as port:
        settings = NodeSettings(
            node=NodeSection(data_dir=asked.node.data_dir),
            callers=(
                CallerSection(ae_title=title, host="127.0.0.0/8", commitment_port=port),
                CallerSection(ae_title=title, host="10.0.0.0/8", commitment_port=port + 1),
            ),
        )
        provider = make_commitment_provider(settings, asked.node.ledger)
        asked.node.acceptor.stop()
        asked.node.listen(
            callers=callers_of(settings),
            operations={
                (CommandField.N_ACTION, str(PUSH_MODEL)): lambda told: provider.request(told, now=NOW)
            },
        )
        assert ask(asked.node.port, request("R CC")) == 0x0000
        assert provider.sweep(now=NOW) == 1
        provider.wait()
        provider.close()
    assert [told(report) for report in heard.reports] == [(1, 1, [])]


def test_nothing_is_committed_to_while_the_ledger_may_not_be_on_the_disk(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    asked.reports["MODALITY1"] = ReportAddress(port=free_port())
    ask(asked.node.port, request("R CC"))
    heard = Heard()

    def fdatasync(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with modality(heard) as port:
        asked.reports["MODALITY1"] = ReportAddress(port=port)
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fdatasync)
            with pytest.raises(NotDurable):
                asked.sweep()
        assert not heard.reports
        asked.sweep()
        assert [told(report) for report in heard.reports] == [(1, 1, [])]


def test_a_port_that_answers_no_roles_is_told_too(asked: Asked):
    heard = Heard()
    with modality(heard, provider=None) as port:
        asked.reports["MODALITY1"] = ReportAddress(port=port)
        ask(asked.node.port, request("R CC"))
        assert asked.sweep() == 1
    assert [told(report) for report in heard.reports] == [(1, 1, [])]


@pytest.mark.parametrize(
    ("status", "provider", "said"),
    [
        (0x0110, True, "answered the report with 0110H"),
        (0x0000, False, "takes no reports"),
    ],
)
def test_a_report_that_a_port_does_not_take_comes_again_for_days(
    asked: Asked, status: int, provider: bool, said: str
):
    heard = Heard(status=status)
    with modality(heard, provider=provider) as port:
        asked.reports["MODALITY1"] = ReportAddress(port=port, host="127.0.0.1")
        ask(asked.node.port, request("R CC"))
        assert asked.sweep() == 1
        assert said in asked.row().reason
        again = asked.row().next_attempt_at
        assert again is not None
        asked.now = NOW + GIVE_UP_AFTER
        assert asked.sweep() == 1
        assert asked.row().next_attempt_at is None


def test_what_nobody_foresaw_of_one_sender_keeps_no_other_from_its_report(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    told = []

    def report_or_break(_self: CommitmentProvider, sender: str, *_: object) -> None:
        told.append(sender)
        assert sender != "BROKEN"

    monkeypatch.setattr(CommitmentProvider, "_report", report_or_break)
    for seconds, sender in enumerate(("BROKEN", "OTHER")):
        asked.reports[sender] = ReportAddress(port=free_port())
        with asked.node.ledger.begin() as session:
            record_commitment_request(
                session,
                "1.2.3",
                sender,
                address="127.0.0.1",
                references=[(FOR_PRESENTATION, uid("asked", "R CC"))],
                now=NOW,
                report_at=NOW + timedelta(seconds=seconds),
            )
    provider = asked.provider()
    assert provider.sweep(now=NOW + SECONDS) == 2
    wait_for(lambda: all(each.done() for each in provider._lanes._running.values()))
    with pytest.raises(AssertionError):
        provider.sweep(now=NOW + SECONDS)
    provider.close()
    assert sorted(told) == ["BROKEN", "BROKEN", "OTHER", "OTHER"]


def test_a_list_of_all_that_is_here_is_a_signal_for_its_study(asked: Asked):
    ask(asked.node.port, request("R CC", "L CC", "R MLO", "L MLO"), Heard())
    assert asked.listed == [uid("asked")]
    with asked.node.ledger.read() as session:
        (signal,) = signals_of(session, uid("asked"))
    assert (signal.source, signal.source_uid, signal.finished) == ("storage-commitment", "1.2.3", True)
    assert len(signal.instances) == 4


def no_transaction() -> Dataset:
    information = request("R CC")
    del information.TransactionUID
    return information


def bad_reference() -> Dataset:
    information = request("R CC")
    information.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "not.a.uid"
    return information


@pytest.mark.parametrize(
    ("information", "asked_for", "status"),
    [
        (request("R CC"), {"action": 2}, 0x0123),
        (request("R CC"), {"instance": "1.2.3"}, 0x0112),
        (no_transaction(), {}, 0x0115),
        (request(), {}, 0x0115),
        (request("R CC", transaction="1.02x"), {}, 0x0115),
        (bad_reference(), {}, 0x0115),
    ],
)
def test_what_is_no_request_is_refused_with_its_status(
    asked: Asked, information: Dataset, asked_for: dict[str, Any], status: int
):
    assert ask(asked.node.port, information, **asked_for) == status
    with asked.node.ledger.read() as session:
        assert not commitment_requests(session)
    assert ask(asked.node.port, request("R CC"), Heard()) == 0x0000, "the node goes on"


def test_a_request_of_more_items_than_are_read_at_once_is_refused(asked: Asked):
    """A megabyte of empty items keeps the interpreter busy for ten seconds, and everybody else waiting."""
    information = request("R CC")
    many = Dataset()
    many.ReferencedSOPSequence = [Dataset() for _ in range(MOST_ITEMS)]
    information.ReferencedStudySequence = [many]
    assert ask(asked.node.port, information) == 0x0213
    many.ReferencedSOPSequence = many.ReferencedSOPSequence[: MOST_ITEMS - 2]
    assert ask(asked.node.port, information, Heard()) == 0x0000


def test_items_are_counted_in_either_order_of_bytes():
    items = struct.pack(">HHI", 0xFFFE, 0xE000, 0) * (MOST_ITEMS + 1)
    with pytest.raises(OperationRefused, match="More than 20000 items"):
        decoded(items, ExplicitVRBigEndian)


def test_a_request_that_names_another_class_than_its_context_is_refused(asked: Asked):
    """Found by fuzzing: such bytes went into our own report, and the association's thread died of them."""
    with raw_caller(asked.node.port) as caller:
        assert caller.associate(sop_classes=(str(PUSH_MODEL),)) == 2
        garbled = encode_command(
            {
                0x0002: b"1.2.\xff40.10008.1.20.1",
                0x0100: struct.pack("<H", 0x0130),
                0x0110: struct.pack("<H", 7),
                0x0800: struct.pack("<H", 1),
                0x1001: PUSH_MODEL_INSTANCE.encode(),
                0x1008: struct.pack("<H", 1),
            }
        )
        values = fragments(1, garbled, is_command=True, size=1000)
        values += fragments(1, encoded(request("R CC")), is_command=False, size=1000)
        caller.socket.sendall(b"".join(pdus(values)))
        assert caller.status() == 0x0118


@pytest.mark.orthanc
def test_what_orthanc_sends_and_asks_for_is_committed(
    make_node: Callable[..., ListeningNode], tmp_path: Path
):
    """Orthanc stores into us, asks, and hears the report on its own DICOM port."""
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    node = make_node(operations={})
    node.acceptor.stop()
    asked = Asked(node, now=datetime.now(UTC))
    node.listen(operations=asked.operations())
    with Orthanc(folder=tmp_path / "orthanc", modalities={"MAMMOCALC": node.port}) as orthanc:
        asked.reports["ORTHANC"] = ReportAddress(port=orthanc.dicom_port, host="127.0.0.1")
        for number, image in enumerate(screening_set("from-orthanc")):
            file = saved(image, tmp_path / f"{number}.dcm")
            orthanc._call("POST", "/instances", file.read_bytes())
        study = orthanc.find({"Level": "Study", "Query": {}})[0]
        sent = orthanc.post("/modalities/mammocalc/store", {"Resources": [study], "StorageCommitment": True})
        transaction = sent["StorageCommitmentTransactionUID"]
        wait_for(lambda: asked.sweep() == 1, what="Orthanc's request")
        report = partial(orthanc.get, f"/storage-commitment/{transaction}")
        wait_for(lambda: report()["Status"] != "Pending", what="the report in Orthanc")
        assert report()["Status"] == "Success"
        assert len(report()["Success"]) == 4
    assert asked.listed == [uid("from-orthanc")]
    assert mammogram("from-orthanc").SOPInstanceUID in {
        row.sop_instance_uid for row in node.instances("from-orthanc")
    }
