"""What the pages show of the studies."""

import re
from datetime import timedelta

import pytest

from mammography.finding import Assessment, FindingAssessment
from mammography.ledger.deliveries import due, mark_sent
from mammography.ledger.studies import instances_of
from mammography.ledger.tables import InstanceRow, StudyRow
from mammography.study import StudyEvent, StudyState
from mammography.view import Laterality, View, ViewPosition

RIGHT_CC = View(laterality=Laterality.RIGHT, position=ViewPosition.CC)
STATES = [state.value for state in StudyState]


def words(html: str) -> str:
    """The text of a page as a person reads it, without tags and with single spaces."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def tiles(html: str) -> dict[str, int]:
    return {
        state: int(count) for state, count in re.findall(r'data-state="([a-z]+)" data-count="(\d+)"', html)
    }


def rows(html: str) -> list[str]:
    return [words(row) for row in re.findall(r'<tr id="study-\d+">(.*?)</tr>', html, re.DOTALL)]


def section(html: str, name: str) -> str:
    found = re.search(rf'<section[^>]* id="{name}".*?</section>', html, re.DOTALL)
    assert found is not None, f"The page has no section {name}."
    return found[0]


def test_every_state_is_counted_and_every_study_is_listed(console):
    page = console.get("/").text
    assert tiles(page) == dict.fromkeys(STATES, 1)
    assert sorted(row.split()[0] for row in rows(page)) == sorted(STATES)


def test_states_without_studies_are_shown_as_zero(empty_console):
    page = empty_console.get("/")
    assert page.status_code == 200
    assert tiles(page.text) == dict.fromkeys(STATES, 0)
    assert "No study has arrived yet. Send one to the AE title MAMMOCALC" in words(page.text)


def test_studies_are_listed_newest_first(console):
    accessions = re.findall(r"24-10\d\d|none stated|&lt;script&gt;", " ".join(rows(console.get("/").text)))
    assert accessions == [
        *("24-1001", "24-1002", "&lt;script&gt;", "24-1004", "24-1005"),
        *("none stated", "24-1006", "24-1007", "24-1009"),
    ]


@pytest.mark.parametrize("state", STATES)
def test_a_filter_shows_one_state_and_the_counts_of_all(console, state):
    page = console.get("/", params={"state": state}).text
    assert [row.split()[0] for row in rows(page)] == [state]
    assert tiles(page) == dict.fromkeys(STATES, 1)
    assert re.findall(r'aria-current="true" data-state="([a-z]+)"', page) == [state]


def test_a_state_that_there_is_not_is_answered_in_a_sentence(console):
    answer = console.get("/", params={"state": "lost"})
    assert answer.status_code == 422
    sentence = "The address asks for something that there is not: state cannot be &#39;lost&#39;."
    assert sentence in words(answer.text)


def test_a_line_says_how_long_what_came_from_whom_and_what_was_found(console):
    line = {row.split()[0]: row for row in rows(console.get("/").text)}
    assert re.fullmatch(
        r"receiving \d+ (s|min) 24-1001 [\d:]+ 2 R CC L CC MAMMO_1 – L CC arrived from MAMMO_1\.",
        line["receiving"],
    )
    assert re.search(r"\d+ min 24-1002", line["queued"])
    assert "4 screening set MAMMO_2" in line["queued"]
    assert "no findings 4 images were read." in line["read"]
    assert "no findings 1 not read" in line["delivered"]
    assert re.search(r"2[67] h 24-1007", line["committed"])
    assert "2 suspicious 1 benign 1 not read" in line["committed"]


def test_a_hostile_accession_number_is_text_on_every_page(console, uid_of):
    for path in ("/", f"/studies/{uid_of('1003')}", "/refusals"):
        page = console.get(path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script>alert" not in page


def test_times_are_local_and_carry_their_utc(console, filled):
    page = console.get("/").text
    at = filled.now - timedelta(seconds=20)
    assert f'title="{at:%Y-%m-%d %H:%M:%S} UTC">{at.astimezone():%H:%M:%S}</time>' in page or (
        f">{at.astimezone():%Y-%m-%d %H:%M:%S}</time>" in page
    )


def test_every_page_says_that_this_is_no_medical_device(console, uid_of):
    for path in ("/", "/refusals", "/nowhere", f"/studies/{uid_of('1001')}", f"/studies/{uid_of('1007')}"):
        assert "Research software. Not a medical device." in words(console.get(path).text)
    for path in ("/", f"/studies/{uid_of('1007')}"):
        assert "Reader trained on: Synthetic images (phantom) alone." in words(console.get(path).text)


def test_lists_turn_by_the_hundred_and_keep_their_filter(empty, empty_console):
    for number in range(101):
        empty.arrive(f"{number:03}", views=[RIGHT_CC], at=empty.now - timedelta(minutes=number))
    first = empty_console.get("/", params={"state": "receiving"}).text
    assert len(rows(first)) == 100
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older is not None
    second = empty_console.get(older[1].replace("&amp;", "&")).text
    assert [row.split()[3] for row in rows(second)] == ["24-100"]
    assert re.findall(r'aria-current="true" data-state="([a-z]+)"', second) == ["receiving"]
    assert 'rel="prev"' in second
    assert 'rel="next"' not in second


def test_the_way_of_a_finished_study_is_all_passed(console, uid_of):
    page = section(console.get(f"/studies/{uid_of('1007')}").text, "head")
    steps = re.findall(r'<li class="(\w+) (past|current|ahead)"', page)
    assert steps == [
        *[(state, "past") for state in ("receiving", "queued", "reading", "read", "reported", "delivered")],
        ("committed", "current"),
    ]
    assert "read after 9 s" in words(page)
    assert "Last image to answer 13.0 s" in words(page)


def test_the_way_of_a_failed_study_ends_where_it_failed(console, uid_of):
    page = section(console.get(f"/studies/{uid_of('1009')}").text, "head")
    steps = re.findall(r'<li class="(\w+) (past|current|ahead)"', page)
    assert steps[4:] == [
        ("reported", "past"),
        ("failed", "current"),
        ("delivered", "ahead"),
        ("committed", "ahead"),
    ]
    assert "archive took nothing for 3 days: repair it, then run mammocalc study retry." in words(page)


def test_pictures_hang_with_the_right_breast_at_the_left_side(console, uid_of):
    page = section(console.get(f"/studies/{uid_of('1007')}").text, "pictures")
    assert re.findall(r'<div class="place (right|left)">', page) == ["right", "left"] * 2
    assert re.findall(r"<figcaption><b>([^<]+)</b>", page) == ["R CC", "L CC", "R MLO", "L MLO"]
    assert "Not read. The image states no pixel spacing." in words(page)
    for address in re.findall(r'<img src="([^"]+)"', page):
        picture = console.get(address)
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
        assert picture.content.startswith(b"\x89PNG")
    assert len(re.findall(r"<img ", page)) == 3


def test_a_view_that_has_not_arrived_and_a_picture_that_is_not_there_are_said(console, uid_of):
    arriving = words(section(console.get(f"/studies/{uid_of('1001')}").text, "pictures"))
    assert "No R MLO has arrived." in arriving
    assert "Received; not read yet. R CC" in arriving
    undrawn = words(section(console.get(f"/studies/{uid_of('1004')}").text, "pictures"))
    assert undrawn.count("No picture of it has been drawn.") == 4


def test_findings_are_listed_per_image_with_all_that_the_reader_said(console, uid_of):
    page = words(section(console.get(f"/studies/{uid_of('1007')}").text, "findings"))
    assert "R CC 1 suspicious 0.93 0.82 fine pleomorphic grouped 7 1204, 1460 R MLO 1" in page
    assert "2 benign 0.71 0.08 not stated not stated 3 640, 2210 –" in page
    assert "R MLO 1 suspicious 0.93 0.82 fine pleomorphic grouped 9 1100, 1711 R CC 1" in page
    assert "Remarks Image What lowers the trust in its reading R CC The breast has an implant." in page
    assert "Not read Image Reason L MLO The image states no pixel spacing." in page
    assert "Mammocalc reader 0.1.0" in page


def test_a_reading_without_findings_says_so(console, uid_of):
    page = words(section(console.get(f"/studies/{uid_of('1004')}").text, "findings"))
    assert "No calcifications were found on the images that were read." in page


def test_deliveries_are_shown_with_state_attempts_and_reason(console, uid_of):
    waiting = words(section(console.get(f"/studies/{uid_of('1005')}").text, "objects"))
    assert "Mammography CAD SR Storage cad-sr, revision 1" in waiting
    assert "archive does not answer at 10.0.3.7:104: connection refused." in waiting
    assert len(re.findall(r"archive pending 1 ", waiting)) == 3
    assert len(re.findall(r"pacs sent 1 ", waiting)) == 3
    kept = words(section(console.get(f"/studies/{uid_of('1007')}").text, "objects"))
    assert len(re.findall(r"pacs committed 1 ", kept)) == 3


def test_what_a_destination_warned_of_and_which_files_were_deleted_are_shown(empty, empty_console, judged):
    study = judged(empty, "warned")
    empty.report(study, empty.now - timedelta(minutes=5))
    with empty.ledger.begin() as session:
        (first, *_) = due(session, destination="pacs", now=empty.now)
        mark_sent(session, first.number, now=empty.now, warning="pacs answered B000H (Warning).")
        session.get_one(InstanceRow, instances_of(session, study)[0].sop_instance_uid).deleted_at = empty.now
    page = empty_console.get(f"/studies/{study}").text
    assert "pacs sent 1" in words(section(page, "objects"))
    assert words(section(page, "objects")).count("pacs answered B000H (Warning).") == 1
    assert words(section(page, "instances")).count("17.0 MB deleted") == 1
    said = empty_console.get(f"/api/studies/{study}").json()
    assert [bool(each["deleted_at"]) for each in said["instances"]].count(True) == 1


def test_instances_and_history_are_shown_with_reasons(console, uid_of):
    page = console.get(f"/studies/{uid_of('1009')}").text
    instances = words(section(page, "instances"))
    assert instances.count("Digital Mammography X-Ray Image Storage - For Presentation") == 4
    assert instances.count("17.0 MB MAMMO_1") == 4
    history = words(section(page, "history"))
    assert "gave up reported → failed 1 archive took nothing for 3 days" in history
    assert "judged complete receiving → queued 1 A full screening set is here." in history


def test_refused_instances_are_shown_newest_first(console):
    page = words(console.get("/refusals").text)
    assert "MAMMO_9 The data set states no Study Instance UID. not stated" in page
    assert page.index("is no lawful UID") < page.index("states no Study Instance UID")


def test_callers_who_were_turned_away_are_shown_with_what_lets_them_in(console):
    page = words(console.get("/refusals").text)
    assert "MAMMO_1 10.0.3.0 MAMOCALC called AE title not recognized 3 it must call MAMMOCALC" in page
    assert (
        "MAMMO_7 10.0.3.1 MAMMOCALC calling AE title not recognized 3 "
        '[[callers]] ae_title = "MAMMO_7" host = "10.0.3.1"'
    ) in page
    assert "MAMMO_7" not in console.get("/refusals?page=2").text


def test_an_unknown_study_and_an_unknown_page_are_answered_in_a_sentence(console):
    unknown = console.get("/studies/1.2.3")
    assert unknown.status_code == 404
    assert "The ledger knows no study of this Study Instance UID." in words(unknown.text)
    nowhere = console.get("/nowhere")
    assert nowhere.status_code == 404
    assert "There is no such page." in words(nowhere.text)


def test_after_a_late_image_the_older_answer_stays_and_is_called_older(empty, empty_console, judged):
    study = judged(empty, "late")
    empty.report(study, empty.now - timedelta(minutes=5))
    empty.arrive("late", views=[RIGHT_CC], at=empty.now, intent="PROCESSING")
    with empty.ledger.read() as session:
        row = session.get_one(StudyRow, study)
        assert (row.state, row.revision) == (StudyState.RECEIVING, 2)
    page = empty_console.get(f"/studies/{study}").text
    assert "of revision 1; revision 2 is on its way" in words(section(page, "findings"))
    assert "(revision 1)" in rows(empty_console.get("/").text)[0]
    assert re.findall(r'<li class="(\w+) (?:past|current)"', page) == ["receiving"]


def test_an_image_that_was_not_read_leaves_its_place_to_the_one_that_was(empty, empty_console, judged):
    empty.arrive("twice", views=[RIGHT_CC], at=empty.now, intent="PROCESSING")
    study = judged(empty, "twice")
    page = section(empty_console.get(f"/studies/{study}").text, "pictures")
    hanging, beside = page.split("Further images")
    assert re.findall(r"<figcaption><b>([^<]+)</b>", hanging) == ["R CC", "L CC", "R MLO", "L MLO"]
    assert "not read" not in words(hanging).lower()
    assert re.findall(r"<figcaption><b>([^<]+)</b>", beside) == ["R CC"]


def test_a_step_back_forgets_the_steps_after_it(empty, empty_console):
    study = empty.arrive("back", at=empty.now - timedelta(minutes=9))
    empty.complete(study, empty.now - timedelta(minutes=8))
    empty.take(study, empty.now - timedelta(minutes=7))
    empty.go(study, StudyState.READING, StudyEvent.LEASE_EXPIRED, "worker-1 went silent.", empty.now)
    page = empty_console.get(f"/studies/{study}").text
    assert re.findall(r'<li class="(\w+) (past|current)"', page) == [
        ("receiving", "past"),
        ("queued", "current"),
    ]


@pytest.fixture
def judged(said_of):
    """Bring a study through a reading that found one suspicious cluster."""

    def bring(node, name: str) -> str:
        start = node.now - timedelta(minutes=10)
        study = node.arrive(name, at=start)
        node.complete(study, start)
        node.take(study, start)
        said: Assessment = said_of(name, start)
        assert said.images[0].findings[0].assessment is FindingAssessment.SUSPICIOUS
        node.say(study, said, start + timedelta(seconds=9))
        return study

    return bring


def test_an_alarm_is_at_the_top_with_what_ends_it(console, uid_of):
    alarms = section(console.get("/").text, "alarms")
    assert "2 times" in words(alarms)
    assert "Two images came" in words(alarms)
    assert f'href="/studies/{uid_of("1003")}"' in alarms
    assert "mammocalc alarm seen 1" in words(alarms)


def test_where_nothing_is_wrong_no_alarm_is_shown(empty_console):
    assert "Alarm" not in words(section(empty_console.get("/").text, "alarms"))


def test_refused_bytes_that_are_still_kept_are_named(filled, console):
    page = words(console.get("/refusals").text)
    assert "quarantine/" not in page, "it made room"
    folder = filled.data_dir / "quarantine"
    folder.mkdir(exist_ok=True)
    (folder / "20260301T120000.dcm").write_bytes(b"kept")
    try:
        assert "quarantine/20260301T120000.dcm" in words(console.get("/refusals").text)
    finally:
        (folder / "20260301T120000.dcm").unlink()
