"""An archive that holds more of a study than came makes it wait, and nobody waits for the archive."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from lab.demo.free_ports import free_port
from lab.demo.orthanc import Orthanc, orthanc_program
from mammography.completeness import ArchiveList, ArrivedView, compare
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.signals import SignalSource, record_signal
from mammography.ledger.studies import ArrivedInstance, record_instance, study
from mammography.ledger.tables import StudyRow
from mammography.settings_file import load_settings
from mammography.study import StudyState
from node.archive import STUDY_ROOT_FIND, Archive, Peer
from node.completion import Completion
from node.composition import make_completion
from node.settings import NodeSettings
from tests.delivery.small_studies import VIEWS, mammogram_file, uid
from tests.servers import wait_for

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
QUIET, LONGEST, SECOND = timedelta(seconds=60), timedelta(minutes=15), timedelta(seconds=1)
FOR_PRESENTATION, FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1"


@dataclass
class Node:
    """A ledger, and who judges what arrives in it."""

    ledger: Ledger
    rung: list[str] = field(default_factory=list)

    def arrive(self, study_uid, *images, at=NOW, sop_class_uid=FOR_PRESENTATION):
        for image in images:
            with self.ledger.begin() as session:
                record_instance(
                    session,
                    ArrivedInstance(
                        sop_instance_uid=image,
                        study_instance_uid=study_uid,
                        series_instance_uid=f"{study_uid}.9",
                        sop_class_uid=sop_class_uid,
                        transfer_syntax_uid="1.2.840.10008.1.2.1",
                        path=f"{image}.dcm",
                        bytes=1,
                        digest=image,
                        calling_ae_title="MODALITY1",
                        received_at=at,
                        modality="MG",
                        laterality="R",
                        view_position="CC",
                    ),
                )

    def row(self, study_uid) -> StudyRow:
        with self.ledger.read() as session:
            found = study(session, study_uid)
        assert found is not None
        return found

    @contextmanager
    def asking(self, port, *, timeout=timedelta(seconds=2)) -> Iterator["Asking"]:
        archive = Archive(
            peer=Peer(ae_title="ORTHANC", host="127.0.0.1", port=port, timeout=timeout),
            calling_ae_title="MAMMOCALC",
            ask_again_after=QUIET,
        )
        completion = Completion(
            ledger=self.ledger,
            quiet_period=QUIET,
            longest_wait=LONGEST,
            ring=lambda one: self.rung.append(one) or True,
            archive=archive,
        )
        try:
            yield Asking(completion=completion, archive=archive)
        finally:
            archive.close()


@dataclass
class Asking:
    completion: Completion
    archive: Archive

    def sweep(self, *, now):
        """Sweep, let the archive answer, and sweep again."""
        self.completion.sweep(now=now)
        self.archive.wait()
        self.completion.sweep(now=now)


@pytest.fixture
def node(tmp_path) -> Iterator[Node]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    ledger = Ledger(url)
    yield Node(ledger=ledger)
    ledger.close()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory) -> Iterator[Orthanc]:
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    with Orthanc(folder=tmp_path_factory.mktemp("orthanc")) as pacs:
        yield pacs


def put(pacs: Orthanc, folder: Path, study_uid, image, *, sop_class_uid=FOR_PRESENTATION, modality="MG"):
    """Let the archive have an image."""
    dataset = mammogram_file(study_uid, VIEWS[0], image)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class_uid
    dataset.Modality, dataset.SeriesInstanceUID = modality, uid(study_uid, modality)
    path = folder / f"{image}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    pacs._call("POST", "/instances", path.read_bytes())


@pytest.mark.orthanc
def test_a_study_of_which_orthanc_has_no_more_is_complete_and_says_so(node, orthanc, tmp_path):
    study_uid, images = uid("equal"), [uid("equal", str(n)) for n in range(3)]
    for image in images:
        put(orthanc, tmp_path, study_uid, image)
    put(orthanc, tmp_path, study_uid, uid("equal", "sr"), modality="SR")
    put(orthanc, tmp_path, study_uid, uid("equal", "raw"), sop_class_uid=FOR_PROCESSING)
    node.arrive(study_uid, *images)
    with node.asking(orthanc.dicom_port) as asking:
        asking.sweep(now=NOW + QUIET)
    assert node.row(study_uid).state is StudyState.QUEUED
    assert node.row(study_uid).reason.startswith(
        "Nothing arrived for 60 s; ORTHANC has 3 images of it, and none that is not here; R CC is here"
    )


@pytest.mark.orthanc
def test_a_study_of_which_orthanc_has_more_waits_until_it_came(node, orthanc, tmp_path):
    study_uid, images = uid("more"), [uid("more", str(n)) for n in range(3)]
    for image in images:
        put(orthanc, tmp_path, study_uid, image)
    node.arrive(study_uid, *images[:2])
    with node.asking(orthanc.dicom_port) as asking:
        asking.sweep(now=NOW + QUIET)
        assert node.row(study_uid).state is StudyState.RECEIVING
        assert "ORTHANC has 3 images of it, 1 of them not here" in node.row(study_uid).reason
        later = NOW + 3 * QUIET
        asking.sweep(now=later)
        assert node.row(study_uid).state is StudyState.RECEIVING
        node.arrive(study_uid, images[2], at=later)
        asking.sweep(now=later + QUIET)
    assert node.row(study_uid).state is StudyState.QUEUED
    assert "none that is not here" in node.row(study_uid).reason


@pytest.mark.orthanc
def test_what_never_comes_is_waited_for_until_the_longest_wait(node, orthanc, tmp_path):
    study_uid, images = uid("never"), [uid("never", str(n)) for n in range(2)]
    for image in images:
        put(orthanc, tmp_path, study_uid, image)
    node.arrive(study_uid, images[0])
    with node.asking(orthanc.dicom_port) as asking:
        asking.sweep(now=NOW + LONGEST - SECOND)
        assert node.row(study_uid).state is StudyState.RECEIVING
        asking.sweep(now=NOW + LONGEST)
    assert node.row(study_uid).state is StudyState.QUEUED
    assert "1 of them not here" in node.row(study_uid).reason


@pytest.mark.orthanc
def test_a_study_that_orthanc_does_not_know_is_judged_as_ever(node, orthanc):
    node.arrive(uid("unknown"), uid("unknown", "1"))
    with node.asking(orthanc.dicom_port) as asking:
        asking.sweep(now=NOW + QUIET)
    assert node.row(uid("unknown")).state is StudyState.QUEUED
    assert "ORTHANC knows of no mammogram in it" in node.row(uid("unknown")).reason


def test_an_archive_that_is_not_there_holds_nothing_up(node):
    node.arrive("1.2.3", "1.2.3.1")
    with node.asking(free_port()) as asking:
        asking.sweep(now=NOW + QUIET)
    assert node.row("1.2.3").state is StudyState.QUEUED
    assert "cannot be reached: nobody answers there" in node.row("1.2.3").reason


def test_a_silent_archive_is_waited_for_a_little_and_the_sweep_not_at_all(node):
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        with node.asking(port, timeout=timedelta(seconds=2)) as asking:
            node.arrive("1.2.3", "1.2.3.1")
            asking.completion.sweep(now=NOW + QUIET)
            assert asking.archive._lanes.busy("ORTHANC")
            assert node.row("1.2.3").state is StudyState.RECEIVING
            asking.completion.sweep(now=NOW + QUIET + timedelta(seconds=4))
            assert asking.archive._lanes.busy("ORTHANC")
            assert node.row("1.2.3").state is StudyState.QUEUED
            assert "ORTHANC did not answer in time what it holds" in node.row("1.2.3").reason
    assert node.rung == ["1.2.3"]


@contextmanager
def archive_scp(answer):
    """A C-FIND SCP whose matches are a function of the query."""
    entity = AE(ae_title="ORTHANC")
    entity.add_supported_context(STUDY_ROOT_FIND)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, lambda event: answer(event.identifier))]
    )
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def match(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("count", "state", "said"),
    [
        ("2", StudyState.QUEUED, "ORTHANC counts 2 images of it, and 2 came"),
        ("3", StudyState.RECEIVING, "ORTHANC counts 3 images of it, and 2 came"),
        ("", StudyState.QUEUED, "ORTHANC knows of no mammogram in it"),
    ],
)
def test_an_archive_that_lists_no_images_is_believed_its_count(node, count, state, said):
    def answer(query):
        if query.QueryRetrieveLevel == "IMAGE":
            yield 0xA900, None
        other = {"SeriesInstanceUID": "1.2.3.8", "Modality": "SR", "NumberOfSeriesRelatedInstances": "9"}
        yield 0xFF00, match(QueryRetrieveLevel="SERIES", **other)  # it does not look at the key
        yield (
            0xFF00,
            match(
                QueryRetrieveLevel="SERIES",
                SeriesInstanceUID="1.2.3.9",
                Modality="MG",
                NumberOfSeriesRelatedInstances=count,
            ),
        )

    node.arrive("1.2.3", "1.2.3.1", "1.2.3.2")
    with archive_scp(answer) as port, node.asking(port) as asking:
        asking.sweep(now=NOW + QUIET)
    assert node.row("1.2.3").state is state
    assert said in node.row("1.2.3").reason


def endless(query):
    for number in range(5000):
        yield 0xFF00, match(QueryRetrieveLevel="SERIES", SeriesInstanceUID=f"1.{number}", Modality="MG")


def refusing(query):
    yield 0xA700, None


@pytest.mark.parametrize(
    ("answer", "said"), [(endless, "more than 1000"), (refusing, "answered a query with A700H")]
)
def test_an_archive_that_answers_nonsense_holds_nothing_up(node, answer, said):
    node.arrive("1.2.3", "1.2.3.1")
    with archive_scp(answer) as port, node.asking(port) as asking:
        asking.sweep(now=NOW + QUIET)
    assert node.row("1.2.3").state is StudyState.QUEUED
    assert said in node.row("1.2.3").reason


def test_many_studies_are_asked_for_together_and_each_once_in_a_quiet_period(node):
    asked = []

    def answer(query):
        if query.QueryRetrieveLevel == "SERIES":
            asked.append(query.StudyInstanceUID)
            yield (
                0xFF00,
                match(
                    QueryRetrieveLevel="SERIES",
                    SeriesInstanceUID=f"{query.StudyInstanceUID}.9",
                    Modality="MG",
                ),
            )
        else:
            yield 0xFF00, match(QueryRetrieveLevel="IMAGE", SOPInstanceUID="9.9", StudyInstanceUID="4.4")
            yield 0xFF00, match(QueryRetrieveLevel="IMAGE", SOPInstanceUID="8.8")

    names = [f"1.2.{number}" for number in range(20)]
    for name in names:
        node.arrive(name, f"{name}.1")
    with archive_scp(answer) as port, node.asking(port, timeout=timedelta(seconds=10)) as asking:
        for seconds in range(0, 50, 10):
            asking.sweep(now=NOW + QUIET + timedelta(seconds=seconds))
        assert sorted(asked) == sorted(names)
        assert {node.row(name).state for name in names} == {StudyState.RECEIVING}
        assert "ORTHANC has 1 image of it, 1 of them not here" in node.row(names[0]).reason
        asking.sweep(now=NOW + 3 * QUIET)
        assert sorted(asked) == sorted(names * 2)
        asking.completion.sweep(now=NOW + LONGEST)
        assert {node.row(name).state for name in names} == {StudyState.QUEUED}
        asking.completion.sweep(now=NOW + LONGEST + SECOND)
        assert (asking.archive._said, asking.archive._wanted) == ({}, {}), "it forgets who waits no more"


def test_other_studies_go_on_while_the_archive_is_asked(node):
    answers = threading.Event()

    def answer(query):
        answers.wait(5)
        yield 0x0000, None

    node.arrive("1.2.3", "1.2.3.1")
    with archive_scp(answer) as port, node.asking(port, timeout=timedelta(seconds=5)) as asking:
        asking.completion.sweep(now=NOW + QUIET)
        node.arrive("1.2.4", "1.2.4.1", at=NOW - LONGEST)
        asking.completion.sweep(now=NOW + QUIET + SECOND)
        assert node.row("1.2.4").state is StudyState.QUEUED
        assert node.row("1.2.3").state is StudyState.RECEIVING
        answers.set()
        wait_for(lambda: not asking.archive._lanes.busy("ORTHANC"))
        asking.completion.sweep(now=NOW + QUIET + SECOND)
    assert node.row("1.2.3").state is StudyState.QUEUED


def test_what_nobody_foresaw_of_the_archive_keeps_no_study_from_its_bell(node, monkeypatch):
    monkeypatch.setattr(Archive, "_ask", lambda *_: 1 // 0)
    node.arrive("1.2.3", "1.2.3.1")
    with node.asking(free_port()) as asking:
        asking.completion.sweep(now=NOW + QUIET)
        wait_for(lambda: not asking.archive._lanes.busy("ORTHANC"))
        node.arrive("1.2.4", "1.2.4.1", at=NOW - LONGEST)
        with pytest.raises(ZeroDivisionError):
            asking.completion.sweep(now=NOW + QUIET + SECOND)
    assert node.rung == ["1.2.4"]


class Counting(Archive):
    """Counts how often it was consulted."""

    consulted = 0

    def holds(self, *given, **named):
        self.consulted += 1
        return super().holds(*given, **named)


def more(query):
    """A study with an image that never comes."""
    if query.QueryRetrieveLevel == "SERIES":
        yield 0xFF00, match(QueryRetrieveLevel="SERIES", SeriesInstanceUID="1.2.3.9", Modality="MG")
    else:
        yield 0xFF00, match(QueryRetrieveLevel="IMAGE", SOPInstanceUID="9.9")


def test_a_study_that_waits_on_is_looked_at_now_and_then(node):
    node.arrive("1.2.3", "1.2.3.1")
    with archive_scp(more) as port, node.asking(port) as asking:
        asking.archive.close()
        asking.archive = asking.completion._archive = Counting(
            peer=Peer(ae_title="ORTHANC", host="127.0.0.1", port=port, timeout=2 * SECOND),
            calling_ae_title="MAMMOCALC",
            ask_again_after=QUIET,
        )
        asking.sweep(now=NOW + QUIET)
        before = asking.archive.consulted
        for tenth in range(100):
            asking.completion.sweep(now=NOW + QUIET + SECOND + tenth * timedelta(seconds=0.1))
        assert asking.archive.consulted - before == 2
        node.arrive("1.2.3", "9.9", at=NOW + QUIET + 12 * SECOND)
        asking.sweep(now=NOW + 2 * QUIET + 12 * SECOND)
        asking.archive.close()
    assert node.row("1.2.3").state is StudyState.QUEUED


def test_who_was_told_by_the_sender_asks_nobody(node):
    asked = []

    def answer(query):
        asked.append(query)
        return more(query)

    node.arrive("1.2.3", "1.2.3.1")
    with node.ledger.begin() as session:
        source = SignalSource.PROCEDURE_STEP
        record_signal(session, source, "1.9", "1.2.3", instances=["1.2.3.1"], finished=True, now=NOW)
    with archive_scp(answer) as port, node.asking(port) as asking:
        asking.completion.sweep(now=NOW + QUIET)
    assert node.row("1.2.3").state is StudyState.QUEUED
    assert asked == []


def test_an_association_that_ends_asks_nobody_and_explains_nothing(node):
    node.arrive("1.2.3", "1.2.3.1")
    before = node.row("1.2.3").reason
    with archive_scp(more) as port, node.asking(port) as asking:
        asking.completion.association_ended("1.2.3", now=NOW + SECOND)
        asking.completion.sweep(now=NOW + 2 * SECOND)
        assert asking.archive._wanted == {}
    assert (node.row("1.2.3").state, node.row("1.2.3").reason) == (StudyState.RECEIVING, before)


def test_the_archive_of_the_settings_is_asked(node, tmp_path):
    file = tmp_path / "mammocalc.toml"
    asked = []

    def answer(query):
        asked.append(query.StudyInstanceUID)
        yield 0x0000, None

    with archive_scp(answer) as port:
        file.write_text(
            f'[completion]\nquiet_period = "PT1S"\n[completion.ask]\nae_title = "ORTHANC"\n'
            f'host = "127.0.0.1"\nport = {port}\ntimeout = "PT2S"\n'
        )
        completion = make_completion(load_settings(NodeSettings, file), node.ledger)
        node.arrive("1.2.3", "1.2.3.1")
        completion.sweep(now=NOW + QUIET)
        wait_for(lambda: asked)
        completion.close()
    assert asked == ["1.2.3"]
    assert node.row("1.2.3").state is StudyState.RECEIVING


def test_without_one_in_the_settings_nobody_is_asked(node, tmp_path):
    file = tmp_path / "mammocalc.toml"
    file.write_text("")
    completion = make_completion(load_settings(NodeSettings, file), node.ledger)
    node.arrive("1.2.3", "1.2.3.1")
    assert completion._archive is None
    completion.close()


uids = st.sampled_from("abcdef")
arrived = st.builds(
    ArrivedView,
    sop_class_uid=st.sampled_from([FOR_PRESENTATION, FOR_PROCESSING]),
    modality=st.just("MG"),
    view=st.none(),
)


@given(st.dictionaries(uids, arrived, min_size=1), st.dictionaries(uids, st.just("")))
def test_an_archive_has_more_exactly_where_it_names_something_that_is_not_here(images, classes):
    said = compare(images, ArchiveList(name="A", classes=classes))
    assert said.more == bool(classes.keys() - images.keys())


@given(
    st.dictionaries(uids, arrived, min_size=1),
    st.dictionaries(uids, st.sampled_from([FOR_PROCESSING, "1.2.3"])),
)
def test_what_is_of_a_class_that_never_came_is_not_waited_for(images, classes):
    if all(image.sop_class_uid == FOR_PRESENTATION for image in images.values()):
        assert not compare(images, ArchiveList(name="A", classes=classes)).more
