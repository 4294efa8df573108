"""The tables that the migrations make are the tables that the code uses."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url

from mammography.ledger.engine import make_engine
from mammography.ledger.schema import downgrade, has_tables, script_folder, upgrade
from mammography.ledger.tables import Table


def differences(url: str) -> list[object]:
    engine = make_engine(make_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, Table.metadata)
    engine.dispose()
    return found


def table_names(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_the_migrations_make_exactly_the_tables(ledger_url: str) -> None:
    assert set(Table.metadata.tables) <= table_names(ledger_url)
    assert differences(ledger_url) == []


def test_the_comparison_sees_a_missing_column(empty_ledger_url: str) -> None:
    upgrade(empty_ledger_url)
    engine = make_engine(make_url(empty_ledger_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE study DROP COLUMN rung_at")
    engine.dispose()
    assert len(differences(empty_ledger_url)) == 1


def test_the_migrations_go_down_and_up_again(empty_ledger_url: str) -> None:
    upgrade(empty_ledger_url)
    downgrade(empty_ledger_url, "base")
    assert not has_tables(empty_ledger_url)
    assert table_names(empty_ledger_url) <= {"alembic_version"}
    upgrade(empty_ledger_url)
    assert has_tables(empty_ledger_url)
    assert differences(empty_ledger_url) == []


def test_upgrading_twice_changes_nothing(ledger_url: str) -> None:
    upgrade(ledger_url)
    assert differences(ledger_url) == []


def test_a_ledger_that_was_never_upgraded_has_no_tables(empty_ledger_url: str) -> None:
    assert not has_tables(empty_ledger_url)


def test_four_threads_and_two_processes_upgrade_one_ledger_at_once(empty_ledger_url: str) -> None:
    code = f"from mammography.ledger.schema import upgrade; upgrade({empty_ledger_url!r})"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, [empty_ledger_url] * 4))
    assert [process.wait(60) for process in processes] == [0, 0]
    assert differences(empty_ledger_url) == []


def test_the_migrations_import_nothing_of_ours_but_the_tables() -> None:
    imported = {
        line
        for file in Path(script_folder()).rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from "))
        and line.split()[1].split(".")[0] in {"mammography", "node", "worker", "lab"}
    }
    assert imported == {"from mammography.ledger.tables import Table"}
