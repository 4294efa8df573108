"""The console's pages, rendered here and read only."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from mammography import __version__
from mammography.ledger.alarms import ABOUT_STUDIES
from mammography.ledger.engine import Ledger
from mammography.study import StudyState
from node.console import wording
from node.console.api import UNKNOWN_STUDY, PageNumber, States
from node.console.facts import ImageFacts, StudyList
from node.console.lookup import HANGING, refusal_list, study_list
from node.console.one_study import picture_file, study_facts

REFRESH = timedelta(seconds=5)
"""How often an open page asks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hanging:
    """A study's images as mammograms hang: four places, right breast at the left side, and what is beside."""

    places: dict[str, list[ImageFacts]]
    """R CC, L CC, R MLO, L MLO; empty where no such image arrived."""
    beside: list[ImageFacts]


def hang(images: list[ImageFacts]) -> Hanging:
    """Return where images hang: an image that was not read leaves its place to one of the view that was."""
    places = {view: [image for image in images if image.view == view] for view in HANGING}
    for view, of_view in places.items():
        places[view] = [image for image in of_view if image.status == "read"] or of_view
    hung = {image.sop_instance_uid for of_view in places.values() for image in of_view}
    return Hanging(places=places, beside=[each for each in images if each.sop_instance_uid not in hung])


def _environment() -> Environment:
    """Return the templates: everything that they print is escaped, and a missing name is a defect."""
    environment = Environment(
        loader=PackageLoader("node.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": wording.age,
        "day": wording.day,
        "local": wording.local,
        "universal": wording.universal,
        "size": wording.size,
        "plural": wording.plural,
    }
    environment.globals |= {
        "meaning": wording.MEANING,
        "delivery_meaning": wording.DELIVERY_MEANING,
        "version": __version__,
        "screening_set": HANGING,
        "study_alarms": ABOUT_STUDIES,
        "refresh_seconds": int(REFRESH.total_seconds()),
    }
    return environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """The pages of one node's console."""

    ledger: Ledger
    data_dir: Path
    node_name: str
    destinations: tuple[str, ...]
    templates: Environment = field(default_factory=_environment)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
        router.add_api_route("/", self.studies)
        router.add_api_route("/studies/{study_instance_uid}", self.study)
        router.add_api_route(
            "/studies/{study_instance_uid}/pictures/r{revision}/{sop_instance_uid}.png", self.picture
        )
        router.add_api_route("/refusals", self.refusals)
        return router

    def studies(self, state: States = [], page: PageNumber = 1) -> HTMLResponse:  # noqa: B006 - FastAPI copies it
        """Show the list of studies."""
        now = datetime.now(UTC)
        with self.ledger.read() as session:
            facts = study_list(session, node=self.node_name, states=state, page=page, now=now)
        return self._page(
            "studies.html",
            now=now,
            here="studies",
            trained_on=facts.trained_on,
            list=facts,
            previous_page=_studies_address(facts, facts.page - 1) if facts.page > 1 else None,
            next_page=_studies_address(facts, facts.page + 1) if facts.more else None,
        )

    def study(self, study_instance_uid: str) -> HTMLResponse:
        """Show one study: its way, its pictures, its findings, its objects and its history."""
        with self.ledger.read() as session:
            facts = study_facts(session, study_instance_uid, data_dir=self.data_dir)
        if facts is None:
            raise HTTPException(404, UNKNOWN_STUDY)
        return self._page(
            "study.html",
            now=datetime.now(UTC),
            here="study",
            trained_on=[facts.reader.trained_on] if facts.reader else [],
            facts=facts,
            hanging=hang(facts.images),
            found=[image for image in facts.images if image.findings],
            not_read=[image for image in facts.images if image.status == "not-read"],
            deliveries=sum(len(each.deliveries) for each in facts.objects),
        )

    def picture(self, study_instance_uid: str, revision: int, sop_instance_uid: str) -> FileResponse:
        """Serve the picture of one image."""
        file = picture_file(self.data_dir, study_instance_uid, revision, sop_instance_uid)
        if file is None:
            raise HTTPException(404, "There is no such picture.")
        return FileResponse(file, media_type="image/png", headers={"Cache-Control": "private, no-cache"})

    def refusals(self, page: PageNumber = 1) -> HTMLResponse:
        """Show what was not accepted."""
        now = datetime.now(UTC)
        with self.ledger.read() as session:
            facts = refusal_list(session, data_dir=self.data_dir, page=page, now=now)
        return self._page(
            "refusals.html",
            now=now,
            here="refusals",
            trained_on=[],
            list=facts,
            previous_page=f"/refusals?page={page - 1}" if page > 1 else None,
            next_page=f"/refusals?page={page + 1}" if facts.more else None,
        )

    def problem(self, status: int, sentence: str) -> HTMLResponse:
        """Return a page that says one sentence."""
        page = self._page(
            "problem.html",
            now=datetime.now(UTC),
            here="problem",
            trained_on=[],
            status=status,
            sentence=sentence,
        )
        page.status_code = status
        return page

    def _page(
        self, template: str, *, now: datetime, here: str, trained_on: list[str], **values: object
    ) -> HTMLResponse:
        rendered = self.templates.get_template(template).render(
            node_name=self.node_name,
            destinations=self.destinations,
            now=now,
            here=here,
            trained_on=trained_on,
            **values,
        )
        return HTMLResponse(rendered)


def _studies_address(facts: StudyList, page: int) -> str:
    """Return the address of another page of the same list, its filter kept."""
    return "/?" + urlencode([*(("state", StudyState(state)) for state in facts.states), ("page", page)])
