"""Of several contents under one SOP Instance UID each that was answered with success is kept, whoever brings which when."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import xxhash

from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import instances_of
from node.acceptance import Acceptance
from node.data_set_digest import data_set_digest
from node.part10 import holds
from node.reception import Reception
from node.retention import remove_deleted
from tests.reception.keeping import arrived, keep
from tests.reception.mammograms import encoded, mammogram, uid
from tests.reception.raw_callers import c_store, raw_caller
from tests.reception.test_a_killed_receiver import receiving_process

NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
STUDY = "one uid"
CONTENTS, SENDERS, ROUNDS, TURNS = 3, 10, 60, 4


def kept_in(data_dir: Path) -> dict[str, set[str]]:
    """The digests of what is kept, by SOP Instance UID."""
    kept: dict[str, set[str]] = {}
    for path in (data_dir / "studies").rglob("*.dcm"):
        kept.setdefault(path.stem.partition(".conflict-")[0], set()).add(data_set_digest(path))
    return kept


def contents(number: int) -> list[tuple[str, str, bytes]]:
    """UID, digest and C-STORE of each content of one instance."""
    one = uid(STUDY, str(number))
    images = [
        mammogram(STUDY, side=8 if number % 2 else 300, SOPInstanceUID=one, PatientID="x" * 2 * content)
        for content in range(CONTENTS)
    ]
    return [
        (one, xxhash.xxh3_128(data_set).hexdigest(), c_store(one, data_set, size=120_000))
        for data_set in map(encoded, images)
    ]


def test_whatever_was_answered_with_success_is_kept_by_two_processes(tmp_path: Path):
    """In each round ten senders bring the same new UID several times, each time with one of three contents."""
    url, data_dir = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "data"
    upgrade(url)
    rounds = [contents(number) for number in range(ROUNDS)]
    kept: set[tuple[str, str]] = set()
    refused: list[int] = []
    together = threading.Barrier(SENDERS)

    def work(number: int, port: int) -> None:
        choices = random.Random(number)
        with raw_caller(port) as caller:
            caller.associate()
            for pool in rounds:
                together.wait(60)
                for _ in range(TURNS):
                    one, digest, message = choices.choice(pool)
                    caller.socket.sendall(message)
                    if status := caller.status():
                        refused.append(status)
                    else:
                        kept.add((one, digest))

    with receiving_process(data_dir, url) as (_, port):
        senders = [threading.Thread(target=work, args=(number, port)) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    there = kept_in(data_dir)
    assert len(kept) > ROUNDS
    assert not [one for one, digest in kept if digest not in there[one]]
    assert not refused
    with closing(Ledger(url)) as ledger, ledger.read() as session:
        rows = instances_of(session, uid(STUDY))
    assert len(rows) == ROUNDS
    assert all(holds(data_dir / row.path, row.bytes) for row in rows)


class Site:
    """An image whose file was lost, and other bytes of its UID."""

    def __init__(self, ledger: Ledger, data_dir: Path, side: int) -> None:
        self.ledger, self.data_dir = ledger, data_dir
        self.image = mammogram(STUDY, side=side)
        self.other = mammogram(STUDY, side=side, PatientName="Somebody^Else^Altogether^Of^Another^Length")
        self.reception = self.receiver()

    def receiver(self) -> Reception:
        return Reception(ledger=self.ledger, data_dir=self.data_dir, minimum_free_bytes=0)

    def lose(self) -> None:
        """Remove the file, as a person may who then reads the alarm: have it sent again."""
        (self.data_dir / "studies" / uid(STUDY) / "images" / f"{self.image.SOPInstanceUID}.dcm").unlink()

    def see_that_both_are_kept(self) -> None:
        digests = [xxhash.xxh3_128(encoded(one)).hexdigest() for one in (self.image, self.other)]
        assert kept_in(self.data_dir) == {self.image.SOPInstanceUID: set(digests)}
        with self.ledger.read() as session:
            (row,) = instances_of(session, uid(STUDY))
        assert data_set_digest(self.data_dir / row.path) == digests[0], (
            "the row's file is the image that came first"
        )
        assert row.digest in ("", digests[0])


@pytest.fixture(params=[8, 512], ids=["small", "large"])
def site(ledger: Ledger, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(ledger, tmp_path / "data", request.param)
    yield site
    site.reception.close()


@pytest.mark.parametrize("sent_before", [1, 2], ids=["digest unknown", "digest known"])
def test_a_lost_image_and_other_bytes_that_come_together_are_both_kept(site: Site, sent_before: int):
    for _ in range(sent_before):
        keep(site.reception, site.image, now=NOW)
    site.lose()
    arrivals = [arrived(site.reception, site.other), arrived(site.reception, site.image)]
    assert site.reception.accept(arrivals, now=NOW) == [uid(STUDY)] * 2
    for arrival in arrivals:
        arrival.discard()
    site.see_that_both_are_kept()


@pytest.mark.parametrize("name", ["Somebody^Else^Altogether^Of^Another^Length", "Of^The^Same^Length"])
def test_a_lost_image_and_other_bytes_that_come_to_two_processes_are_both_kept(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
):
    """The image comes to the other process while the other bytes, recorded here, are about to give its name back."""
    site.image.PatientName = "Of^The^Good^Length"
    site.other.PatientName = name
    for _ in range(2):  # so that its digest is known
        keep(site.reception, site.image, now=NOW)
    site.lose()
    with closing(site.receiver()) as there:
        answers: list[str] = []
        bringing = threading.Thread(target=lambda: answers.append(keep(there, site.image, now=NOW)))
        set_beside = site.reception._acceptance._set_beside

        def later(*told: object) -> None:
            bringing.start()
            bringing.join(1)  # a lock keeps it waiting
            set_beside(*told)

        monkeypatch.setattr(site.reception._acceptance, "_set_beside", later)
        assert keep(site.reception, site.other, now=NOW) == uid(STUDY)
        bringing.join(20)
        assert answers == [uid(STUDY)]
    site.see_that_both_are_kept()


def test_a_lost_image_that_comes_while_other_bytes_as_long_have_its_name_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    site.image.PatientName, site.other.PatientName = "Of^The^Good^Length", "Of^The^Same^Length"
    for _ in range(2):  # so that its digest is known
        keep(site.reception, site.image, now=NOW)
    site.lose()
    with closing(site.receiver()) as there:
        record = Acceptance._record

        def later(self: Acceptance, group: Sequence[object]) -> object:
            if self is site.reception._acceptance:  # the other bytes have the name, and no row yet
                assert keep(there, site.image, now=NOW) == uid(STUDY)
            return record(self, group)

        monkeypatch.setattr(Acceptance, "_record", later)
        assert keep(site.reception, site.other, now=NOW) == uid(STUDY)
    site.see_that_both_are_kept()


def test_other_bytes_are_kept_though_retention_takes_them_between_name_and_row(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    keep(site.reception, site.image, now=NOW)
    with closing(site.receiver()) as there:
        with site.ledger.begin() as session:
            held(session, [site.image.SOPInstanceUID])[site.image.SOPInstanceUID].deleted_at = NOW
        record = Acceptance._record

        def later(self: Acceptance, group: Sequence[object]) -> object:
            if self is site.reception._acceptance:  # the other bytes have their name here
                assert remove_deleted(site.ledger, site.data_dir, uid(STUDY)) == 2
                assert keep(there, site.image, now=NOW) == uid(STUDY)
            return record(self, group)

        monkeypatch.setattr(Acceptance, "_record", later)
        assert keep(site.reception, site.other, now=NOW) == uid(STUDY)
    site.see_that_both_are_kept()
