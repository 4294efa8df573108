"""What limits a reader study's conclusions, as far as its tables show it."""

from collections.abc import Iterator

import numpy as np

from lab.readerstudy.arms import Options
from lab.readerstudy.multireader import ENOUGH_READERS
from lab.readerstudy.readings import Study
from lab.readerstudy.tables import Condition, StudyTables


def notes_on(study: Study, tables: StudyTables, options: Options) -> tuple[str, ...]:
    """Return the limitations that the tables show, each a sentence or two."""
    return (*_on_truth(study, tables, options), *_on_reads(study, tables), *_on_model(study))


def _on_truth(study: Study, tables: StudyTables, options: Options) -> Iterator[str]:
    """Yield what the truth leaves open."""
    bases = sorted({row.basis for row in tables.truth})
    if "phantom" in bases:
        yield (
            "Cases are synthetic phantoms: malignant means that a suspicious morphology was drawn. No figure here "
            "says anything of patients."
        )
    if "" in bases:
        yield "The tables do not say on what the truth of some cases rests (column basis)."
    units = study.units(options.level)
    yield (
        f"{units.positive.mean():.0%} of the {options.level}s are malignant: predictive values hold at this share alone, "
        "and readers who know of an enriched set may read otherwise than in their practice."
    )
    if options.level == "lesion":
        yield (
            "Lesions are judged, not women: specificity is that of benign lesions, and a lesion that nobody marked "
            "counts as called benign with the lowest score."
        )


def _on_reads(study: Study, tables: StudyTables) -> Iterator[str]:
    """Yield what the readings leave open."""
    both = [reader for reader in study.readers if all(study.reading(reader, each) for each in Condition)]
    if len(both) < len(study.readers):
        yield (
            f"{len(study.readers) - len(both)} of {len(study.readers)} readers did not read both with and without the "
            "model; they enter no comparison of the two."
        )
    if 0 < len(both) < ENOUGH_READERS:
        yield (
            f"{len(both)} {'readers are' if len(both) > 1 else 'reader is'} too few to speak of readers in general: "
            "the inference with fixed readers and random cases is the one to trust, and it holds for these readers."
        )
    crossed = (
        np.all([each.cases.read for each in study.readings if each.reader in both], axis=0) if both else None
    )
    if crossed is not None and not crossed.any():
        yield (
            "No case was read by every reader both ways, as where every site has readers of its own: no test goes over all "
            "readers."
        )
    elif crossed is not None and not crossed.all():
        yield (
            f"{int((~crossed).sum())} of {len(crossed)} cases were not read by every reader both ways; the tests over all "
            "readers leave them out."
        )
    sessions = {row.session for row in tables.reads}
    if None in sessions or len(sessions) < 2:
        yield (
            "The tables name no two reading sessions: whether cases were forgotten between readings with and without "
            "the model (wash-out) and whether the order was random cannot be told."
        )


def _on_model(study: Study) -> Iterator[str]:
    """Yield what the model's figures leave open."""
    if study.model is None:
        yield "The model was not measured alone."
    elif not study.model.cases.read.all():
        count = int((~study.model.cases.read).sum())
        yield f"The model says nothing of {count} cases; its figures leave them out, which may flatter it."
