"""Associations that other application entities open with us: who may, what we accept, and what we answer."""

import itertools
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from socketserver import BaseServer
from time import monotonic, sleep
from typing import Any, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars
from typing_extensions import override

from mammography.results.composed import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.commitment import CommitmentReport
from node.dimse_status import SUCCESS, InstanceRefused, StorageExhausted, answer_to, error_comment
from node.instance_header import MALFORMED
from node.negotiation import services_of_unknown_classes, storage_contexts
from node.reception import Announcement, Arrival, Reception

_log = structlog.get_logger()

MAXIMUM_PDU_BYTES = 128 << 10
"""What we let a sender put into one PDU: more gains nothing, 16 KB costs a third (PS3.8 annex D.1)."""
MAXIMUM_ASSOCIATIONS = 64
ACSE_TIMEOUT = timedelta(seconds=30)
DIMSE_TIMEOUT = timedelta(seconds=60)
NETWORK_TIMEOUT = timedelta(seconds=60)
"""How long a sender may be silent within an association."""

_VERIFICATION = UID("1.2.840.10008.1.1")
_STORAGE_COMMITMENT_PUSH_MODEL = UID("1.2.840.10008.1.20.1")

_CALLING_AE_TITLE_NOT_RECOGNIZED = (0x01, 0x01, 0x03)
"""Rejected permanently by the service user (PS3.8 9.3.4)."""
_PROCESSING_FAILURE = 0x0110
_INVALID_ARGUMENT_VALUE = 0x0115


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who may call us: an AE title, from an address or a network."""

    ae_title: str
    network: IPv4Network | IPv6Network

    def is_it(self, ae_title: str, address: str) -> bool:
        """Whether a calling AE title and its peer's address are this caller's."""
        peer = ip_address(address)
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return ae_title.strip() == self.ae_title.strip() and peer in self.network


class Acceptor:
    """Our application entity as the acceptor of associations.

    It verifies (C-ECHO), stores every storage class in every transfer syntax as it was received, private and
    unknown ones too, and takes Storage Commitment reports on associations that a destination opens.

    `on_study_touched` is called when an association ended, for each study that it stored into, unless another
    association still stores into the same study. `on_commitment` is called for each report. Without `callers`
    everybody is accepted.
    """

    def __init__(
        self,
        *,
        ae_title: str,
        host: str,
        port: int,
        reception: Reception,
        on_study_touched: Callable[[str], None],
        on_commitment: Callable[[CommitmentReport], None],
        callers: Sequence[Caller] = (),
    ) -> None:
        self._address = (host, port)
        self._reception = reception
        self._on_study_touched = on_study_touched
        self._on_commitment = on_commitment
        self._callers = tuple(callers)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._open: set[Association] = set()
        self._stored_into: dict[Association, set[str]] = {}
        self._server: _Server | None = None
        self._entity = _entity(ae_title)

    @property
    def port(self) -> int:
        """The port that it listens on; where 0 was asked for, the one that it was given."""
        return self._address[1] if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Listen, and answer from threads of its own.

        Raises:
            OSError: if the address cannot be listened on.
        """
        if not self._callers:
            _log.warning("everybody-may-call", advice="list those who may under [[callers]]")
        _config.LOG_HANDLER_LEVEL = "none"  # the library would log every PDU's headers
        server = _Server(self, self._entity, self._address, self._handlers())
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), name="acceptor", daemon=True).start()

    def stop(self, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Accept nothing more, let open associations end, and abort what is left after `timeout`."""
        if self._server is None:
            return
        self._server.stop()
        self._wait_until_nobody_calls(timeout)
        for association in self._conversations():
            association.abort()
        self._wait_until_nobody_calls(timeout)
        self._server = None

    def adopt(self, association: Association) -> None:
        """Take a new connection in: its data sets go through `reception` to the disk."""
        association.dimse = _Receiving(association, self._reception)
        with self._lock:
            self._open.add(association)

    def part(self, association: Association) -> None:
        """Let a connection go whose threads have ended: what it left half sent is removed."""
        self._association_ended(association)
        cast(_Receiving, association.dimse).discard_all()
        with self._lock:
            self._open.discard(association)

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_SOP_COMMON, services_of_unknown_classes),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_RELEASED, self._on_released),
            (evt.EVT_ABORTED, self._on_aborted),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_EVENT_REPORT, self._on_event_report),
        ]

    def _on_requested(self, event: evt.Event) -> None:
        """Reject strangers; let everybody else store whatever they propose.

        Storage is offered only here, after the check, so that an error in it opens nothing.
        """
        association = event.assoc
        request = cast(A_ASSOCIATE, association.requestor.primitive)
        calling, address = str(request.calling_ae_title).strip(), str(association.requestor.address)
        bind_contextvars(association=next(self._numbers), calling_ae_title=calling, calling_address=address)
        if self._callers and not any(caller.is_it(calling, address) for caller in self._callers):
            association.acse.send_reject(*_CALLING_AE_TITLE_NOT_RECOGNIZED)
            self._on_rejected(event)
            association.kill()
            return
        association.acceptor.supported_contexts = [
            *association.acceptor.supported_contexts,
            *storage_contexts(request.presentation_context_definition_list),
        ]

    def _on_accepted(self, event: evt.Event) -> None:
        _log.info("association-accepted", contexts=len(event.assoc.accepted_contexts))

    def _on_rejected(self, event: evt.Event) -> None:
        answer = cast(A_ASSOCIATE, event.assoc.acceptor.primitive)
        called = cast(A_ASSOCIATE, event.assoc.requestor.primitive).called_ae_title
        _log.warning("association-rejected", called_ae_title=str(called), reason=answer.reason_str)

    def _on_released(self, event: evt.Event) -> None:
        _log.info("association-released")
        self._association_ended(event.assoc)

    def _on_aborted(self, event: evt.Event) -> None:
        _log.warning("association-aborted")
        self._association_ended(event.assoc)

    def _on_store(self, event: evt.Event) -> int | Dataset:
        """Answer a C-STORE: success only once the instance is synced, named and in the ledger."""
        data_set = cast(_IncomingDataSet, cast(Any, event.request).DataSet)
        try:
            study_instance_uid = self._reception.keep(data_set.arrival, now=_now())
        except (InstanceRefused, StorageExhausted) as refusal:
            answer = Dataset()
            answer.Status = answer_to(refusal).code
            answer.ErrorComment = error_comment(refusal)
            return answer
        with self._lock:
            self._stored_into.setdefault(event.assoc, set()).add(study_instance_uid)
        return SUCCESS.code

    def _on_event_report(self, event: evt.Event) -> tuple[int, None]:
        """Take a Storage Commitment report in (PS3.4 J.3.3); one that we cannot record is asked for again."""
        with bound_contextvars(calling_ae_title=str(event.assoc.requestor.ae_title).strip()):
            try:
                report = CommitmentReport.from_event(event.event_information)
            except MALFORMED as failure:
                _log.warning("commitment-report-malformed", reason=str(failure))
                return _INVALID_ARGUMENT_VALUE, None
            try:
                self._on_commitment(report)
            except SQLAlchemyError as failure:
                _log.error("ledger-away", reason=type(failure).__name__)
                return _PROCESSING_FAILURE, None
        return SUCCESS.code, None

    def _association_ended(self, association: Association) -> None:
        """Say which studies nobody stores into any more; a second end of the same association says nothing."""
        with self._lock:
            mine = self._stored_into.pop(association, set())
            others = set().union(*self._stored_into.values())
        for study_instance_uid in sorted(mine - others):
            try:
                self._on_study_touched(study_instance_uid)
            except SQLAlchemyError as failure:  # the sweep judges it later
                _log.error(
                    "ledger-away", study_instance_uid=study_instance_uid, reason=type(failure).__name__
                )

    def _conversations(self) -> list[Association]:
        with self._lock:
            return list(self._open)

    def _wait_until_nobody_calls(self, timeout: timedelta) -> None:
        deadline = monotonic() + timeout.total_seconds()
        while self._conversations() and monotonic() < deadline:
            sleep(0.02)


class _Server(ThreadedAssociationServer):
    """Listens, with room for many modalities that call at the same moment."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, acceptor: Acceptor, entity: AE, address: tuple[str, int], handlers: list[Any]) -> None:
        self.acceptor = acceptor
        super().__init__(
            entity,
            address,
            entity.ae_title,
            entity.supported_contexts,
            evt_handlers=handlers,
            request_handler=_Conversation,
        )

    def stop(self) -> None:
        """Stop listening; associations that are open stay."""
        BaseServer.shutdown(self)
        self.server_close()


class _Conversation(RequestHandler):
    """One connection, from its first byte until its threads have ended."""

    association: Association

    @override
    def handle(self) -> None:
        """Run the association, and tell the acceptor when nothing of it is left.

        A release and an abort are events; a connection that breaks, or a library thread that dies, is not
        always one, so the end of the thread is what counts.
        """
        super().handle()
        self.association.join()
        cast(_Server, self.server).acceptor.part(self.association)
        clear_contextvars()

    @override
    def _create_association(self) -> Association:
        connection = cast(socket.socket, self.request)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.settimeout(NETWORK_TIMEOUT.total_seconds())
        self.association = super()._create_association()
        cast(_Server, self.server).acceptor.adopt(self.association)
        return self.association


class _Receiving(DIMSEServiceProvider):
    """Reads messages, and lets the data set of a C-STORE grow on the disk instead of in memory."""

    def __init__(self, association: Association, reception: Reception) -> None:
        super().__init__(association)
        self._reception = reception
        self._arrivals: list[Arrival] = []

    @override
    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the next fragments in."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = _IncomingDataSet(self, self.message)
        super().receive_primitive(primitive)

    def begin(self, message: DIMSEMessage) -> Arrival:
        """Begin the arrival that a C-STORE command announces."""
        command = message.command_set
        syntaxes = {context.context_id: context.transfer_syntax for context in self.assoc.accepted_contexts}
        arrival = self._reception.begin(
            Announcement(
                sop_class_uid=str(command.get("AffectedSOPClassUID") or ""),
                sop_instance_uid=str(command.get("AffectedSOPInstanceUID") or ""),
                transfer_syntax_uid=str(next(iter(syntaxes.get(message.context_id, ())), "")),
                calling_ae_title=str(self.assoc.requestor.ae_title).strip(),
            )
        )
        self._arrivals = [*(other for other in self._arrivals if other.path.exists()), arrival]
        return arrival

    def discard_all(self) -> None:
        """Remove what was not sent to its end."""
        for arrival in self._arrivals:
            arrival.discard()


class _IncomingDataSet(BytesIO):
    """Where the library writes a message's data set: in memory, but that of a C-STORE into an Arrival."""

    def __init__(self, provider: _Receiving, message: DIMSEMessage) -> None:
        super().__init__()
        self._provider, self._message = provider, message
        self._arrival: Arrival | None = None

    @property
    def arrival(self) -> Arrival:
        """What the fragments were written to; empty where none came."""
        if self._arrival is None:
            self._arrival = self._provider.begin(self._message)
        return self._arrival

    @override
    def write(self, fragment: Any, /) -> int:
        """Take one fragment; the library has made the message a C_STORE_RQ once its command was complete."""
        if not isinstance(self._message, C_STORE_RQ):
            return super().write(fragment)
        self.arrival.write(fragment)
        return len(fragment)


def _entity(ae_title: str) -> AE:
    """Return our application entity with what it offers to strangers: verification and commitment reports."""
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.maximum_associations = MAXIMUM_ASSOCIATIONS
    entity.acse_timeout = ACSE_TIMEOUT.total_seconds()
    entity.dimse_timeout = DIMSE_TIMEOUT.total_seconds()
    entity.network_timeout = NETWORK_TIMEOUT.total_seconds()
    entity.require_called_aet = True
    entity.add_supported_context(_VERIFICATION)
    # a destination that reports proposes itself as SCP (PS3.4 J.3.3, PS3.7 D.3.3.4)
    entity.add_supported_context(_STORAGE_COMMITMENT_PUSH_MODEL, scu_role=False, scp_role=True)
    return entity


def _now() -> datetime:
    return datetime.now(UTC)
