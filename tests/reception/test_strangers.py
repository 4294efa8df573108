"""Callers who are turned away: known afterwards, however many there are and whatever the ledger does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from mammography.command_line import command_line
from mammography.ledger.engine import Ledger
from mammography.ledger.strangers import MOST_STRANGERS, TurnedAway, record_strangers, strangers
from node.callers import Caller
from node.porter import Call
from node.strangers import MOST_PENDING, Strangers
from tests.reception.conftest import ListeningNode
from tests.reception.raw_callers import raw_caller
from tests.servers import wait_for

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOON = timedelta(seconds=0.1)


def call(title: str = "MODALITY7") -> Call:
    return Call(calling_ae_title=title, called_ae_title="MAMMOCALC", address="10.0.3.7")


def known(ledger: Ledger) -> list[tuple[str, str, str, str, int]]:
    with ledger.read() as session:
        return [
            (row.calling_ae_title, row.address, row.called_ae_title, row.reason, row.attempts)
            for row in strangers(session, limit=MOST_STRANGERS + 10)
        ]


def test_who_is_turned_away_is_known_by_title_address_and_reason(
    make_node: Callable[..., ListeningNode], tmp_path: Path
):
    listed = Caller(ae_title="MODALITY1", network=ip_network("127.0.0.1/32"))
    told = []
    node = make_node(callers=[listed], on_stranger=lambda *said: told.append(said))
    strangers_here = Strangers(node.ledger, pause=SOON)
    strangers_here.start()
    for asked in ({"calling": "MODALITY7"}, {"calling": "MODALITY7"}, {"called": "MAMOCALC"}, {}):
        with raw_caller(node.port) as caller:
            caller.associate(**asked)
    for one in told:
        strangers_here.turned_away(*one)
    strangers_here.stop()
    assert sorted(known(node.ledger)) == [
        ("MODALITY1", "127.0.0.1", "MAMOCALC", "called AE title not recognized", 1),
        ("MODALITY7", "127.0.0.1", "MAMMOCALC", "calling AE title not recognized", 2),
    ]
    settings = tmp_path / "mammocalc.toml"
    settings.write_text(f'[ledger]\nurl = "sqlite:///{node.database}"\n')
    said = CliRunner().invoke(command_line(), ["caller", "strangers", "--config", str(settings)]).stdout
    assert 'ae_title = "MODALITY7"\nhost = "127.0.0.1"' in said
    said = CliRunner().invoke(command_line(), ["caller", "list", "--config", str(settings)]).stdout
    assert "only programs on this machine may call" in said


def test_a_title_of_any_bytes_can_be_kept_on_every_database(
    make_node: Callable[..., ListeningNode], ledger: Ledger
):
    told = []
    node = make_node(callers=[], on_stranger=lambda *said: told.append(said))
    for calling in ("A\x00\x1b[31m", "\x00", "M\x7f"):
        with raw_caller(node.port) as caller:
            request = bytearray(b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"MAMMOCALC       ")
            caller.socket.sendall(bytes(request) + calling.encode().ljust(16) + bytes(32))
            assert caller.pdu()[0] == 3
    strangers_here = Strangers(ledger, pause=SOON)
    strangers_here.start()
    for one in told:
        strangers_here.turned_away(*one)
    strangers_here.stop()
    assert sorted(title for title, *_ in known(ledger)) == ["", "A??[31m", "M?"]


def test_calls_add_up_over_the_days(ledger: Ledger):
    for day in range(3):
        away = TurnedAway(
            calling_ae_title="MODALITY7",
            address="10.0.3.7",
            called_ae_title="MAMMOCALC",
            reason="calling AE title not recognized",
            attempts=2,
            last_at=NOW + timedelta(days=day),
        )
        with ledger.begin() as session:
            record_strangers(session, [away])
    with ledger.read() as session:
        (row,) = strangers(session)
    assert (row.attempts, row.first_at, row.last_at) == (6, NOW, NOW + timedelta(days=2))


def test_who_scans_the_network_cannot_fill_the_ledger(ledger: Ledger):
    moments = iter(range(10**6))
    strangers_here = Strangers(
        ledger, pause=timedelta(seconds=60), now=lambda: NOW + timedelta(seconds=next(moments))
    )
    for number in range(MOST_PENDING + 50):
        strangers_here.turned_away(call(f"SCAN{number}"), "calling AE title not recognized")
    strangers_here.start()
    strangers_here.stop()
    assert len(known(ledger)) == MOST_PENDING
    for batch in range(2):
        with ledger.begin() as session:
            record_strangers(
                session,
                [
                    TurnedAway(
                        calling_ae_title=f"LATER{number}",
                        address=f"10.0.{batch}.1",
                        called_ae_title="MAMMOCALC",
                        reason="calling AE title not recognized",
                        attempts=1,
                        last_at=NOW + timedelta(hours=1 + batch),
                    )
                    for number in range(MOST_STRANGERS // 2)
                ],
            )
    left = known(ledger)
    assert len(left) == MOST_STRANGERS
    assert not any(title.startswith("SCAN") for title, *_ in left)


def test_while_the_ledger_is_away_calls_are_remembered(ledger: Ledger):
    refused = []

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO stranger") and len(refused) < 2:
            refused.append(1)
            raise OperationalError("INSERT", {}, Exception("away"))

    event.listen(ledger._engine, "before_cursor_execute", refuse)
    strangers_here = Strangers(ledger, pause=SOON)
    strangers_here.start()
    strangers_here.turned_away(call(), "calling AE title not recognized")
    wait_for(lambda: refused, what="the first refusal of the ledger")
    strangers_here.turned_away(call(), "calling AE title not recognized")
    wait_for(lambda: [attempts for *_, attempts in known(ledger)] == [2], what="both calls in the ledger")
    strangers_here.stop()
    assert len(refused) == 2
