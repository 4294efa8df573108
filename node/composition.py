"""The parts of the node as the settings want them; each role makes those that it needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mammography.ledger.doorbell import Doorbell
from mammography.ledger.engine import Ledger
from mammography.study import StudyState
from node.settings import DestinationSection, NodeSettings

if TYPE_CHECKING:
    from node.archive import Archive
    from node.association import TlsDoor
    from node.callers import Callers
    from node.commitment import Commitment
    from node.commitment_provider import CommitmentProvider
    from node.completion import Completion
    from node.operations import Operations
    from node.parcels import Destination, DicomWeb
    from node.report_addresses import ReportAddresses
    from node.retention import Retention


class CannotStart(Exception):
    """The node cannot start; the message says why and what to do next."""


def now() -> datetime:
    """Return the moment, aware and in UTC; the doors alone look at the clock."""
    return datetime.now(UTC)


def make_completion(settings: NodeSettings, ledger: Ledger) -> "Completion":
    """Return who judges what has arrived, and rings for it."""
    from node.completion import Completion

    return Completion(
        ledger=ledger,
        quiet_period=settings.completion.quiet_period,
        longest_wait=settings.completion.longest_wait,
        most_claims=settings.reader.most_claims,
        ring=Doorbell(settings.queue.url).ring,
        archive=_archive_of(settings),
    )


def _archive_of(settings: NodeSettings) -> "Archive | None":
    """Return who asks the archive that may be asked."""
    from node.archive import Archive, Peer

    asked = settings.completion.ask
    if asked is None:
        return None
    return Archive(
        peer=Peer(ae_title=asked.ae_title, host=asked.host, port=asked.port, timeout=asked.timeout),
        calling_ae_title=settings.node.ae_title,
        ask_again_after=settings.completion.quiet_period,
    )


def ages_of(settings: NodeSettings) -> dict[StudyState, timedelta]:
    """Return how long a study may be in each state."""
    ages = {
        StudyState.RECEIVING: 2 * settings.completion.longest_wait,
        StudyState.QUEUED: settings.alarms.queued,
        StudyState.READING: settings.alarms.reading,
        StudyState.READ: settings.alarms.read,
        StudyState.REPORTED: settings.alarms.reported,
    }
    if any(destination.commitment for destination in settings.destinations):
        ages[StudyState.DELIVERED] = settings.alarms.delivered
    return ages


def make_retention(settings: NodeSettings, ledger: Ledger) -> "Retention":
    """Return who deletes images whose answer is where it belongs."""
    from node.retention import Retention, answered_states

    age = settings.retention.images
    return Retention(
        ledger=ledger,
        data_dir=settings.node.data_dir,
        age=None if age == "never" else age,
        states=answered_states(commitment=any(each.commitment for each in settings.destinations)),
    )


def make_commitment(settings: NodeSettings, ledger: Ledger) -> "Commitment":
    """Return who asks destinations to commit."""
    from node.commitment import Commitment

    return Commitment(
        ledger=ledger, calling_ae_title=settings.node.ae_title, destinations=destinations_of(settings)
    )


def make_commitment_provider(
    settings: NodeSettings, ledger: Ledger, on_listed: Callable[[str], None] = lambda _: None
) -> "CommitmentProvider":
    """Return who answers senders that ask us to commit."""
    from node.commitment_provider import CommitmentProvider

    return CommitmentProvider(
        ledger=ledger,
        data_dir=settings.node.data_dir,
        ae_title=settings.node.ae_title,
        report_to=_report_addresses_of(settings).of,
        on_listed=on_listed,
    )


def _report_addresses_of(settings: NodeSettings) -> "ReportAddresses":
    """Return where those take reports that ask us to commit: callers that say where, and destinations."""
    from node.callers import EVERYWHERE, Caller
    from node.report_addresses import ReportAddress, ReportAddresses

    callers = [
        (Caller(ae_title=each.ae_title, network=network), ReportAddress(port=each.commitment_port))
        for each in settings.callers
        if each.commitment_port
        for network in each.networks
    ]
    destinations = [
        (Caller(ae_title=each.ae_title, network=network), ReportAddress(host=each.host, port=each.port))
        for each in destinations_of(settings)
        if each.web is None
        for network in EVERYWHERE
    ]
    return ReportAddresses([*callers, *destinations])


def operations_of(settings: NodeSettings, ledger: Ledger, completion: "Completion") -> "Operations":
    """Return who does what we are asked besides storing."""
    from node.commitment import PUSH_MODEL, takes_reports
    from node.negotiation import MODALITY_PERFORMED_PROCEDURE_STEP
    from node.procedure_steps import ProcedureSteps
    from node.wire.command_set import CommandField

    def whole(study_instance_uid: str) -> None:
        completion.listed(study_instance_uid, now=now())

    commitment = make_commitment(settings, ledger)
    provider = make_commitment_provider(settings, ledger, whole)
    steps = ProcedureSteps(ledger=ledger, on_finished=whole)
    return {
        (CommandField.N_EVENT_REPORT, str(PUSH_MODEL)): takes_reports(
            lambda report: commitment.record(report, now=now())
        ),
        (CommandField.N_ACTION, str(PUSH_MODEL)): lambda asked: provider.request(asked, now=now()),
        (CommandField.N_CREATE, MODALITY_PERFORMED_PROCEDURE_STEP): lambda asked: steps.create(
            asked, now=now()
        ),
        (CommandField.N_SET, MODALITY_PERFORMED_PROCEDURE_STEP): lambda asked: steps.change(asked, now=now()),
    }


def callers_of(settings: NodeSettings) -> "Callers":
    """Return who may call: those that are listed, else this machine; and destinations, with their commitment."""
    from node.callers import THIS_MACHINE, Caller, Callers

    listed = [
        Caller(ae_title=each.ae_title, network=network)
        for each in settings.callers
        for network in each.networks
    ]
    reporting = [(each.ae_title, each.host) for each in destinations_of(settings) if each.commitment]
    return Callers(listed or THIS_MACHINE, reporting)


def tls_door_of(settings: NodeSettings) -> "TlsDoor | None":
    """Return the port for TLS, or refuse to start with files that TLS cannot be spoken with."""
    from node.association import TlsDoor
    from node.tls import Credentials, CredentialsRefused, Tls

    if settings.tls is None:
        return None
    credentials = Credentials(
        certificate=settings.tls.certificate, key=settings.tls.key, callers=settings.tls.callers
    )
    try:
        Tls(credentials)
    except CredentialsRefused as refused:
        raise CannotStart(str(refused)) from refused
    return TlsDoor(port=settings.tls.port, credentials=credentials)


def _web_of(section: DestinationSection) -> "DicomWeb | None":
    """Return the DICOMweb service of a destination that has a url."""
    from node.parcels import DicomWeb

    if section.url is None:
        return None
    return DicomWeb(
        url=section.url,
        user=section.user,
        password_file=section.password_file,
        token_file=section.token_file,
        ca=section.ca,
    )


def destinations_of(settings: NodeSettings) -> "list[Destination]":
    """Return where answers go."""
    from mammography.results.options import ComposeOptions
    from node.parcels import Destination

    return [
        Destination(
            name=section.name,
            ae_title=section.ae_title or "",
            host=section.host or "",
            port=section.port or 0,
            web=_web_of(section),
            options=ComposeOptions(
                kinds=frozenset(section.objects),
                scheme=section.scheme,
                manufacturer=section.manufacturer,
                benign=section.benign,
                tid1500=section.tid1500,
                tid1500_per_image=section.tid1500_per_image,
            ),
            fallback=section.fallback,
            commitment=section.commitment,
            timeout=section.timeout,
        )
        for section in settings.destinations
    ]
