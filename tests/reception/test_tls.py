"""TLS of our door: dcmtk as the modality, and callers who stall, have no certificate or speak an old dialect."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from trustme import KeyType

from node.association import Limits, TlsDoor
from node.tls import Credentials, CredentialsRefused, Tls
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import data_set_of, encoded, mammogram, saved
from tests.reception.raw_callers import C_ECHO, RELEASE_RQ, RawCaller, c_store, raw_caller
from tests.servers import wait_for

ACCEPTED, REJECTED, ABORTED = 2, 3, 7
"""Types of PDU."""


@dataclass
class Hospital:
    """An authority, and the files of those whom it vouches for."""

    folder: Path
    authority: trustme.CA

    @property
    def roots(self) -> Path:
        file = self.folder / "authority.pem"
        self.authority.cert_pem.write_to_path(file)
        return file

    def vouch_for(self, name: str, kind: KeyType = KeyType.ECDSA) -> tuple[Path, Path]:
        """Write a certificate and its key."""
        issued = self.authority.issue_cert("127.0.0.1", key_type=kind)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def door(self, *, callers: bool = False) -> TlsDoor:
        certificate, key = self.vouch_for("node")
        credentials = Credentials(certificate=certificate, key=key, callers=self.roots if callers else None)
        return TlsDoor(port=0, credentials=credentials)

    def context(self, *, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a caller speaks TLS with."""
        context = ssl.create_default_context(cafile=str(self.roots))
        if own:
            context.load_cert_chain(*own)
        return context


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(folder=tmp_path, authority=trustme.CA())


def tls_caller(port: int, context: ssl.SSLContext) -> RawCaller:
    caller = RawCaller(port)
    caller.socket = context.wrap_socket(caller.socket, server_hostname="127.0.0.1")
    return caller


def is_answered(caller: RawCaller, **asked: str) -> bool:
    with caller.socket:
        if caller.associate(**asked) != ACCEPTED:
            return False
        caller.socket.sendall(C_ECHO + RELEASE_RQ)
        return caller.status() == 0 and caller.pdu()[0] == 6


def dcmtk(program: str, node: ListeningNode, *options: str | Path) -> subprocess.CompletedProcess[str]:
    to = ["-aec", "MAMMOCALC", "127.0.0.1", str(node.acceptor.tls_port)]
    return subprocess.run(
        [program, *options[:-1], *to, options[-1]] if program == "storescu" else [program, *options, *to],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_dcmtk_stores_over_tls(make_node: Callable[..., ListeningNode], hospital: Hospital, tmp_path: Path):
    node = make_node(tls=hospital.door())
    sent = saved(mammogram("tls", side=700), tmp_path / "sent.dcm")
    done = dcmtk("storescu", node, "+tla", "+cf", hospital.roots, sent)
    assert done.returncode == 0, done.stderr
    (row,) = node.instances("tls")
    assert data_set_of((node.data_dir / row.path).read_bytes()) == data_set_of(sent.read_bytes())


def test_plain_and_tls_are_served_side_by_side(make_node: Callable[..., ListeningNode], hospital: Hospital):
    node = make_node(tls=hospital.door())
    assert is_answered(RawCaller(node.port))
    assert is_answered(tls_caller(node.acceptor.tls_port, hospital.context()))


def test_a_caller_without_a_certificate_is_turned_away_where_one_is_asked_for(
    make_node: Callable[..., ListeningNode], hospital: Hospital
):
    node = make_node(tls=hospital.door(callers=True))
    assert dcmtk("echoscu", node, "+tla", "+cf", hospital.roots).returncode != 0
    certificate, key = hospital.vouch_for("modality")
    known = dcmtk("echoscu", node, "+tls", key, certificate, "+cf", hospital.roots)
    assert known.returncode == 0, known.stderr
    stranger = Hospital(folder=hospital.folder / "elsewhere", authority=trustme.CA())
    stranger.folder.mkdir()
    certificate, key = stranger.vouch_for("modality")
    assert dcmtk("echoscu", node, "+tls", key, certificate, "+cf", hospital.roots).returncode != 0


def test_many_instances_go_over_one_association(make_node: Callable[..., ListeningNode], hospital: Hospital):
    node = make_node(tls=hospital.door())
    images = [mammogram("many", f"R CC {number}", side=300) for number in range(12)]
    caller = tls_caller(node.acceptor.tls_port, hospital.context())
    with caller.socket:
        assert caller.associate() == ACCEPTED
        caller.socket.sendall(b"".join(c_store(one.SOPInstanceUID, encoded(one)) for one in images))
        assert [caller.status() for _ in images] == [0] * 12
    assert len(node.instances("many")) == 12


def test_small_ones_of_several_at_once_are_deciphered_by_each_ones_own_thread(
    make_node: Callable[..., ListeningNode], hospital: Hospital
):
    node = make_node(tls=hospital.door())
    callers = [tls_caller(node.acceptor.tls_port, hospital.context()) for _ in range(3)]
    with ExitStack() as connections:
        for caller in callers:
            connections.enter_context(caller.socket)
            assert caller.associate() == ACCEPTED
        for number in range(4):
            for place, caller in enumerate(callers):
                image = mammogram("small", f"R CC {place} {number}", side=8)
                caller.socket.sendall(c_store(image.SOPInstanceUID, encoded(image)))
            assert [caller.status() for caller in callers] == [0] * 3
    assert len(node.instances("small")) == 12


def test_a_large_instance_in_long_pdus_is_deciphered(
    make_node: Callable[..., ListeningNode], hospital: Hospital
):
    """What comes over the socket is not its bytes: nothing may go around the process."""
    node = make_node(tls=hospital.door())
    image = mammogram("large", side=1200)
    caller = tls_caller(node.acceptor.tls_port, hospital.context())
    with caller.socket:
        assert caller.associate() == ACCEPTED
        caller.socket.sendall(c_store(image.SOPInstanceUID, encoded(image), size=100_000))
        assert caller.status() == 0
    (row,) = node.instances("large")
    assert data_set_of((node.data_dir / row.path).read_bytes()) == encoded(image)


def test_silent_callers_of_tls_keep_nobody_out(make_node: Callable[..., ListeningNode], hospital: Hospital):
    node = make_node(tls=hospital.door(), limits=Limits(associations=4, request_timeout=timedelta(seconds=4)))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    greeting = hospital.context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        greeting.do_handshake()
    hello = outgoing.read()
    with ExitStack() as there:
        silent = []
        for number in range(200):
            connection = socket.create_connection(("127.0.0.1", node.acceptor.tls_port), timeout=30)
            there.callback(connection.close)
            connection.sendall((b"", hello[:40], hello, b"A-ASSOCIATE-RQ in the clear")[number % 4])
            silent.append(connection)
        began = time.monotonic()
        assert is_answered(tls_caller(node.acceptor.tls_port, hospital.context()))
        assert is_answered(RawCaller(node.port))
        assert time.monotonic() - began < 3
        for connection in silent:
            connection.settimeout(20)
            drained(connection)


def drained(connection: socket.socket) -> None:
    """Read until the node ended the connection; raises TimeoutError where it does not."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


def test_who_falls_silent_within_tls_is_let_go(make_node: Callable[..., ListeningNode], hospital: Hospital):
    node = make_node(
        tls=hospital.door(),
        limits=Limits(request_timeout=timedelta(seconds=0.5), silence=timedelta(seconds=0.5)),
    )
    silent = tls_caller(node.acceptor.tls_port, hospital.context())
    with silent.socket:
        assert silent.pdu() == (0, b"")
    silent = tls_caller(node.acceptor.tls_port, hospital.context())
    with silent.socket:
        assert silent.associate() == ACCEPTED
        silent.socket.sendall(C_ECHO[:10])
        assert silent.pdu()[0] == ABORTED
        assert silent.pdu() == (0, b"")


def test_a_stranger_hears_over_tls_why(make_node: Callable[..., ListeningNode], hospital: Hospital):
    node = make_node(tls=hospital.door())
    caller = tls_caller(node.acceptor.tls_port, hospital.context())
    with caller.socket:
        assert caller.associate(called="SOMEBODY") == REJECTED
        assert caller.pdu() == (0, b"")


def test_an_association_over_tls_ends_when_the_node_stops(
    make_node: Callable[..., ListeningNode], hospital: Hospital
):
    node = make_node(tls=hospital.door())
    caller = tls_caller(node.acceptor.tls_port, hospital.context())
    with caller.socket:
        assert caller.associate() == ACCEPTED
        began = time.monotonic()
        node.acceptor.stop(timedelta(seconds=0.3))
        assert time.monotonic() - began < 5
        assert caller.pdu() == (0, b"")


def test_a_new_certificate_needs_no_restart(make_node: Callable[..., ListeningNode], hospital: Hospital):
    node = make_node(tls=hospital.door())
    port = node.acceptor.tls_port
    assert is_answered(tls_caller(port, hospital.context()))
    successor = Hospital(folder=hospital.folder, authority=trustme.CA())
    successor.vouch_for("node")
    assert is_answered(tls_caller(port, successor.context()))
    (hospital.folder / "node.pem").write_text("half a certif")
    assert is_answered(tls_caller(port, successor.context())), "the former one stays in use"


def test_a_new_key_that_cannot_be_read_closes_no_door(
    make_node: Callable[..., ListeningNode], hospital: Hospital
):
    node = make_node(tls=hospital.door())
    key = hospital.folder / "node.key"
    kept = key.rename(hospital.folder / "kept.key")
    key.mkdir()  # nobody reads that, root neither
    for _ in range(2):
        assert is_answered(tls_caller(node.acceptor.tls_port, hospital.context())), "with the former one"
        assert is_answered(RawCaller(node.port))
    key.rmdir()
    kept.rename(key)
    successor = Hospital(folder=hospital.folder, authority=trustme.CA())
    successor.vouch_for("node")
    assert is_answered(tls_caller(node.acceptor.tls_port, successor.context()))


@pytest.mark.parametrize(
    ("kind", "dialect"),
    [
        (KeyType.RSA, "AES128-SHA"),
        (KeyType.RSA, "AES256-GCM-SHA384"),
        (KeyType.ECDSA, "ECDHE-ECDSA-AES128-SHA256"),
    ],
)
def test_ciphers_without_secrecy_forward_or_authenticity_are_refused(
    make_node: Callable[..., ListeningNode], hospital: Hospital, kind: KeyType, dialect: str
):
    node = make_node(tls=hospital.door())
    hospital.vouch_for("node", kind)
    context = hospital.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{dialect}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        tls_caller(node.acceptor.tls_port, context)
    context.set_ciphers("ECDHE+AESGCM")
    assert is_answered(tls_caller(node.acceptor.tls_port, context))


def test_who_may_read_a_file_is_part_of_what_tells_that_it_changed(hospital: Hospital):
    certificate, key = hospital.vouch_for("node")
    credentials = Credentials(certificate=certificate, key=key)
    before = credentials.stamp()
    key.chmod(0o640 if key.stat().st_mode & 0o777 != 0o640 else 0o600)
    assert credentials.stamp() != before


def test_credentials_that_do_not_work_are_named(hospital: Hospital, tmp_path: Path):
    certificate, key = hospital.vouch_for("node")
    _, foreign = hospital.vouch_for("other")
    with_pass_phrase = tmp_path / "pass-phrase.key"
    with_pass_phrase.write_bytes(
        load_pem_private_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for mistake, named in (
        (Credentials(certificate=tmp_path / "missing.pem", key=key), "missing.pem cannot be read"),
        (Credentials(certificate=certificate, key=tmp_path), f"{tmp_path} cannot be read"),
        (Credentials(certificate=certificate, key=foreign), "MISMATCH"),
        (Credentials(certificate=certificate, key=with_pass_phrase), "pass-phrase.key"),
        (Credentials(certificate=nonsense, key=key), "nonsense.pem"),
        (Credentials(certificate=certificate, key=key, callers=nonsense), "nonsense.pem"),
    ):
        with pytest.raises(CredentialsRefused, match=named):
            Tls(mistake)


def test_a_caller_is_told_to_come_again_where_no_thread_is_left(
    make_node: Callable[..., ListeningNode], monkeypatch: pytest.MonkeyPatch
):
    node = make_node(limits=Limits(associations=1))
    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", refuse_to_start)
        with raw_caller(node.port) as caller:
            assert caller.associate() == REJECTED
    wait_for(lambda: is_answered(RawCaller(node.port)), what="the place to be free")


def refuse_to_start(_thread: object) -> None:
    raise RuntimeError("can't start new thread")
