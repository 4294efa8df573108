"""mammocalc study export: the ledger's assessments as tables, without anything of a patient."""

import csv
import stat
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from lab.readerstudy.tables import Call, ModelRow, TruthRow, open_study
from mammography.command_line import command_line
from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    BreastScore,
    Finding,
    FindingAssessment,
    ImageReading,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import store_assessment
from mammography.ledger.schema import upgrade
from mammography.view import Laterality
from node.study_export import MODEL_COLUMNS, TRUTH_COLUMNS, pseudonym
from tests.ledger.given import NOW, received

FINDING = Finding(
    outline=(ImagePoint(1, 1), ImagePoint(9, 1), ImagePoint(5, 9)),
    specks=(Speck(center=ImagePoint(5, 4), score=0.9, diameter_mm=0.3),),
    detection=0.9,
    suspicion=0.81,
    assessment=FindingAssessment.SUSPICIOUS,
)
READ = ImageReading(sop_instance_uid="1.2.3", view=None, status=ReadStatus.READ)
SAID = Assessment(
    reader=ReaderIdentity(
        name="r", version="1", weights_sha256="f" * 64, operating_point="standard", trained_on="Phantoms."
    ),
    read_at=NOW,
    images=(replace(READ, findings=(FINDING,)),),
    breasts=(BreastScore(laterality=Laterality.LEFT, suspicion=0.815),),
)
NOT_READ = replace(SAID, images=(replace(READ, status=ReadStatus.NOT_READ, reason="Too dark."),), breasts=())
STUDIES = {
    "1.2.840.11": SAID,
    "1.2.840.12": replace(SAID, images=(READ,), breasts=()),
    "1.2.840.13": NOT_READ,
}


@pytest.fixture
def exported(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("MAMMOCALC_LEDGER_URL", url)
    monkeypatch.chdir(tmp_path)
    upgrade(url)
    ledger = Ledger(url)
    with ledger.begin() as session:
        for uid, assessment in STUDIES.items():
            received(session, uid)
            store_assessment(session, uid, revision=1, assessment=NOT_READ)
            store_assessment(session, uid, revision=2, assessment=assessment)
    ledger.close()

    def export(*words):
        return CliRunner().invoke(command_line(), ["study", "export", *map(str, words)])

    return export


def rows_of(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def test_the_columns_are_those_of_a_reader_study():
    assert set(MODEL_COLUMNS) == set(ModelRow.model_fields)
    assert set(TRUTH_COLUMNS) == set(TruthRow.model_fields)


def test_a_reader_study_reads_what_the_ledger_exports_once_the_truth_is_filled_in(exported, tmp_path):
    folder = tmp_path / "export"
    assert exported(folder, "--site", "north", "--keys", tmp_path / "keys.csv").exit_code == 0
    cases = {row["study_instance_uid"]: row["case"] for row in rows_of(tmp_path / "keys.csv")}
    assert set(cases) == {"1.2.840.11", "1.2.840.12"}
    truth = (folder / "truth.csv").read_text()
    for uid, word in (("1.2.840.11", "malignant"), ("1.2.840.12", "normal")):
        truth = truth.replace(f"{cases[uid]},,,,", f"{cases[uid]},,,{word},")
    (folder / "truth.csv").write_text(truth)
    (folder / "reads.csv").write_text(
        f"site,reader,case,condition,birads\nnorth,R1,{cases['1.2.840.11']},with,4\n"
    )
    told = {row.case: (row.score, row.call) for row in open_study([folder]).model}
    assert told == {cases["1.2.840.11"]: (81.5, Call.POSITIVE), cases["1.2.840.12"]: (0, Call.NEGATIVE)}


def test_nothing_of_a_patient_leaves_and_the_pseudonyms_stay_the_same(exported, tmp_path):
    exported(tmp_path / "one")
    exported(tmp_path / "two")
    for name in ("model.csv", "truth.csv"):
        text = (tmp_path / "one" / name).read_text()
        assert text == (tmp_path / "two" / name).read_text()
        assert not any(word in text for word in ("1.2.840", "A1", "20260304"))
    key = tmp_path / "var" / "export.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert pseudonym(key.read_bytes(), "1.2.840.11") in (tmp_path / "one" / "model.csv").read_text()
    assert pseudonym(b"another hospital", "1.2.840.11") not in (tmp_path / "one" / "model.csv").read_text()


def test_a_truth_that_was_filled_in_is_not_overwritten(exported, tmp_path):
    exported(tmp_path / "one")
    (tmp_path / "one" / "truth.csv").write_text("filled in")
    again = exported(tmp_path / "one")
    assert again.exit_code == 2
    assert "truth.csv exists" in again.stderr
    assert (tmp_path / "one" / "truth.csv").read_text() == "filled in"
