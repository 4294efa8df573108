"""The application entities that our objects go to, and what they report to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from node.commitment import PUSH_MODEL, CommitmentReport
from node.delivery import Destination
from tests.orthanc import Orthanc


def destination(
    name: str,
    port: int,
    *,
    ae_title: str = "ANYBODY",
    objects: tuple[str, ...] = ("cad-sr", "gsps"),
    commitment: bool = False,
    timeout: timedelta = timedelta(seconds=5),
) -> Destination:
    return Destination(
        name=name,
        ae_title=ae_title,
        host="127.0.0.1",
        port=port,
        objects=frozenset(objects),
        commitment=commitment,
        timeout=timeout,
    )


@dataclass(frozen=True, kw_only=True)
class Pacs:
    """An Orthanc that runs, and the port on which it expects MAMMOCALC to take its commitment reports."""

    orthanc: Orthanc
    node_port: int

    def destination(self, *, commitment: bool = False, name: str = "pacs") -> Destination:
        return destination(name, self.orthanc.dicom_port, ae_title="ORTHANC", commitment=commitment)


@contextmanager
def listening(port: int, on_report: Callable[[CommitmentReport], None]) -> Iterator[None]:
    """Take commitment reports on MAMMOCALC's port, as the node's acceptor does."""

    def answer(event: evt.Event) -> tuple[int, None]:
        on_report(CommitmentReport.from_event(event.event_information))
        return 0x0000, None

    entity = AE(ae_title="MAMMOCALC")
    entity.add_supported_context(Verification)
    entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, answer)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield
    finally:
        server.shutdown()
