"""Patient, study, request and time are those of the images, in the images' own character set."""

import re
from collections.abc import Callable
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from mammography.results.compose import compose
from tests.judges import run
from tests.results.mammograms import (
    R_CC,
    STUDY,
    answered,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    screening_images,
    written,
)

NAMES: dict[str, tuple[str | list[str], str, Callable[[str], bytes]]] = {
    "latin": ("ISO_IR 100", "M\u00fcller^\u00c4nne", lambda word: word.encode("latin-1")),
    "cyrillic": (
        "ISO_IR 144",
        "\u041b\u044e\u043a\u0432\u0430^\u0410\u043d\u043d\u0430",
        lambda word: word.encode("iso8859-5"),
    ),
    "utf-8": ("ISO_IR 192", "Wang^XiaoDong=\u738b^\u5c0f\u6771", lambda word: word.encode("utf-8")),
    "gb18030": ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c", lambda word: word.encode("gb18030")),
    "chinese": (
        ["", "ISO 2022 IR 58"],
        "Zhang^XiaoDong=\u5f20^\u5c0f\u4e1c",
        lambda word: b"\x1b$)A" + word.encode("gb2312"),
    ),
    "japanese": (
        ["", "ISO 2022 IR 87"],
        "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046",
        lambda word: word.encode("iso2022_jp"),
    ),
    "korean": (
        ["", "ISO 2022 IR 149"],
        "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9",
        lambda word: b"\x1b$)C" + word.encode("euc_kr"),
    ),
}
"""Character set, name, and how one component of a name is written in it (PS3.5 6.1.2, annexes H, I, J and K)."""
TEXTS = ("PatientName", "ReferringPhysicianName", "StudyDescription", "PatientComments")
NOT_IN_PYDICOM = {"chinese"}
"""pydicom 3.0 leaves the escape sequences of ISO IR 58 in what it decodes, of images as of objects."""
NOT_IN_DCMTK = {"japanese"}
"""dcmtk converts with the C library's iconv here, which knows no ISO IR 87 of its own."""


def raw_name(case: str) -> bytes:
    _, name, encoded = NAMES[case]
    return b"".join(part.encode() if part.isascii() else encoded(part) for part in re.split("([=^])", name))


def image_file(case: str) -> bytes:
    """Return an image's file all of whose texts are a name in a character set, as a modality writes it."""
    character_set, _, _ = NAMES[case]
    stored = raw_name(case) + b" " * (len(raw_name(case)) % 2)
    stand_in = "Z" * len(stored)
    source = image(R_CC, SpecificCharacterSet=character_set, **dict.fromkeys(TEXTS, stand_in))
    source.RequestAttributesSequence = [request("1", RequestedProcedureDescription=stand_in)]
    content = written(source)
    assert content.count(stand_in.encode()) == len(TEXTS) + 1
    return content.replace(stand_in.encode(), stored)


def answers_to(case: str, times: int = 1) -> list[Dataset]:
    """Return the objects that answer an image, of the last of several times in which the same header is answered."""
    header = pydicom.dcmread(BytesIO(image_file(case)), stop_before_pixels=True)
    for _ in range(times):
        objects = compose(
            headers=[header],
            assessment=assessment(reading(header, cluster(60, 80))),
            study_instance_uid=STUDY,
            revision=1,
        )
    return [pydicom.dcmread(BytesIO(each.encode())) for each in objects]


def raw(dataset: Dataset, keyword: str) -> bytes:
    return dataset.get_item(keyword).value.rstrip(b" ")


@pytest.mark.parametrize("times", [1, 2], ids=["first", "second"])
@pytest.mark.parametrize("case", NAMES)
def test_text_stays_the_bytes_that_it_is_however_often_a_header_is_answered(case, times):
    character_set, _, _ = NAMES[case]
    report, state = answers_to(case, times)
    for sent in (report, state):
        assert sent.SpecificCharacterSet == character_set
        for keyword in TEXTS:
            assert raw(sent, keyword) == raw_name(case), keyword
    assert raw(report.ReferencedRequestSequence[0], "RequestedProcedureDescription") == raw_name(case)


@pytest.mark.parametrize("case", sorted(NAMES.keys() - NOT_IN_PYDICOM))
def test_names_are_read_by_pydicom(case):
    assert {str(each.PatientName) for each in answers_to(case)} == {NAMES[case][1]}


@pytest.mark.validators
@pytest.mark.parametrize("case", sorted(NAMES.keys() - NOT_IN_DCMTK))
def test_names_are_read_by_dcmtk(case, tmp_path):
    for number, sent in enumerate(answers_to(case)):
        path = tmp_path / f"{number}.dcm"
        sent.save_as(path)
        _, said = run("dcmdump", "-q", "+U8", "+L", "+P", "PatientName", path)
        assert re.findall(r"PN \[(.*?) *\]", said) == [NAMES[case][1]]


def test_attributes_of_an_image_in_implicit_vr_are_carried_over():
    source = image(R_CC)
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator = "71651007", "SCT"
    procedure.CodeMeaning = "Mammography"
    source.ProcedureCodeSequence = [procedure]
    source.RequestAttributesSequence = [request("1", RequestedProcedureDescription="Screening")]
    source.RequestAttributesSequence[0].RequestedProcedureCodeSequence = [procedure]
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, source, enforce_file_format=True)
    header = pydicom.dcmread(BytesIO(buffer.getvalue()), stop_before_pixels=True)
    objects = compose(
        headers=[header], assessment=assessment(reading(header)), study_instance_uid=STUDY, revision=1
    )
    sent = pydicom.dcmread(BytesIO(objects[0].encode()))
    (carried,) = sent.ReferencedRequestSequence
    assert (sent.PatientName, carried.RequestedProcedureDescription) == ("Doe^Jane", "Screening")
    for codes in (sent.ProcedureCodeSequence, carried.RequestedProcedureCodeSequence):
        assert [each.CodeMeaning for each in codes] == ["Mammography"]


def request(number: str, **attributes: str) -> Dataset:
    dataset = Dataset()
    dataset.RequestedProcedureID, dataset.ScheduledProcedureStepID = f"RP{number}", f"SPS{number}"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def report_on(images: list[Dataset]) -> Dataset:
    headers = [header_of(each) for each in images]
    objects = compose(
        headers=headers,
        assessment=assessment(*map(reading, headers)),
        study_instance_uid=STUDY,
        revision=1,
    )
    return pydicom.dcmread(BytesIO(objects[0].encode()))


def test_each_request_of_the_images_is_carried_over_once():
    images = screening_images()
    for each, number in zip(images, "1122", strict=True):
        each.RequestAttributesSequence = [
            request(number, RequestedProcedureDescription="Mammography", AccessionNumber=f"A{number}")
        ]
    carried = report_on(images).ReferencedRequestSequence
    assert [
        (each.AccessionNumber, each.RequestedProcedureID, each.RequestedProcedureDescription)
        for each in carried
    ] == [("A1", "RP1", "Mammography"), ("A2", "RP2", "Mammography")]
    assert {each.StudyInstanceUID for each in carried} == {STUDY}


def test_images_without_a_request_make_a_report_without_one():
    assert "ReferencedRequestSequence" not in report_on(screening_images())


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        ("+0000", "20261122", "193005"),
        ("+0900", "20261123", "043005"),
        ("-0330", "20261122", "160005"),
        ("+0530", "20261123", "010005"),
    ],
)
def test_times_are_local_to_the_images_offset_which_is_kept(offset, date, time):
    source = image(R_CC, TimezoneOffsetFromUTC=offset)
    for item in answered([source], [()]):
        sent = item.dataset
        assert sent.TimezoneOffsetFromUTC == offset
        assert (sent.InstanceCreationDate, sent.InstanceCreationTime) == (date, time)


@pytest.mark.parametrize("offset", ["+9999", "0900", "Z", ""])
def test_an_offset_that_is_none_is_not_passed_on(offset):
    source = image(R_CC, TimezoneOffsetFromUTC=offset)
    assert all("TimezoneOffsetFromUTC" not in item.dataset for item in answered([source], [()]))
