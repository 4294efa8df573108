"""Objects reach a DICOMweb service by STOW-RS (PS3.18 section 10.5), and its answer is judged for each of them."""

import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from contextlib import ExitStack, closing
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from structlog.testing import capture_logs

from lab.demo.orthanc import orthanc_program
from mammography.ledger.tables import DeliveryState, ResultRow
from mammography.settings_file import SettingsRefused, load_settings
from mammography.study import StudyState
from node.composition import destinations_of, make_commitment_provider
from node.delivery import Delivery
from node.parcels import Destination, DicomWeb, Outcome, Parcel
from node.requestor import CONNECT_TIMEOUT
from node.settings import NodeSettings
from node.stow import LONGEST_ANSWER, Answer, NotReached, judge, stow
from tests.delivery.peers import destination
from tests.delivery.sending import deliver, reasons, states
from tests.delivery.small_studies import NOW, VIEWS
from tests.delivery.web_service import (
    Cut,
    Reply,
    Silence,
    failed,
    stored,
    web_destination,
    web_service,
)
from tests.dicomweb import PLUGIN, PacsWithDicomWeb
from tests.servers import wait_for


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory):
    if orthanc_program() is None or not PLUGIN.exists():
        pytest.skip("`apt-get install orthanc orthanc-dicomweb` brings a PACS that speaks STOW-RS.")
    with PacsWithDicomWeb(folder=tmp_path_factory.mktemp("orthanc-dicomweb")) as pacs:
        yield pacs


def at(pacs, **given):
    return web_destination(f"{pacs.url}/dicom-web", **given)


@pytest.mark.orthanc
def test_every_object_lies_in_orthanc_as_it_was_written_and_the_study_is_delivered(node, orthanc):
    node.destinations.append(at(orthanc, objects=("cad-sr", "gsps", "tid1500", "picture")))
    study = node.reported_study()
    count = deliver(node)
    held = orthanc.instances()
    written = list((node.data_dir / "studies" / study / "results" / "r1").glob("*.dcm"))
    assert len(written) == count > 5
    for path in written:
        ours = dcmread(path)
        there = node.data_dir / "there.dcm"
        there.write_bytes(orthanc.get_bytes(f"/instances/{held[ours.SOPInstanceUID]}/file"))
        assert dcmread(there) == ours
    assert states(node, study) == {DeliveryState.SENT}
    assert reasons(node, study) == {""}
    assert node.state(study) == StudyState.DELIVERED


@pytest.mark.orthanc
def test_an_object_that_orthanc_holds_already_stays_one_instance(node, orthanc):
    node.destinations.append(at(orthanc, name="first"))
    node.destinations.append(at(orthanc, name="again"))
    study = node.reported_study()
    deliver(node)
    held = orthanc.instances()
    assert states(node, study) == {DeliveryState.SENT}
    assert [row for row in node.deliveries(study) if row.sop_instance_uid not in held] == []
    assert len({row.sop_instance_uid for row in node.deliveries(study)}) == 5


@pytest.mark.orthanc
def test_what_orthanc_cannot_store_is_postponed_with_its_reason_and_the_others_arrive(node, orthanc):
    node.destinations.append(at(orthanc))
    study = node.reported_study(views=VIEWS[:2])
    report = next((node.data_dir / "studies" / study / "results" / "r1").glob("cad-sr-*.dcm"))
    broken = dcmread(report)
    del broken.StudyInstanceUID
    broken.save_as(report)
    with node.ledger.begin() as session:
        row = session.get_one(ResultRow, broken.SOPInstanceUID)
        row.sha256 = sha256(report.read_bytes()).hexdigest()
    deliver(node)
    held = orthanc.instances()
    waiting = [row for row in node.deliveries(study) if row.sop_instance_uid not in held]
    assert [row.sop_instance_uid for row in waiting] == [broken.SOPInstanceUID]
    assert {row.state for row in waiting} == {DeliveryState.PENDING}
    assert all("web answered 400 (Bad Request): C000H (Failure" in row.reason for row in waiting)
    assert [row.state for row in node.deliveries(study)].count(DeliveryState.SENT) == 2


@pytest.mark.orthanc
def test_an_orthanc_that_comes_back_gets_what_waited(node, tmp_path):
    if orthanc_program() is None or not PLUGIN.exists():
        pytest.skip("`apt-get install orthanc orthanc-dicomweb` brings a PACS that speaks STOW-RS.")
    pacs = PacsWithDicomWeb(folder=tmp_path / "pacs")
    node.destinations.append(at(pacs))
    study = node.reported_study()
    deliver(node)
    assert all("cannot be reached" in reason for reason in reasons(node, study))
    with pacs:
        deliver(node, now=NOW + timedelta(seconds=2))
        assert len(pacs.instances()) == 5
    assert node.state(study) == StudyState.DELIVERED
    assert {row.attempts for row in node.deliveries(study)} == {1}


def test_each_request_holds_one_file_byte_for_byte_and_all_go_over_one_connection(node):
    with web_service() as service:
        node.destinations.append(service.destination())
        study = node.reported_study()
        deliver(node)
    written = (node.data_dir / "studies" / study / "results" / "r1").glob("*.dcm")
    assert sorted(content for each in service.got for _, content in each.parts) == sorted(
        path.read_bytes() for path in written
    )
    assert {len(each.parts) for each in service.got} == {1}
    assert {each.parts[0][0] for each in service.got} == {"application/dicom"}
    assert {each.path for each in service.got} == {"/dicom-web/studies"}
    assert {each.headers["Accept"] for each in service.got} == {"application/dicom+json"}
    assert {"Authorization" in each.headers for each in service.got} == {False}
    assert len({each.port for each in service.got}) == 1


def test_a_service_that_closes_after_each_answer_gets_everything(node):
    with web_service(lambda _: Reply(body={}, closes=True)) as service:
        node.destinations.append(service.destination())
        study = node.reported_study()
        deliver(node)
    assert node.state(study) == StudyState.DELIVERED
    assert len({each.port for each in service.got}) == 5


ANSWERS = [
    (stored(), True, ""),
    (Reply(body=None), True, ""),
    (Reply(body=b"<NativeDicomModel/>", media_type="application/dicom+xml; charset=utf-8"), True, ""),
    (Reply(body=b"<NativeDicomModel/>", media_type="application/xml"), True, ""),
    (Reply(body=b"<NativeDicomModel/>", media_type="text/xml"), True, ""),
    (Reply(body=[stored().body]), True, ""),
    (Reply(body=[stored().body] * 2), False, "check the url"),
    (Reply(body={"00081198": {"vr": "SQ", "Value": "nothing that a sequence holds"}}), True, ""),
    (failed(0), False, "web answered 409 (Conflict): 0000H"),
    (failed(0xFFFF), False, "web answered 409 (Conflict): FFFFH"),
    (failed(0x10000), False, "web answered 409 (Conflict) and gives no Failure Reason."),
    (failed(-1), False, "web answered 409 (Conflict) and gives no Failure Reason."),
    (Reply(body=stored().body, media_type="application/dicom+json; charset=utf-8"), True, ""),
    (stored(0xB007), True, "web answered 200 (OK): B007H (Warning"),
    (stored(0xB000, status=202), True, "web answered 202 (Accepted): B000H (Warning, Coercion of Data"),
    (Reply(status=202), True, "web answered 202 (Accepted)."),
    (failed(0x0111), True, "it holds this instance already (0111H)"),
    (failed(45070), True, "it holds this instance already (B00EH)"),
    (failed(0xA700), False, "web answered 409 (Conflict): A700H (Failure"),
    (failed(0xA700, status=202), False, "web answered 202 (Accepted): A700H (Failure"),
    (failed(0xA900, status=200), False, "web answered 200 (OK): A900H (Failure"),
    (failed(0xC000, status=200, sequence="0008119A"), False, "C000H (Failure"),
    (failed(0xB000), False, "web answered 409 (Conflict): B000H"),
    (failed(None), False, "web answered 409 (Conflict) and gives no Failure Reason."),
    (Reply(status=409), False, "web answered 409 (Conflict) and gives no Failure Reason."),
    (Reply(status=409, body=b"<html>", media_type="text/html"), False, "gives no Failure Reason."),
    (Reply(status=400), False, "web answered 400 (Bad Request) and gives no Failure Reason."),
    (Reply(status=413), False, "web answered 413 (Request Entity Too Large) and gives no Failure Reason."),
    (Reply(status=500), False, "web answered 500 (Internal Server Error) and gives no Failure Reason."),
    (Reply(status=507), False, "web answered 507 (Insufficient Storage) and gives no Failure Reason."),
    (Reply(status=599), False, "web answered 599 and gives no Failure Reason."),
    (Reply(status=204), False, "web answered 204 (No Content) and gives no Failure Reason."),
    (
        Reply(body=b"<html>Welcome", media_type="text/html; charset=utf-8"),
        False,
        "web answered 200 (OK) with text/html, and no STOW-RS service does: check the url of this destination.",
    ),
    (Reply(body={"status": "ok"}, media_type="application/json"), False, "check the url"),
    (Reply(body=b"[" * 100_000), False, "check the url"),
]


@pytest.mark.parametrize(("reply", "sent", "said"), ANSWERS, ids=lambda given: getattr(given, "status", None))
def test_an_answer_is_judged_for_its_instance(node, reply, sent, said):
    with web_service(lambda _: reply) as service:
        node.destinations.append(service.destination(fallback=False))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert states(node, study) == {DeliveryState.SENT if sent else DeliveryState.PENDING}
    (reason,) = {row.warning if sent else row.reason for row in node.deliveries(study)}
    assert reason.startswith("web answered") == bool(said)
    assert said in reason
    assert len(service.got) == 2, "each object is asked for, whatever became of the one before"


def test_an_answer_too_long_to_be_read_is_none_and_the_next_object_is_answered_for_itself(node):
    replies = iter([Reply(body=b"x" * (2 * LONGEST_ANSWER), media_type="text/plain")])
    with web_service(lambda _: next(replies, stored())) as service:
        node.destinations.append(service.destination(fallback=False))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        assert len({got.port for got in service.got}) == 2, "of the rest nothing is read"
    assert states(node, study) == {DeliveryState.PENDING, DeliveryState.SENT}
    assert "no STOW-RS service does" in "".join(reasons(node, study))


def test_a_connection_that_is_lost_is_said_to_be(tmp_path):
    def cut(_: object) -> Reply:
        raise Cut

    with web_service(cut) as service, stow(*addressed(service.url)) as way:
        outcome = way.send(parcel(tmp_path, b"an object"))
        assert (outcome.sent, outcome.lost, way.is_open) == (False, True, False)


def test_a_service_that_does_not_read_is_waited_for_as_long_as_the_destination_may_take(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as service:
        url = f"http://127.0.0.1:{service.getsockname()[1]}"
        with stow(*addressed(url, timeout=timedelta(seconds=1))) as way, service.accept()[0]:
            began = time.monotonic()
            outcome = way.send(parcel(tmp_path, bytes(32 << 20)))
            assert time.monotonic() - began < CONNECT_TIMEOUT.total_seconds() - 2
    assert outcome.lost
    assert "did not answer the STOW-RS request in 1 s" in outcome.reason


def test_a_service_that_takes_no_connections_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr("node.stow.CONNECT_TIMEOUT", timedelta(seconds=0.5))
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):  # once its backlog is full, the system answers nobody
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        began = time.monotonic()
        with pytest.raises(NotReached, match="nobody answers there"):
            stow(*addressed(f"http://127.0.0.1:{full.getsockname()[1]}")).__enter__()
        assert time.monotonic() - began < 5


def addressed(url: str, **given: object) -> tuple[Destination, DicomWeb]:
    destination = web_destination(url, **given)
    return destination, destination.web


def parcel(folder: Path, content: bytes) -> Parcel:
    path = folder / "object.dcm"
    path.write_bytes(content)
    return Parcel(
        number=1,
        study_instance_uid="1.2",
        sop_instance_uid="1.2.3",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
        kind="cad-sr",
        path=path,
        sha256=sha256(content).hexdigest(),
        attempts=0,
        due_since=NOW,
        reason="",
    )


def test_a_media_type_that_is_not_taken_is_refused_and_something_else_goes(node):
    taken = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
    answer = lambda got: stored() if got.dataset.SOPClassUID in taken else Reply(status=415)  # noqa: E731
    with web_service(answer) as service:
        node.destinations.append(service.destination())
        study = node.reported_study(views=VIEWS[:1])
        for turn in range(3):
            deliver(node, now=NOW + timedelta(milliseconds=turn))
            node.reporting.sweep(now=NOW + timedelta(milliseconds=turn))
    assert node.state(study) == StudyState.DELIVERED
    assert states(node, study) == {DeliveryState.SENT, DeliveryState.SUPERSEDED}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=401), "web answered 401 (Unauthorized): give it the user and password_file"),
        (Reply(status=403), "web answered 403 (Forbidden): allow us to store there."),
        (Reply(status=404), "web answered 404 (Not Found): check the url of this destination."),
        (Reply(status=429), "web answered 429 (Too Many Requests): it is tried again."),
        (Reply(status=503), "web answered 503 (Service Unavailable): it is tried again."),
        (Reply(status=300), "put the address that it names"),
        (Reply(status=308, headers={"Location": "http://127.0.0.1:1/"}), "put the address that it names"),
        (Reply(status=399), "put the address that it names"),
    ],
    ids=lambda given: getattr(given, "status", None),
)
def test_a_service_that_takes_nothing_is_asked_once_in_a_while_and_everything_stays_due(node, reply, said):
    with web_service(lambda _: reply) as service:
        node.destinations.append(service.destination())
        study = node.reported_study()
        sending = Delivery(
            ledger=node.ledger, data_dir=node.data_dir, calling_ae_title="M", destinations=node.destinations
        )
        with capture_logs() as lines:
            assert sending.sweep(now=NOW) == 5
            sending.wait()
            assert sending.sweep(now=NOW + timedelta(seconds=0.5)) == 0
            assert len(service.got) == 1
            assert sending.sweep(now=NOW + timedelta(seconds=2)) == 5
            sending.wait()
            sending.close()
    assert len(service.got) == 2
    assert states(node, study) == {DeliveryState.PENDING}
    assert {row.attempts for row in node.deliveries(study)} == {0}
    assert all(said in reason for reason in reasons(node, study))
    assert "destination-not-reached" in [line["event"] for line in lines]


def test_a_service_that_goes_away_keeps_what_it_took_and_is_asked_no_more(node):
    answers = iter([stored(), stored()])
    with web_service(lambda _: next(answers, Reply(status=503))) as service:
        node.destinations.append(service.destination())
        study = node.reported_study()
        deliver(node)
    assert len(service.got) == 3
    assert sorted(row.state for row in node.deliveries(study)) == ["pending"] * 3 + ["sent"] * 2
    assert {(row.state, row.attempts) for row in node.deliveries(study)} == {("sent", 1), ("pending", 0)}
    answered = [each.dataset.SOPInstanceUID for each in service.got[:2]]
    assert {row.sop_instance_uid for row in node.deliveries(study) if row.state == "sent"} == set(answered)


def silent(_):
    raise Silence


def cut_at_once(_):
    raise Cut


def cut_in_the_middle(_):
    raise Cut("HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 90\r\n\r\n{")


def no_http(_):
    raise Cut("\x02\x00\x00\x00 something else altogether\r\n\r\n")


@pytest.mark.parametrize("habit", [cut_at_once, cut_in_the_middle, no_http, silent])
def test_an_object_that_is_not_answered_is_tried_again_and_holds_up_no_other(node, habit):
    seconds = timedelta(seconds=1)
    with web_service(habit) as service:
        node.destinations.append(service.destination(timeout=seconds))
        study = node.reported_study(views=VIEWS[:2])
        began = time.monotonic()
        deliver(node)
        assert time.monotonic() - began < 3
        assert len(service.got) == 1
        first, *rest = sorted(node.deliveries(study), key=lambda row: -row.attempts)
        assert first.reason == "web closed the connection or did not answer the STOW-RS request in 1 s."
        assert (first.attempts, {row.attempts for row in rest}) == (1, {0})
        service.answer = lambda _: stored()
        assert deliver(node) == 2
        assert deliver(node, now=NOW + timedelta(seconds=5)) == 1
    assert node.state(study) == StudyState.DELIVERED


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [(b"", b"HTTP/1.1 200 OK\r\n" * 20), (b"HTTP/1.1 200 OK\r\n\r\n{}", b" " * 300)],
    ids=["headers", "a body of unknown length"],
)
def test_a_service_that_sends_a_byte_now_and_then_is_left_after_the_timeout(node, at_once, slowly):
    def drip(listener):
        caller, _ = listener.accept()
        with closing(caller):
            caller.sendall(at_once)
            for letter in slowly:
                try:
                    caller.sendall(bytes([letter]))
                except OSError:
                    return
                time.sleep(0.1)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        dripping = threading.Thread(target=drip, args=[listener])
        dripping.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        node.destinations.append(web_destination(url, timeout=timedelta(seconds=1)))
        study = node.reported_study(views=VIEWS[:1])
        began = time.monotonic()
        deliver(node)
        assert time.monotonic() - began < 3
        dripping.join()
    assert states(node, study) == {DeliveryState.PENDING}
    assert "web closed the connection or did not answer the STOW-RS request in 1 s." in reasons(node, study)


def test_a_service_that_refuses_by_the_headers_alone_is_heard(node):
    """It answers and closes before it has read what we send."""

    def turn_away(listener):
        caller, _ = listener.accept()
        with closing(caller):
            caller.recv(10)
            caller.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        turning_away = threading.Thread(target=turn_away, args=[listener])
        turning_away.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        node.destinations.append(web_destination(url, objects=("picture",)))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        turning_away.join()
    assert all("web answered 401 (Unauthorized)" in reason for reason in reasons(node, study))


def test_a_silent_service_delays_no_other(node):
    with web_service(silent) as hangs, web_service() as takes:
        node.destinations.append(hangs.destination("silent", timeout=timedelta(seconds=3)))
        node.destinations.append(takes.destination("pacs"))
        study = node.reported_study()
        slow = threading.Thread(target=deliver, args=[node])
        slow.start()
        wait_for(lambda: states(node, study, "pacs") == {DeliveryState.SENT}, seconds=2.5)
        assert states(node, study, "silent") == {DeliveryState.PENDING}
        hangs.over.set()
        slow.join()


def test_a_caller_that_is_not_a_web_service_gets_nothing(node):
    def speak(listener):
        caller, _ = listener.accept()
        with closing(caller):
            caller.sendall(b"no TLS at all\r\n" * 100)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        node.destinations.append(
            web_destination(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=timedelta(seconds=1))
        )
        study = node.reported_study(views=VIEWS[:1])
        speaking = threading.Thread(target=speak, args=[listener])
        speaking.start()
        deliver(node)
        speaking.join()
    assert all("speaks no TLS with us" in reason for reason in reasons(node, study))


def test_a_host_that_is_not_known_is_named(node):
    node.destinations.append(web_destination("http://pacs.invalid/dicom-web"))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    assert all("the host pacs.invalid is not known" in reason for reason in reasons(node, study))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def https(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with web_service(tls=context) as service:
        yield service


def test_a_service_behind_tls_is_trusted_by_the_authority_that_is_named(node, https, authority, tmp_path):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    node.destinations.append(https.destination(ca=tmp_path / "ca.pem"))
    study = node.reported_study()
    deliver(node)
    assert node.state(study) == StudyState.DELIVERED
    assert len({each.port for each in https.got}) == 1


def test_a_service_that_nobody_vouches_for_gets_nothing(node, https, tmp_path):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    node.destinations.append(https.destination("system"))
    node.destinations.append(https.destination("other", ca=tmp_path / "other.pem"))
    node.destinations.append(https.destination("missing", ca=tmp_path / "missing.pem"))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    for name in ("system", "other"):
        assert all("is not trusted" in reason for reason in reasons(node, study, name))
        assert all("name its authority with ca." in reason for reason in reasons(node, study, name))
    assert all("missing.pem cannot be used" in reason for reason in reasons(node, study, "missing"))
    assert https.got == []


def test_a_silent_handshake_is_left(node, monkeypatch):
    monkeypatch.setattr("node.stow.CONNECT_TIMEOUT", timedelta(seconds=0.3))
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        node.destinations.append(web_destination(f"https://127.0.0.1:{listener.getsockname()[1]}"))
        study = node.reported_study(views=VIEWS[:1])
        began = time.monotonic()
        deliver(node)
        assert time.monotonic() - began < 3
    assert states(node, study) == {DeliveryState.PENDING}


def test_a_password_or_a_token_comes_from_its_file_and_shows_nowhere(node, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("open sesamé\n")
    with web_service(lambda _: failed(0xA700)) as service:
        node.destinations.append(service.destination("basic", user="mammocalc", password_file=secret))
        study = node.reported_study(views=VIEWS[:1])
        with capture_logs() as lines:
            deliver(node)
        expected = b64encode("mammocalc:open sesamé".encode()).decode()
        assert {each.headers["Authorization"] for each in service.got} == {f"Basic {expected}"}
        secret.write_text("a.new-token")
        node.destinations[:] = [service.destination("basic", token_file=secret)]
        with capture_logs() as more:
            deliver(node, now=NOW + timedelta(seconds=2))
        assert service.got[-1].headers["Authorization"] == "Bearer a.new-token"
    shown = str([lines, more, reasons(node, study), node.destinations])
    for hidden in ("sesam", "new-token", expected):
        assert hidden not in shown


@pytest.mark.parametrize("content", [None, "", "two\nlines", "ünïcode", b"\xff\xfe"])
def test_a_token_that_cannot_be_sent_is_named_and_nothing_goes(node, tmp_path, content):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content if isinstance(content, bytes) else content.encode())
    with web_service() as service:
        node.destinations.append(service.destination(token_file=token))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert service.got == []
    assert states(node, study) == {DeliveryState.PENDING}
    assert all(str(token) in reason for reason in reasons(node, study))


bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["00081198", "00081199", "0008119A", "00081197", "00081196", "Value", "vr"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@given(st.integers(100, 999), bodies | st.binary(max_size=20))
def test_whatever_is_answered_has_an_outcome(status, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = Answer(status=status, media_type="application/dicom+json", body=content)
    try:
        outcome = judge(web_destination("http://127.0.0.1"), answer)
    except NotReached:
        assert status not in (200, 202, 409)
    else:
        assert isinstance(outcome, Outcome)
        assert not outcome.sent or status in (200, 202, 409)


def settings_of(folder, text):
    file = folder / "mammocalc.toml"
    file.write_text(f'[[destinations]]\nname = "web"\n{text}')
    return load_settings(NodeSettings, file)


def test_a_destination_with_a_url_is_understood(tmp_path):
    text = """
        url = "https://pacs.hospital/dicom-web/"
        user = "mammocalc"
        password_file = "/etc/mammocalc/password"
        ca = "/etc/mammocalc/ca.pem"
    """
    settings = settings_of(tmp_path, text)
    (web,) = destinations_of(settings)
    assert web.web == DicomWeb(
        url="https://pacs.hospital/dicom-web",
        user="mammocalc",
        password_file=settings.destinations[0].password_file,
        ca=settings.destinations[0].ca,
    )
    assert not web.commitment
    assert destination("pacs", 104).web is None


def test_a_destination_with_a_url_is_nobody_who_asks_for_commitment(tmp_path, node):
    settings = settings_of(tmp_path, 'url = "https://pacs.hospital/dicom-web"')
    assert make_commitment_provider(settings, node.ledger)._report_to("PACS", "10.0.0.5") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "give ae_title, host and port (C-STORE), or a url (STOW-RS)"),
        ('ae_title = "PACS"\nhost = "pacs"', "give ae_title, host and port (C-STORE), or a url (STOW-RS)"),
        ('url = "https://pacs"\nae_title = "PACS"\nhost = "pacs"\nport = 104', "leave out ae_title"),
        ('url = "https://pacs"\nport = 104', "leave out ae_title"),
        ('url = "https://pacs"\ncommitment = true', "a url has no Storage Commitment"),
        ('url = "pacs.hospital/dicom-web"', "is like https://pacs.hospital/dicom-web"),
        ('url = "ftp://pacs"', "is like https://pacs.hospital/dicom-web"),
        ('url = "https://pacs:0"', "a port above 0"),
        ('url = "https://pacs:99999"', "[destinations].0.url"),
        ('url = "https://[::1/x"', "[destinations].0.url"),
        ('url = "https://pacs/a b"', "without a space"),
        ('url = "https://me:secret@pacs/dicom-web"', "leave user and password out of the url"),
        ('url = "https://pacs/dicom-web?x=1"', "no query and no fragment"),
        ('url = "https://pacs"\nuser = "me"', "give both user and password_file"),
        ('url = "https://pacs"\npassword_file = "p"', "give both user and password_file"),
        ('url = "https://pacs"\nuser = "a:b"\npassword_file = "p"', "[destinations].0.user"),
        ('url = "https://pacs"\nuser = "me"\npassword_file = "p"\ntoken_file = "t"', "or token_file"),
        ('url = "http://pacs"\nca = "ca.pem"', "ca is for a url that begins with https"),
        ('url = "http://pacs"\ntoken_file = "t"', "can be read on the way"),
        (
            'ae_title = "PACS"\nhost = "pacs"\nport = 104\ntoken_file = "t"',
            "are for a destination with a url",
        ),
    ],
)
def test_a_mistake_in_a_destination_is_a_sentence(tmp_path, text, told):
    with pytest.raises(SettingsRefused) as refused:
        settings_of(tmp_path, text)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_token_may_go_to_a_service_on_this_machine(tmp_path):
    assert settings_of(tmp_path, 'url = "http://127.0.0.1:8042/dicom-web"\ntoken_file = "t"').destinations
