"""/metrics: what the node's processes count, and what the ledger holds, in the text format of Prometheus."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from typing_extensions import override

from mammography.ledger.engine import Ledger
from mammography.ledger.tables import AlarmRow, DeliveryRow, DeliveryState
from mammography.study import StudyState
from mammography.telemetry.metrics import metrics_folder
from node.console.lookup import study_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The page that Prometheus reads; it names no study and no patient."""

    ledger: Ledger
    data_dir: Path

    def router(self) -> APIRouter:
        """Return the route."""
        router = APIRouter()
        router.add_api_route("/metrics", self.metrics, response_class=Response)
        return router

    def metrics(self) -> Response:
        """Say what is counted."""
        registry = CollectorRegistry()
        folder = metrics_folder(self.data_dir)
        if folder.is_dir():
            MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
        registry.register(_LedgerCollector(self.ledger))
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _LedgerCollector(Collector):
    """What the ledger holds at this moment."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @override
    def collect(self) -> Iterator[Metric]:
        """Count studies, deliveries and alarms."""
        with self._ledger.read() as session:
            studies = study_counts(session)
            outstanding = session.execute(
                select(DeliveryRow.destination, DeliveryRow.state, func.count())
                .where(DeliveryRow.state.in_((DeliveryState.PENDING, DeliveryState.COMMITMENT_REQUESTED)))
                .group_by(DeliveryRow.destination, DeliveryRow.state)
            ).all()
            raised = session.scalar(
                select(func.count()).select_from(AlarmRow).where(AlarmRow.over_at.is_(None))
            )
        family = GaugeMetricFamily("mammocalc_studies", "Studies, by state.", labels=["state"])
        for state in StudyState:
            family.add_metric([state], studies[state])
        yield family
        family = GaugeMetricFamily(
            "mammocalc_deliveries_outstanding",
            "Objects that a destination has not acknowledged, or not committed to.",
            labels=["destination", "state"],
        )
        for destination, waits_for, count in outstanding:
            family.add_metric([destination, waits_for], count)
        yield family
        yield GaugeMetricFamily("mammocalc_alarms", "Alarms that are raised.", value=raised or 0)
