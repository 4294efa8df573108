"""/metrics: what the node's processes count, and what the ledger holds, in the text format of Prometheus."""

import shutil
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
from mammography.ledger.stored import kept_by_state
from mammography.ledger.tables import AlarmRow, DeliveryRow, DeliveryState
from mammography.study import StudyState
from mammography.telemetry.metrics import metrics_folder
from node.console.lookup import study_counts
from node.disk import MINIMUM_FREE_BYTES


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
        registry.register(_DiskCollector(self.data_dir))
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
            images = kept_by_state(session)
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
            "mammocalc_images_kept_bytes",
            "Received images that are kept, by their study's state.",
            labels=["state"],
        )
        for state in StudyState:
            family.add_metric([state], images.get(state, (0, 0))[1])
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


class _DiskCollector(Collector):
    """What is free where the data folder is; nothing where the console does not see it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @override
    def collect(self) -> Iterator[Metric]:
        """Say what is free, and below what nothing more is accepted."""
        try:
            free = shutil.disk_usage(self._data_dir).free
        except OSError:
            return
        yield GaugeMetricFamily(
            "mammocalc_disk_free_bytes", "Bytes that are free where the data folder is.", value=free
        )
        yield GaugeMetricFamily(
            "mammocalc_disk_refused_below_bytes",
            "Where fewer bytes are free, no instance is accepted.",
            value=MINIMUM_FREE_BYTES,
        )
