"""The same answer without a network, and the demonstration as a stranger types it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.demo.free_ports import free_port
from lab.demo.orthanc import orthanc_program
from mammography.coordinates import ImagePoint
from tests.journeys.answers import easy_groups, share_inside
from tests.journeys.running_node import RunningNode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def mammocalc(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "mammography", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=cwd,
    )


def test_a_folder_is_read_offline_and_what_is_no_mammogram_is_named(phantom, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for file in phantom.files[:2]:
        (folder / file.name).symlink_to(file)
    (folder / "letter.txt").write_text("Dear colleague")
    done = mammocalc("read", folder, "--out", tmp_path / "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert json.loads(done.stdout) == entries
    assert [entry["status"] for entry in entries] == ["read", "read", "not-read"]
    assert "not a DICOM file" in entries[2]["reason"]
    outlines = {
        entry["sop_instance_uid"]: [[ImagePoint(*point) for point in f["outline"]] for f in entry["findings"]]
        for entry in entries
    }
    for uid, specks in easy_groups(phantom.truth):
        if uid in outlines:
            assert share_inside(specks, outlines[uid]) >= 0.75
    answers = list((tmp_path / "out" / phantom.study_instance_uid).iterdir())
    assert len([path for path in answers if path.suffix == ".png"]) == 2
    assert len([path for path in answers if path.name.startswith("cad-sr")]) == 1
    assert len([path for path in answers if path.name.startswith("gsps")]) == 2


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    done = mammocalc("read", tmp_path / "nowhere", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "no file or folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["orthanc", "receiving-ae"])
def test_the_demonstration_ends_with_marks_on_a_picture(phantom, tmp_path, kind):
    if kind == "orthanc" and orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    pacs_port = free_port()
    node = RunningNode(tmp_path, pacs_port=pacs_port)
    node.start()
    study = node.data_dir / "demo" / "study-79"
    study.parent.mkdir(parents=True)
    study.symlink_to(phantom.folder)
    try:
        done = mammocalc("demo", "--config", node.config, "--seed", "79", "--pacs", kind, cwd=tmp_path)
    finally:
        node.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    pictures = re.findall(r"(\S+\.png)", done.stdout)
    assert len(pictures) == 4
    assert "suspicious" in done.stdout
    kept = re.search(r"as the PACS holds them:\n\s+(\S+)", done.stdout).group(1)
    assert len(list(Path(kept).glob("*.dcm"))) == 5


def test_the_demonstration_without_a_node_says_what_to_do(tmp_path):
    config = tmp_path / "mammocalc.toml"
    config.write_text(f"[node]\nport = {free_port()}\n")
    done = mammocalc("demo", "--config", config, cwd=tmp_path)
    assert done.returncode == 1
    assert "make run" in done.stderr
