"""The console's facts as JSON, for other programs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel
from sqlalchemy import text

from mammography import __version__
from mammography.ledger.engine import Ledger
from mammography.study import StudyState
from node.console.facts import RefusalList, StudyFacts, StudyList
from node.console.lookup import refusal_list, study_list
from node.console.one_study import study_facts

MOST_PAGES = 100_000
"""Beyond it nobody turns pages; a larger number is a mistake."""

PageNumber = Annotated[int, Query(ge=1, le=MOST_PAGES, description="Page of 100 rows, from 1.")]
States = Annotated[list[StudyState], Query(description="Only studies in these states; may be repeated.")]

UNKNOWN_STUDY = "The ledger knows no study of this Study Instance UID."


class Health(BaseModel):
    """That the console answers and the ledger can be read."""

    status: str
    version: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The JSON side of the console."""

    ledger: Ledger
    data_dir: Path
    node_name: str

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        router.add_api_route("/api/studies", self.studies, response_model=StudyList)
        router.add_api_route("/api/studies/{study_instance_uid}", self.study, response_model=StudyFacts)
        router.add_api_route("/api/refusals", self.refusals, response_model=RefusalList)
        router.add_api_route("/healthz", self.health, response_model=Health)
        return router

    def studies(self, state: States = [], page: PageNumber = 1) -> StudyList:  # noqa: B006 - FastAPI copies it
        """List studies, those that were sent last first."""
        with self.ledger.read() as session:
            return study_list(session, node=self.node_name, states=state, page=page, now=datetime.now(UTC))

    def study(self, study_instance_uid: str) -> StudyFacts:
        """Say everything that the ledger knows of one study."""
        with self.ledger.read() as session:
            facts = study_facts(session, study_instance_uid, data_dir=self.data_dir)
        if facts is None:
            raise HTTPException(404, UNKNOWN_STUDY)
        return facts

    def refusals(self, page: PageNumber = 1) -> RefusalList:
        """List the instances that were not accepted, newest first."""
        with self.ledger.read() as session:
            return refusal_list(session, data_dir=self.data_dir, page=page, now=datetime.now(UTC))

    def health(self) -> Health:
        """Say that the console is up; 503 where the ledger cannot be read."""
        with self.ledger.read() as session:
            session.execute(text("SELECT 1 FROM study WHERE 1 = 0"))
        return Health(status="ok", version=__version__, node=self.node_name)
