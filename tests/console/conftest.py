"""A node's ledger and data folder with one study in every state, made through the ledger's own functions."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image, ImageDraw, ImageFilter

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    Correspondence,
    Distribution,
    Finding,
    FindingAssessment,
    FindingPlace,
    ImageReading,
    Morphology,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.ledger.alarms import AlarmKind, raise_alarm
from mammography.ledger.deliveries import (
    WrittenResult,
    add_results,
    commitment_reported,
    deliveries_of,
    due,
    mark_failed,
    mark_sent,
    postpone,
    request_commitment,
    settle,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import store_assessment
from mammography.ledger.schema import upgrade
from mammography.ledger.strangers import TurnedAway, record_strangers
from mammography.ledger.studies import ArrivedInstance, advance, claim, record_instance, record_refusal
from mammography.study import StudyEvent, StudyState
from mammography.uid import UidRole, mint
from mammography.view import Laterality, View, ViewPosition
from node.console.app import make_console, make_server

MG_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
MG_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
SETTING = [
    View(laterality=side, position=position)
    for position in (ViewPosition.CC, ViewPosition.MLO)
    for side in (Laterality.RIGHT, Laterality.LEFT)
]
HOSTILE = "<script>alert(1)</script>"
TRAINED_ON = "Synthetic images (phantom) alone"
READER = ReaderIdentity(
    name="Mammocalc reader",
    version="0.1.0",
    weights_sha256="9f2c1d" + "0a" * 29,
    operating_point="0.5 false marks per image",
    trained_on=TRAINED_ON,
)


def uid(*identity: str) -> str:
    return mint(UidRole.PHANTOM, "console", *identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A ledger and a data folder, and the ways in which studies get on in them."""

    ledger: Ledger
    data_dir: Path
    now: datetime

    def arrive(
        self,
        name: str,
        *,
        views=SETTING,
        at: datetime,
        accession=None,
        caller="MAMMO_1",
        intent="PRESENTATION",
    ):
        study = uid(name)
        for view in views:
            with self.ledger.begin() as session:
                record_instance(
                    session,
                    ArrivedInstance(
                        sop_instance_uid=uid(name, str(view), intent),
                        study_instance_uid=study,
                        series_instance_uid=uid(name, str(view), intent, "series"),
                        sop_class_uid=MG_FOR_PRESENTATION if intent == "PRESENTATION" else MG_FOR_PROCESSING,
                        transfer_syntax_uid="1.2.840.10008.1.2.4.70",
                        modality="MG",
                        laterality=view.laterality.value,
                        view_position=view.position.value,
                        view_modifiers="",
                        presentation_intent=f"FOR {intent}",
                        path=f"studies/{study}/images/{uid(name, str(view), intent)}.dcm",
                        bytes=17_039_360,
                        digest=uid(name, str(view), intent)[-32:],
                        calling_ae_title=caller,
                        received_at=at,
                        accession_number=f"24-{name}" if accession is None else accession,
                        study_date="20261122",
                    ),
                )
        return study

    def go(self, study: str, seen: StudyState, event: StudyEvent, reason: str, at: datetime):
        with self.ledger.begin() as session:
            advance(session, study, seen=seen, event=event, now=at, reason=reason)

    def complete(self, study: str, at: datetime):
        self.go(study, StudyState.RECEIVING, StudyEvent.JUDGED_COMPLETE, "A full screening set is here.", at)

    def take(self, study: str, at: datetime):
        with self.ledger.begin() as session:
            assert claim(session, study, owner="worker-1", now=at, lease=timedelta(minutes=1)) is not None

    def say(self, study: str, assessment: Assessment, at: datetime, revision: int = 1):
        with self.ledger.begin() as session:
            store_assessment(session, study, revision=revision, assessment=assessment)
        self.go(study, StudyState.READING, StudyEvent.ASSESSED, "4 images were read.", at)

    def report(self, study: str, at: datetime, *, revision=1, destinations=("pacs", "archive")):
        kinds = [("cad-sr", "1.2.840.10008.5.1.4.1.1.88.50"), *[("gsps", "1.2.840.10008.5.1.4.1.1.11.1")] * 2]
        results = [
            WrittenResult(
                sop_instance_uid=uid(study, str(revision), kind, str(number)),
                kind=kind,
                sop_class_uid=sop_class,
                path=f"studies/{study}/results/r{revision}/{kind}-{number}.dcm",
                sha256="0" * 64,
                destinations=tuple(destinations),
            )
            for number, (kind, sop_class) in enumerate(kinds)
        ]
        with self.ledger.begin() as session:
            add_results(session, study, revision=revision, results=results, destinations=destinations, now=at)
            advance(
                session,
                study,
                seen=StudyState.READ,
                event=StudyEvent.COMPOSED,
                now=at,
                reason="1 CAD SR and 2 presentation states are written.",
            )

    def send(self, study: str, destination: str, at: datetime):
        with self.ledger.begin() as session:
            for delivery in due(session, destination=destination, now=at):
                if delivery.study_instance_uid == study:
                    mark_sent(session, delivery.number, now=at)
            settle(session, study, now=at, commitment_destinations={"pacs"})

    def commit(self, study: str, at: datetime):
        transaction = uid(study, "transaction")
        with self.ledger.begin() as session:
            owed = [each for each in deliveries_of(session, study) if each.destination == "pacs"]
            request_commitment(
                session,
                [each.number for each in owed],
                transaction_uid=transaction,
                now=at,
                ask_again_at=at + timedelta(hours=1),
            )
        with self.ledger.begin() as session:
            commitment_reported(
                session,
                transaction_uid=transaction,
                committed=[each.sop_instance_uid for each in owed],
                failed={},
                now=at,
            )
            settle(session, study, now=at, commitment_destinations={"pacs"})

    def draw(self, study: str, name: str, views=SETTING, revision: int = 1):
        folder = self.data_dir / "studies" / study / "results" / f"r{revision}"
        folder.mkdir(parents=True, exist_ok=True)
        for view in views:
            breast(view).save(folder / f"{uid(name, str(view), 'PRESENTATION')}.png")


def breast(view: View, height: int = 560) -> Image.Image:
    """A picture that looks like a mammogram from afar: chest wall on its own side, an outline around specks."""
    width = height * 10 // 13
    rows, columns = np.mgrid[0:height, 0:width]
    across = columns / (width * (0.78 if view.position is ViewPosition.CC else 0.7))
    along = (rows - height * 0.5) / (height * 0.42)
    depth = np.clip(1 - across**2 - along**2, 0, 1)
    grain = np.random.default_rng(len(str(view))).normal(0, 1, (height, width))
    rng_cloud = Image.fromarray(np.uint8(np.clip(grain * 60 + 128, 0, 255))).filter(
        ImageFilter.GaussianBlur(14)
    )
    cloud = (np.asarray(rng_cloud, dtype=float) - 128) * 14
    shade = np.where(depth > 0, 40 + 130 * depth**0.35 + cloud * depth, 0)
    picture = Image.fromarray(np.uint8(np.clip(shade, 0, 255))).convert("RGB")
    pen = ImageDraw.Draw(picture)
    middle = (int(width * 0.36), int(height * 0.44))
    for column, row in np.random.default_rng(3).normal(middle, 11, (12, 2)):
        pen.ellipse([column - 1.3, row - 1.3, column + 1.3, row + 1.3], fill="white")
    pen.ellipse([middle[0] - 36, middle[1] - 36, middle[0] + 36, middle[1] + 36], outline="#ff5a4f", width=2)
    return (
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.laterality is Laterality.RIGHT else picture
    )


def finding(*, suspicious: bool, column: float = 1204.5, row: float = 1460.5, specks: int = 7) -> Finding:
    center = ImagePoint(column, row)
    ring = [(-60, -60), (60, -60), (60, 60), (-60, 60)]
    return Finding(
        outline=tuple(ImagePoint(column + across, row + down) for across, down in ring),
        specks=tuple(Speck(center=center, score=0.9, diameter_mm=0.4) for _ in range(specks)),
        detection=0.93 if suspicious else 0.71,
        suspicion=0.82 if suspicious else 0.08,
        assessment=FindingAssessment.SUSPICIOUS if suspicious else FindingAssessment.BENIGN,
        morphology=Morphology.FINE_PLEOMORPHIC if suspicious else None,
        distribution=Distribution.GROUPED if suspicious else None,
    )


def assessment(
    name: str, findings: dict[str, list[Finding]], not_read: dict[str, str], at: datetime, views=SETTING
) -> Assessment:
    return Assessment(
        reader=READER,
        read_at=at,
        images=tuple(
            ImageReading(
                sop_instance_uid=uid(name, str(view), "PRESENTATION"),
                view=view,
                status=ReadStatus.NOT_READ if str(view) in not_read else ReadStatus.READ,
                reason=not_read.get(str(view)),
                findings=tuple(findings.get(str(view), ())),
                remarks=("The breast has an implant.",) if str(view) in findings and not_read else (),
            )
            for view in views
        ),
        correspondences=tuple(
            Correspondence(
                first=FindingPlace(views.index(one), 0), second=FindingPlace(views.index(other), 0), score=0.9
            )
            for one in views
            for other in views
            if str(one) in findings and str(other) in findings
            if (one.laterality, one.position) == (other.laterality, ViewPosition.CC) and other != one
        ),
    )


TWO_SIDES = {
    "R CC": [finding(suspicious=True), finding(suspicious=False, column=640.25, row=2210, specks=3)],
    "R MLO": [finding(suspicious=True, column=1100, row=1711, specks=9)],
}


def fill(node: Node) -> None:
    """Bring one study into every state, and refuse two instances."""
    now, minute = node.now, timedelta(minutes=1)

    node.arrive("1001", views=SETTING[:2], at=now - timedelta(seconds=20))
    queued = node.arrive("1002", at=now - 3 * minute, caller="MAMMO_2")
    node.complete(queued, now - 3 * minute)
    reading = node.arrive("1003", at=now - 4 * minute, accession=HOSTILE)
    node.complete(reading, now - 4 * minute)
    node.take(reading, now - 1 * minute)

    def to_read(name: str, start: datetime, said: Assessment) -> str:
        study = node.arrive(name, at=start, views=[each.view for each in said.images])
        node.complete(study, start + timedelta(seconds=1))
        node.take(study, start + timedelta(seconds=2))
        node.say(study, said, start + timedelta(seconds=11))
        return study

    start = now - 6 * minute
    to_read("1004", start, assessment("1004", {}, {}, start))
    start = now - 50 * minute
    reported = to_read("1005", start, assessment("1005", TWO_SIDES, {}, start))
    node.report(reported, start + timedelta(seconds=13))
    node.send(reported, "pacs", start + timedelta(seconds=14))
    with node.ledger.begin() as session:
        for delivery in due(session, destination="archive", now=start + minute):
            postpone(
                session,
                delivery.number,
                now=start + minute,
                until=now + 10 * minute,
                reason="archive does not answer at 10.0.3.7:104: connection refused.",
            )
    start = now - 4 * 60 * minute
    delivered = to_read(
        "1006",
        start,
        assessment("1006", {}, {"L MLO": "The pixel data holds 1,234 of 17,039,360 bytes."}, start),
    )
    node.report(delivered, start + timedelta(seconds=13))
    node.send(delivered, "pacs", start + timedelta(seconds=14))
    node.send(delivered, "archive", start + timedelta(seconds=15))

    start = now - 27 * 60 * minute
    committed = to_read(
        "1007", start, assessment("1007", TWO_SIDES, {"L MLO": "The image states no pixel spacing."}, start)
    )
    node.report(committed, start + timedelta(seconds=13))
    node.send(committed, "pacs", start + timedelta(seconds=14))
    node.send(committed, "archive", start + timedelta(seconds=14))
    node.commit(committed, start + timedelta(seconds=16))
    node.draw(committed, "1007", SETTING[:3])

    unreadable = node.arrive("1008", views=SETTING[:1], at=now - 90 * minute, accession="", caller="CT_SUITE")
    node.go(
        unreadable,
        StudyState.RECEIVING,
        StudyEvent.JUDGED_UNREADABLE,
        "The study holds no mammogram.",
        now - 89 * minute,
    )
    start = now - 3 * 24 * 60 * minute
    failed = to_read("1009", start, assessment("1009", TWO_SIDES, {}, start))
    node.report(failed, start + timedelta(seconds=13))
    with node.ledger.begin() as session:
        for delivery in due(session, destination="archive", now=start + minute):
            if delivery.study_instance_uid == failed:
                mark_failed(
                    session,
                    delivery.number,
                    now=now - minute,
                    reason="Given up after 3 days: connection refused.",
                )
        advance(
            session,
            failed,
            seen=StudyState.REPORTED,
            event=StudyEvent.GAVE_UP,
            now=now - minute,
            reason="archive took nothing for 3 days: repair it, then run mammocalc study retry.",
        )
    with node.ledger.begin() as session:
        for number, reason in enumerate(
            ("The data set states no Study Instance UID.", f"{HOSTILE} is no lawful UID.")
        ):
            record_refusal(
                session,
                at=now - number * minute,
                calling_ae_title="MAMMO_9",
                sop_instance_uid=uid("refused") if number else "",
                reason=reason,
                path="" if number else "quarantine/20260301T120000.dcm",
            )
        for _ in range(2):
            raise_alarm(
                session, AlarmKind.INSTANCE_CONFLICT, uid("1003"), f"Two images came: {HOSTILE}.", now=now
            )
        record_strangers(
            session,
            [
                TurnedAway(
                    calling_ae_title=title,
                    address=f"10.0.3.{number}",
                    called_ae_title="MAMMOCALC" if number else "MAMOCALC",
                    reason=f"{'calling' if number else 'called'} AE title not recognized",
                    attempts=3,
                    last_at=now - number * minute,
                )
                for number, title in enumerate(("MAMMO_1", "MAMMO_7", HOSTILE[:16]))
            ],
        )


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Iterator[Node]:
    """One study in every state."""
    data_dir = tmp_path_factory.mktemp("node")
    url = f"sqlite:///{data_dir / 'ledger.db'}"
    upgrade(url)
    node = Node(ledger=Ledger(url), data_dir=data_dir, now=datetime.now(UTC))
    fill(node)
    yield node
    node.ledger.close()


@pytest.fixture
def empty(tmp_path) -> Iterator[Node]:
    """A node to which nobody has sent anything."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    upgrade(url)
    node = Node(ledger=Ledger(url), data_dir=tmp_path, now=datetime.now(UTC))
    yield node
    node.ledger.close()


def console_of(node: Node) -> FastAPI:
    return make_console(
        ledger=node.ledger, data_dir=node.data_dir, node_name="MAMMOCALC", destinations=["pacs", "archive"]
    )


class Asked:
    """Notes what was asked for, and lets it pass."""

    def __init__(self, app, paths: list[str]) -> None:
        self.app = app
        self.paths = paths

    async def __call__(self, scope, receive, send) -> None:
        query = scope.get("query_string", b"").decode()
        self.paths.append(scope["path"] + (f"?{query}" if query else ""))
        await self.app(scope, receive, send)


class Served:
    """A console behind a real socket of this machine's loopback."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.asked: list[str] = []
        app = console_of(node)
        app.add_middleware(Asked, paths=self.asked)
        self.server: uvicorn.Server = make_server(app, "127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < until, "The console did not start within 10 s."
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.address, timeout=10)

    def get(self, path: str, **options) -> httpx.Response:
        return self.client.get(path, **options)

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture(scope="session")
def uid_of():
    """The Study Instance UID of the study that `fill` or `arrive` made under a name."""
    return uid


@pytest.fixture(scope="session")
def console(filled) -> Iterator[Served]:
    served = Served(filled)
    yield served
    served.close()


@pytest.fixture
def empty_console(empty) -> Iterator[Served]:
    served = Served(empty)
    yield served
    served.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Debian's chromium is not installed.")
    return found


@pytest.fixture(scope="session")
def said_of():
    """An assessment of a full setting, with two findings on the right breast."""
    return lambda name, at: assessment(name, TWO_SIDES, {}, at)
