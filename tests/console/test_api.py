"""The same facts as JSON."""

import subprocess
import sys
from contextlib import ExitStack

import httpx
import pytest

from mammography.ledger.engine import Ledger
from mammography.study import StudyState
from node.console.app import make_console


def test_the_list_says_where_every_study_is(console, uid_of):
    said = console.get("/api/studies").json()
    assert said["node"] == "MAMMOCALC"
    assert said["counts"] == {state.value: 1 for state in StudyState}
    assert (said["page"], said["more"], len(said["studies"])) == (1, False, 9)
    line = next(each for each in said["studies"] if each["study_instance_uid"] == uid_of("1007"))
    assert line["state"] == "committed"
    assert line["findings"] == {
        "revision": 1,
        "suspicious": 2,
        "benign": 1,
        "not_read": 1,
        "trained_on": "Synthetic images (phantom) alone",
    }
    assert [each["view"] for each in line["views"]] == ["R CC", "L CC", "R MLO", "L MLO"]
    assert line["calling_ae_titles"] == ["MAMMO_1"]


def test_the_list_can_be_asked_for_several_states(console):
    said = console.get("/api/studies", params={"state": ["failed", "unreadable"]}).json()
    assert sorted(each["state"] for each in said["studies"]) == ["failed", "unreadable"]


def test_one_study_is_told_whole(console, uid_of, filled):
    said = console.get(f"/api/studies/{uid_of('1007')}").json()
    images = {each["view"]: each for each in said["images"]}
    first = images["R CC"]["findings"][0]
    assert (first["assessment"], first["specks"]) == ("suspicious", 7)
    assert first["center_column"] == pytest.approx(1204.5)
    assert first["center_row"] == pytest.approx(1460.5)
    assert images["L MLO"]["status"] == "not-read"
    assert images["L MLO"]["picture"] is None
    assert [step["state"] for step in said["way"] if step["reached_at"]][-1] == "committed"
    assert {
        (each["destination"], each["state"]) for one in said["objects"] for each in one["deliveries"]
    } == {
        ("pacs", "committed"),
        ("archive", "sent"),
    }
    assert said["reader"]["trained_on"] == "Synthetic images (phantom) alone"
    assert str(filled.data_dir) not in console.get(f"/api/studies/{uid_of('1007')}").text


def test_refusals_are_told(console):
    said = console.get("/api/refusals").json()
    assert [each["calling_ae_title"] for each in said["refusals"]] == ["MAMMO_9", "MAMMO_9"]
    assert [each["calling_ae_title"] for each in said["strangers"]][:2] == ["MAMMO_1", "MAMMO_7"]


@pytest.mark.parametrize("path", ["/api/studies/1.2.3", "/api/nowhere"])
def test_what_is_unknown_is_answered_as_json(console, path):
    answer = console.get(path)
    assert answer.status_code == 404
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=many", "page=999999999", "state=lost"])
def test_a_question_that_makes_no_sense_is_answered_in_a_sentence(console, query):
    answer = console.get(f"/api/studies?{query}")
    assert answer.status_code == 422
    assert "that there is not" in answer.json()["detail"]


def test_health_is_ok_while_the_ledger_can_be_read(console):
    said = console.get("/healthz")
    assert said.status_code == 200
    assert (said.json()["status"], said.json()["node"]) == ("ok", "MAMMOCALC")


@pytest.mark.anyio
async def test_a_ledger_that_cannot_be_read_is_503_with_a_sentence(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'never-upgraded.db'}")
    app = make_console(ledger=ledger, data_dir=tmp_path, node_name="MAMMOCALC", destinations=[])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/healthz", "/api/studies", "/"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "The ledger cannot be reached" in answer.text
    ledger.close()


@pytest.fixture
def anyio_backend():
    return "asyncio"


def test_metrics_count_studies_deliveries_and_alarms(console):
    answer = console.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'mammocalc_studies{state="failed"} 1.0' in lines
    assert "mammocalc_alarms 1.0" in lines
    assert any(line.startswith('mammocalc_deliveries_outstanding{destination="archive"') for line in lines)


def test_metrics_add_up_what_the_processes_count(empty, empty_console):
    """Two processes count as the doors do; a third one's file stays from one that is gone."""
    script = (
        "import sys; from pathlib import Path; from mammography.telemetry.metrics import configure_metrics;"
        "configure_metrics(Path(sys.argv[1])); from node.metrics import INSTANCES, ASSOCIATION_SECONDS;"
        "INSTANCES.labels('new').inc(3); ASSOCIATION_SECONDS.observe(0.02);"
        "print('counted', flush=True); sys.stdin.read()"
    )
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(empty.data_dir)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        assert [process.stdout.readline() for process in processes] == ["counted\n"] * 2
        lines = empty_console.get("/metrics").text.splitlines()
        assert 'mammocalc_instances_total{outcome="new"} 6.0' in lines
        assert 'mammocalc_association_seconds_bucket{le="0.03"} 2.0' in lines
    configure = script.partition("from node")[0]
    subprocess.run([sys.executable, "-c", configure, str(empty.data_dir)], check=True)
    assert "mammocalc_instances_total" not in empty_console.get("/metrics").text
