"""A destination is taken out of the settings while objects wait for it: somebody is told, and decides."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mammography.ledger.alarms import alarms
from mammography.ledger.deliveries import deliveries_of, due, mark_sent
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import study
from mammography.ledger.tables import DeliveryState
from mammography.ledger.withdrawals import waiting, withdraw
from mammography.study import StudyState
from node.unknown_destinations import BETWEEN_LOOKS, UnknownDestinations
from tests.ledger.given import ARCHIVE, NOW, PACS, STUDY, reported

OTHER = "1.2.840.2"


def raised(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as session:
        return [(row.kind, row.subject) for row in alarms(session)]


def test_objects_for_a_destination_that_is_named_no_more_are_an_alarm_until_they_are_withdrawn(
    ledger: Ledger,
) -> None:
    with ledger.begin() as session:
        reported(session, destinations=(PACS, ARCHIVE))
        reported(session, OTHER, destinations=(ARCHIVE,))
        for row in due(session, destination=PACS, now=NOW):
            mark_sent(session, row.number, now=NOW)
    watching = UnknownDestinations(ledger=ledger, names=[PACS])
    assert watching.sweep(now=NOW) == 1
    assert raised(ledger) == [("destination-unknown", ARCHIVE)]
    with ledger.read() as session:
        assert "4 objects of 2 studies wait for archive" in alarms(session)[0].sentence
    assert watching.sweep(now=NOW + BETWEEN_LOOKS) == 0, "it is raised already"
    with ledger.begin() as session:
        assert withdraw(session, ARCHIVE, now=NOW, by="anna", commitment_destinations=()) == [STUDY, OTHER]
    with ledger.read() as session:
        assert [study(session, uid).state for uid in (STUDY, OTHER)] == [StudyState.DELIVERED] * 2
        states = {row.destination: row.state for row in deliveries_of(session, STUDY)}
        assert states == {PACS: DeliveryState.SENT, ARCHIVE: DeliveryState.SUPERSEDED}
        assert waiting(session) == []
    assert watching.sweep(now=NOW + 2 * BETWEEN_LOOKS) == 1
    assert raised(ledger) == []


def test_what_waits_for_a_destination_of_the_settings_is_no_alarm(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session, destinations=(PACS, ARCHIVE))
    watching = UnknownDestinations(ledger=ledger, names=[PACS, ARCHIVE])
    assert watching.sweep(now=NOW + timedelta(days=1)) == 0
    assert raised(ledger) == []


@pytest.fixture
def config(tmp_path: Path, ledger: Ledger) -> Path:
    with ledger.begin() as session:
        reported(session, destinations=(PACS, ARCHIVE))
    path = tmp_path / "mammocalc.toml"
    path.write_text(
        f'[ledger]\nurl = "{ledger.url.render_as_string(hide_password=False)}"\n'
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
    )
    return path


def command(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mammography", "destination", *words, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_person_sees_what_waits_and_withdraws_it(config: Path) -> None:
    listed = json.loads(command(config, "list", "--json").stdout)
    assert [(one["name"], one["configured"], one["objects"]) for one in listed] == [
        ("pacs", True, 2),
        ("archive", False, 2),
    ]
    told = command(config, "list").stdout
    assert "archive, not in the" in told
    assert (
        command(config, "withdraw", "archive").stdout == "Withdrawn from archive: the objects of 1 studies.\n"
    )
    assert [one["name"] for one in json.loads(command(config, "list", "--json").stdout)] == ["pacs"]
    again = command(config, "withdraw", "archive")
    assert (again.returncode, again.stderr) == (
        2,
        "Nothing waits for archive; see: mammocalc destination list\n",
    )
