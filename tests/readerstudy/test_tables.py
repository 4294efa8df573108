"""The tables of a reader study: what is read, and how mistakes are told."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab.readerstudy.schema import schema_tables
from lab.readerstudy.tables import BrokenTables, Condition, Truth, open_study
from mammography.command_line import command_line

TRUTH = """case,lesion,patient,truth,density
A,1,P1,malignant,B
A,2,P1,benign,B
B,,P2,normal,C
"""
READS = """reader,case,lesion,condition,mark,birads,score
R1,A,1,without,yes,4B,71
R1,A,2,without,no,,
R1,B,,without,yes,3,20
R1,B,,without,yes,2,5
"""


def folder_of(tmp_path, name="study", **files):
    folder = tmp_path / name
    folder.mkdir()
    for file, text in ({"truth": TRUTH, "reads": READS} | files).items():
        (folder / f"{file}.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def mistakes_of(*folders):
    with pytest.raises(BrokenTables) as broken:
        open_study(folders)
    return list(broken.value.mistakes)


def test_good_tables_are_read_and_several_false_marks_on_a_case_are_no_double(tmp_path):
    tables = open_study([folder_of(tmp_path)])
    assert [(row.case, row.lesion, row.truth) for row in tables.truth] == [
        ("A", "1", Truth.MALIGNANT),
        ("A", "2", Truth.BENIGN),
        ("B", "", Truth.NORMAL),
    ]
    assert [row.score for row in tables.reads] == [71, None, 20, 5]
    assert {row.condition for row in tables.reads} == {Condition.WITHOUT}


def test_every_mistake_is_told_at_once_by_line(tmp_path):
    reads = """reader,case,lesion,condition,mark,birads,score
R1,A,1,without,yes,4B,120
R1,Z,,without,,3,
R1,A,9,with,yes,4,
R1,A,2,without,,2,10
R1,A,2,without,,2,11
R1,B,,perhaps,,1,
R1,B,,with,,,
,B,,without,,6,1,0
,B,,without,,6,1
"""
    truth = TRUTH + "B,,P3,normal,C\nC,1,P4,normal,\n"
    model = "case,scores\nA,50\n"
    told = mistakes_of(folder_of(tmp_path, reads=reads, truth=truth, model=model))
    for line in (
        "reads.csv line 2: score is '120', but should be less than or equal to 100.",
        "reads.csv line 3: case Z is not in truth.csv.",
        "reads.csv line 4: case A has no lesion 9 in truth.csv.",
        "reads.csv line 6: R1 read case A without the model, lesion 2, on reads.csv line 5 already.",
        "reads.csv line 7: condition is 'perhaps', but should be 'without' or 'with'.",
        "reads.csv line 8: neither birads nor score is given.",
        "reads.csv line 9: 8 cells, but the header has 7.",
        "reads.csv line 10: reader is empty.",
        "truth.csv line 5: case B stands on truth.csv line 4 already.",
        "truth.csv line 5: case B has patient P3 here, but P2 on truth.csv line 4.",
        "truth.csv line 6: lesion 1 is said to be normal.",
        "model.csv line 1: the column score is missing.",
    ):
        assert line in told
    assert any(line.startswith("reads.csv line 10: birads is '6'") for line in told)
    assert any(line.startswith("model.csv line 1: the column scores is not known") for line in told)
    assert len(told) == 14


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"reads": "\ufeff" + READS.replace("71", "nan")}, "reads.csv line 2: score is 'nan'"),
        ({"reads": b"reader,case\nR\xe9,A\n"}, "reads.csv line 2: a letter is not UTF-8 (byte 0xe9)"),
        ({"reads": READS.encode("utf-16")}, "reads.csv: this is UTF-16; save the file as CSV UTF-8"),
        ({"reads": b"PK\x03\x04\x14\x00\x06\x00"}, "reads.csv: this is a spreadsheet; save it as CSV UTF-8"),
        ({"reads": READS.replace("R1,B", '"R1,B')}, "reads.csv line 5: this is no CSV"),
        ({"reads": READS.replace(",", ";")}, "reads.csv line 1: semicolons stand between the columns"),
        ({"reads": READS.replace(",", "\t")}, "reads.csv line 1: tabs stand between the columns"),
        (
            {"reads": "sep=,\n" + READS},
            "reads.csv line 1: begins with sep=; the first line has to be the header.",
        ),
        (
            {"reads": READS.replace("71", '"71,5"')},
            "reads.csv line 2: score is '71,5', but should be a number with",
        ),
        (
            {"reads": "\n" + READS.replace("mark", "Mark")},
            "reads.csv line 2: the column Mark is not known; write mark.",
        ),
        ({"reads": READS.splitlines()[0] + "\n"}, "reads.csv: there is no line below the header."),
        ({"reads": ""}, "reads.csv line 1: the column reader is missing."),
        (
            {"truth": TRUTH.replace("P1,malignant,B", "P1,malignant,A")},
            "truth.csv line 3: case A has density B",
        ),
        ({"truth": TRUTH + "A,,P1,benign,B\n"}, "truth.csv line 5: case A has a line without a lesion"),
        ({"truth": "case,case,truth\nA,A,normal\n"}, "truth.csv line 1: the column case is there 2 times."),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, files, sentence):
    assert any(told.startswith(sentence) for told in mistakes_of(folder_of(tmp_path, **files)))


def test_columns_that_a_spreadsheet_added_and_empty_lines_are_left_out(tmp_path):
    padded = "\r\n,,,,,,,,\r\n".join(f"{line},," for line in READS.splitlines())
    assert (
        open_study([folder_of(tmp_path, reads=padded)]).reads
        == open_study([folder_of(tmp_path, "plain")]).reads
    )
    told = mistakes_of(
        folder_of(tmp_path, "odd", reads=READS.replace("score\n", "score,\n").replace("71\n", "71,x\n"))
    )
    assert any("the column (without a name) is not known" in line for line in told)


def test_folders_merge_into_one_study_whose_sites_have_readers_of_their_own(tmp_path):
    tables = open_study([folder_of(tmp_path, "north"), folder_of(tmp_path, "south")])
    assert {row.site for row in tables.truth} == {"north", "south"}
    assert {(row.site, row.reader) for row in tables.reads} == {("north", "north/R1"), ("south", "south/R1")}
    assert len(tables.truth) == 6


def test_folders_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    same = folder_of(tmp_path / "other")
    assert mistakes_of(folder_of(tmp_path), same) == [
        "Two folders are named study: give each site a name of its own."
    ]


def test_the_command_tells_all_mistakes_on_stderr_and_exits_with_2(tmp_path):
    folder = folder_of(tmp_path, reads=READS.replace("R1,A,1", "R1,Q,1").replace("3,20", "3,200"))
    done = CliRunner().invoke(command_line(), ["reader-study", "analyze", str(folder)])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "reads.csv line 2: case Q is not in truth.csv.",
        "reads.csv line 4: score is '200', but should be less than or equal to 100.",
    ]


def test_the_documentation_shows_the_columns_as_they_are():
    assert schema_tables() in (Path(__file__).parents[2] / "docs" / "reader-study.md").read_text()
