"""An alarm is raised once while it lasts, counted when it comes again, and over when it is."""

from datetime import UTC, datetime, timedelta

from typer.testing import CliRunner

from mammography.command_line import command_line
from mammography.ledger.alarms import AlarmKind, alarm_over, alarm_seen, alarms, raise_alarm
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import Recorded, record_instance
from tests.ledger.given import image

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
KIND = AlarmKind.INSTANCE_CONFLICT


def test_an_alarm_that_lasts_is_counted_and_not_repeated(ledger: Ledger):
    for hour, subject in enumerate(["1.2.3", "1.2.3", "1.2.4"]):
        with ledger.begin() as session:
            new = raise_alarm(session, KIND, subject, f"The {hour}th.", now=NOW + hour * HOUR)
            assert new == (hour != 1)
    with ledger.read() as session:
        other, first = alarms(session)
    assert (first.subject, first.times, first.sentence) == ("1.2.3", 2, "The 1th.")
    assert (first.raised_at, first.last_at) == (NOW, NOW + HOUR)
    assert (other.subject, other.times) == ("1.2.4", 1)


def test_an_alarm_that_is_over_can_be_raised_anew(ledger: Ledger):
    with ledger.begin() as session:
        raise_alarm(session, KIND, "1.2.3", "Once.", now=NOW)
        assert alarm_over(session, KIND, "1.2.3", now=NOW + HOUR, because="It went away.")
        assert not alarm_over(session, KIND, "1.2.3", now=NOW + HOUR, because="Nobody knows.")
        assert raise_alarm(session, KIND, "1.2.3", "Twice.", now=NOW + 2 * HOUR)
    with ledger.read() as session:
        assert [row.sentence for row in alarms(session)] == ["Twice."]
        assert [row.over_because for row in alarms(session, all_of_them=True)] == ["", "It went away."]


def test_a_person_ends_an_alarm(ledger: Ledger):
    with ledger.begin() as session:
        raise_alarm(session, KIND, "1.2.3", "Once.", now=NOW)
    with ledger.begin() as session:
        (row,) = alarms(session)
        assert alarm_seen(session, row.number, now=NOW, by="anna")
        assert not alarm_seen(session, row.number, now=NOW, by="anna")
        assert not alarm_seen(session, 99, now=NOW, by="anna")
        assert not alarms(session)


def test_two_images_under_one_uid_are_an_alarm(ledger: Ledger):
    with ledger.begin() as session:
        record_instance(session, image(1))
    with ledger.begin() as session:
        assert record_instance(session, image(1, digest="other")) is Recorded.CONFLICT
    with ledger.read() as session:
        (alarm,) = alarms(session)
    assert alarm.kind == "instance-conflict"
    assert "the first is kept" in alarm.sentence


def test_alarms_are_listed_and_seen_to_by_command(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    settings = tmp_path / "mammocalc.toml"
    settings.write_text(f'[ledger]\nurl = "{url}"\n')

    def run(*words: str):
        return CliRunner().invoke(command_line(), ["alarm", *words, "--config", str(settings)])

    assert "No alarm" in run("list").stdout
    ledger = Ledger(url)
    with ledger.begin() as session:
        raise_alarm(session, KIND, "1.2.3", "Look at it.", now=NOW)
    ledger.close()
    assert "Look at it." in run("list").stdout
    assert run("seen", "1").exit_code == 0
    assert run("seen", "1").exit_code == 2
    assert "No alarm" in run("list").stdout
    assert "has seen it" in run("list", "--all", "--json").stdout
