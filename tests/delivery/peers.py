"""The application entities that our objects go to, and what they report to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from lab.demo.orthanc import Orthanc
from mammography.results.options import ComposeOptions
from node.association import Acceptor
from node.commitment import PUSH_MODEL, CommitmentReport, takes_reports
from node.hall import Offer
from node.parcels import Destination
from node.reception import Reception
from node.wire.command_set import CommandField
from tests.delivery.small_studies import Node


def destination(
    name: str,
    port: int,
    *,
    ae_title: str = "ANYBODY",
    objects: tuple[str, ...] = ("cad-sr", "gsps"),
    commitment: bool = False,
    timeout: timedelta = timedelta(seconds=5),
    fallback: bool = True,
    **written: object,
) -> Destination:
    return Destination(
        name=name,
        ae_title=ae_title,
        host="127.0.0.1",
        port=port,
        options=ComposeOptions(kinds=frozenset(objects), **written),
        fallback=fallback,
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
def listening(node: Node, port: int, on_report: Callable[[CommitmentReport], None]) -> Iterator[None]:
    """Let the node's acceptor take commitment reports."""
    reception = Reception(ledger=node.ledger, data_dir=node.data_dir)
    acceptor = Acceptor(
        ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=port,
        offer=Offer(
            store=reception,
            operations={(CommandField.N_EVENT_REPORT, PUSH_MODEL): takes_reports(on_report)},
        ),
        on_study_touched=lambda _: None,
    )
    acceptor.start()
    try:
        yield
    finally:
        acceptor.stop()
        reception.close()
