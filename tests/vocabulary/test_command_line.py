"""The one command: what a person sees who asks it for help or makes a mistake."""

import subprocess
import sys

import pytest

COMMANDS = [
    [],
    *[
        [word]
        for word in ("up", "receive", "dispatch", "deliver", "console", "work", "read", "phantom", "train")
    ],
    *[[word] for word in ("evaluate", "demo", "study", "config", "check", "reader-study", "disk")],
    *[["study", word] for word in ("list", "show", "history", "retry", "export")],
    *[["config", word] for word in ("check", "show")],
    *[["reader-study", word] for word in ("analyze", "design", "simulate")],
]


def mammocalc(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "mammography", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def app():
    from mammography.command_line import command_line

    return command_line()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(app, words):
    from typer.testing import CliRunner

    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage" in shown.output
    if len(words) == 2 or (words and words[0] in ("up", "read", "phantom", "train", "evaluate", "demo")):
        assert "Example" in shown.output


def test_the_version_is_the_distribution_s(tmp_path):
    from importlib.metadata import version

    assert mammocalc("--version", cwd=tmp_path).stdout.strip() == f"mammocalc {version('mammocalc')}"


def test_help_needs_no_torch_and_no_network_library():
    code = (
        "import sys; from mammography.command_line import command_line; command_line();"
        "print(sorted({'torch', 'pynetdicom', 'highdicom', 'fastapi'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_settings_with_mistakes_are_refused_before_anything_starts(tmp_path):
    (tmp_path / "wrong.toml").write_text('[node]\nport = 0\nae_title = ""\n')
    for words in (["up"], ["config", "check"], ["study", "list"]):
        done = mammocalc(*words, "--config", "wrong.toml", cwd=tmp_path)
        assert done.returncode == 2
        assert "[node].port" in done.stderr
        assert "[node].ae_title" in done.stderr
        assert "Traceback" not in done.stderr


def test_without_a_ledger_a_person_is_told_what_to_do(tmp_path):
    done = mammocalc("study", "list", cwd=tmp_path)
    assert done.returncode == 2
    assert "mammocalc up" in done.stderr
    assert not (tmp_path / "var").exists()


def test_a_taken_port_is_named(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "a.toml").write_text(f'[node]\nhost = "127.0.0.1"\nport = {port}\n')
        done = mammocalc("up", "--config", "a.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_settings_in_force_are_shown_without_a_password(tmp_path):
    (tmp_path / "a.toml").write_text('[ledger]\nurl = "postgresql+psycopg://me:secret@db/mammocalc"\n')
    shown = mammocalc("config", "show", "--config", "a.toml", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "secret" not in shown.stdout
    assert "db/mammocalc" in shown.stdout
