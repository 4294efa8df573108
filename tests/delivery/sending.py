"""What the delivering role does, once, and what became of it."""

from datetime import datetime

from mammography.ledger.tables import DeliveryState
from node.delivery import Delivery
from tests.delivery.small_studies import NOW, Node


def deliver(node: Node, *, now: datetime = NOW) -> int:
    sending = Delivery(
        ledger=node.ledger,
        data_dir=node.data_dir,
        calling_ae_title="MAMMOCALC",
        destinations=node.destinations,
    )
    count = sending.sweep(now=now)
    sending.wait()
    sending.close()
    return count


def states(node: Node, study: str, name: str | None = None) -> set[DeliveryState]:
    return {row.state for row in node.deliveries(study, name)}


def reasons(node: Node, study: str, name: str | None = None) -> set[str]:
    return {row.reason for row in node.deliveries(study, name)}
