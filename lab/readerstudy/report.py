"""What the report of a reader study says, block by block, whatever page it stands on; and the same as JSON."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from matplotlib.figure import Figure

from lab.evaluation.statistics import Interval
from lab.readerstudy.analysis import Analysis
from lab.readerstudy.arms import Options
from lab.readerstudy.multireader import ENOUGH_READERS, SiteFigures
from lab.readerstudy.proportions import Proportion
from lab.readerstudy.tables import MODEL_FILE, READS_FILE, TRUTH_FILE

RANDOM = {
    "readers-and-cases": "other readers, other cases",
    "cases": "these readers, other cases",
    "readers": "other readers, these cases",
}
"""To what a result generalises, in words."""
VERDICT = {None: "–", True: "yes", False: "not shown"}
"""Whether the first way is not inferior to the second, in words; none without a margin."""
PACKAGES = ("mammocalc", "numpy", "scipy", "statsmodels", "matplotlib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: the cells of its head and of its rows, in words."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report: paragraphs, then tables, then plots."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: Mapping[str, Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where figures come from: the command, and every table's SHA-256."""

    command: str
    tables: Mapping[str, str]
    versions: Mapping[str, str]


def provenance(folders: Sequence[Path], command: str) -> Provenance:
    """Return where the figures of some folders' tables come from."""
    files = [folder / name for folder in folders for name in (READS_FILE, TRUTH_FILE, MODEL_FILE)]
    return Provenance(
        command=command,
        tables={
            f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
        },
        versions={package: version(package) for package in PACKAGES},
    )


def as_json(analysis: Analysis, options: Options, source: Provenance) -> str:
    """Return everything as JSON; an interval becomes value, low and high, what is undefined or infinite null."""
    told = {"provenance": asdict(source), "options": asdict(options), "analysis": asdict(analysis)}
    return json.dumps(_plain(told), indent=2)


def _plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    if isinstance(value, Interval):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return round(value, 8) if math.isfinite(value) else None
    return value


def interval(value: Interval | None, digits: int = 3) -> str:
    """Return a value and its interval: "0.812 [0.750, 0.862]"."""
    if value is None or math.isnan(value.value):
        return "–"
    bounds = "–" if math.isnan(value.low) else f"{value.low:.{digits}f}, {value.high:.{digits}f}"
    return f"{value.value:.{digits}f} [{bounds}]"


def share(value: Proportion | None) -> str:
    """Return a share with its counts and both intervals."""
    if value is None or not value.total:
        return "–"
    low, high = (100 * bound for bound in value.wilson)
    exact_low, exact_high = (100 * bound for bound in value.clopper_pearson)
    return (
        f"{100 * value.value:.1f} % ({value.successes}/{value.total}) W [{low:.1f}, {high:.1f}] "
        f"CP [{exact_low:.1f}, {exact_high:.1f}]"
    )


def p_value(p: float) -> str:
    """Return a P value as journals print it."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def sections_of(
    analysis: Analysis, options: Options, source: Provenance, plots: Mapping[str, Figure]
) -> list[Section]:
    """Return the report."""
    level = analysis.level
    model = f" Model: {analysis.model_name}." if analysis.model_name else ""
    head = (
        f"{len(analysis.readers)} readers ({', '.join(analysis.readers)}); {analysis.cases} cases of "
        f"{analysis.patients} patients with {analysis.lesions} lesions. Judged is the {level}: {analysis.positive} of "
        f"{analysis.units} are malignant.{model}"
    )
    return [
        Section(
            title="Does the model help?",
            paragraphs=(head, *_answer(analysis)),
            tables=tuple(_multi_reader(analysis)),
            plots=plots,
        ),
        Section(
            title="Every way to read",
            paragraphs=(
                (
                    "Sensitivity, specificity and predictive values of positive calls; W: Wilson's interval, CP: that of "
                    "Clopper and Pearson. Missed: lesions that were not marked, benign ones too."
                ),
            ),
            tables=(*_arms(analysis), *_predicted(analysis, options)),
            plots={},
        ),
        Section(title="Compared", tables=tuple(_comparisons(analysis)), plots={}),
        Section(title="Agreement between readers", tables=tuple(_agreement(analysis)), plots={}),
        Section(
            title="Subgroups",
            paragraphs=(
                (
                    "All readers together; intervals by patient, as a patient's findings and their readings are alike. "
                    "Nothing here was tested: differences between subgroups are for the next study to test."
                ),
            ),
            tables=tuple(_subgroups(analysis)),
            plots={},
        ),
        Section(title="Limitations", paragraphs=analysis.notes, plots={}),
        Section(title="Methods", paragraphs=tuple(_methods(options, source)), plots={}),
    ]


def _answer(analysis: Analysis) -> tuple[str, ...]:
    """Return the main result in a sentence: the area with fixed readers, or with random ones where there are enough."""
    of_area = [row for row in analysis.multi_reader if row.figure.startswith("area")]
    together = [row for row in analysis.sites if row.heterogeneity_p is not None]
    if not of_area and together:
        return (_of_sites(together[0]),)
    if not of_area:
        return (
            "No readers read the same cases with and without the model, so whether it helps cannot be told.",
        )
    row = of_area[0]
    if row.readers < ENOUGH_READERS:
        row = next(each for each in of_area if each.random == "cases")
    margin = {
        None: "",
        True: " Within the margin, reading with the model is not inferior.",
        False: " That reading with the model is not inferior is not shown.",
    }[row.non_inferior]
    return (
        (
            f"The mean area under the ROC curve of {row.readers} readers was {row.with_model.value:.3f} with the model and "
            f"{row.without_model.value:.3f} without: a difference of {interval(row.difference)}, P {_equals(row.p)} "
            f"({RANDOM[row.random]}).{margin}"
        ),
    )


def _of_sites(row: SiteFigures) -> str:
    """Return the weighted mean of sites whose readers read different cases."""
    return (
        f"Every site has readers of its own. Over all sites, {row.readers} readers had an area under the ROC curve that "
        f"differed by {interval(row.difference)} with less without the model, P {_equals(row.p)} ({RANDOM[row.random]})."
    )


def _equals(p: float) -> str:
    """Return a P value behind its sign."""
    return p_value(p) if p_value(p).startswith("<") else f"= {p_value(p)}"


def _multi_reader(analysis: Analysis) -> Iterable[Table]:
    """Yield the tables over all readers and over sites."""
    if analysis.multi_reader:
        yield Table(
            title="All readers, with and without the model (Obuchowski and Rockette)",
            head=("figure", "holds for", "with", "without", "difference", "F", "ddf", "P", "non-inferior"),
            rows=tuple(
                (
                    f"{row.figure}, n = {row.units}",
                    RANDOM[row.random],
                    interval(row.with_model),
                    interval(row.without_model),
                    interval(row.difference),
                    f"{row.f:.2f}",
                    "∞" if math.isinf(row.ddf) else f"{row.ddf:.1f}",
                    p_value(row.p),
                    VERDICT[row.non_inferior],
                )
                for row in analysis.multi_reader
            ),
        )
    if analysis.sites:
        yield Table(
            title="Area under the ROC curve, site by site: with less without the model",
            head=("site", "readers", "n", "holds for", "difference", "P", "P of heterogeneity"),
            rows=tuple(
                (
                    row.site,
                    str(row.readers),
                    str(row.units),
                    RANDOM[row.random],
                    interval(row.difference),
                    p_value(row.p),
                    "–" if row.heterogeneity_p is None else p_value(row.heterogeneity_p),
                )
                for row in analysis.sites
            ),
        )


def _arms(analysis: Analysis) -> Iterable[Table]:
    """Yield what every way to read is worth."""
    yield Table(
        title=f"Calls on {analysis.level}s",
        head=("reading", "n", "sensitivity", "specificity", "PPV", "NPV"),
        rows=tuple(
            (
                arm.name,
                str(arm.units),
                share(arm.accuracy.sensitivity),
                share(arm.accuracy.specificity),
                share(arm.accuracy.positive_predictive_value),
                share(arm.accuracy.negative_predictive_value),
            )
            for arm in analysis.arms
        ),
    )
    yield Table(
        title="Areas and misses",
        head=("reading", "area (DeLong)", "malignant missed", "lesions missed", "false marks per case"),
        rows=tuple(
            (
                arm.name,
                interval(arm.area),
                share(arm.accuracy.miss_rate),
                share(arm.missed),
                "–" if arm.false_marks is None else f"{arm.false_marks:.2f}",
            )
            for arm in analysis.arms
        ),
    )


def _predicted(analysis: Analysis, options: Options) -> Iterable[Table]:
    """Yield the predictive values at the prevalence that was asked for."""
    if options.prevalence is not None:
        yield Table(
            title=f"Predictive values where {100 * options.prevalence:g} % of the {analysis.level}s are malignant",
            head=("reading", "PPV", "NPV"),
            rows=tuple(
                (arm.name, *(interval(value, 4) for value in arm.predicted))
                for arm in analysis.arms
                if arm.predicted is not None
            ),
        )


def _comparisons(analysis: Analysis) -> Iterable[Table]:
    """Yield the paired comparisons, figure by figure."""
    for figure in dict.fromkeys(each.figure for each in analysis.comparisons):
        yield Table(
            title=f"{figure[0].upper()}{figure[1:]}: first less second",
            head=(
                "first",
                "second",
                "n",
                "difference",
                "only first / only second",
                "P",
                "P (Holm)",
                "non-inferior",
            ),
            rows=tuple(
                (
                    each.first,
                    each.second,
                    str(each.units),
                    interval(each.difference),
                    "–" if each.apart is None else f"{each.apart[0]} / {each.apart[1]}",
                    p_value(each.p),
                    p_value(each.p_holm),
                    VERDICT[each.non_inferior],
                )
                for each in analysis.comparisons
                if each.figure == figure
            ),
        )


def _agreement(analysis: Analysis) -> Iterable[Table]:
    """Yield the kappas."""
    if analysis.agreement:
        yield Table(
            title="Cohen's kappa of calls, and quadratically weighted of categories",
            head=("readers", "condition", "n", "calls", "categories"),
            rows=tuple(
                (
                    f"{each.first}, {each.second}",
                    f"{each.condition} the model",
                    str(each.units),
                    interval(each.calls, 2),
                    interval(each.weighted, 2),
                )
                for each in analysis.agreement
            ),
        )


def _subgroups(analysis: Analysis) -> Iterable[Table]:
    """Yield one table for everything that cases are grouped by."""
    for group in dict.fromkeys(row.group for row in analysis.subgroups):
        yield Table(
            title=f"By {group}",
            head=(group, "reading", "n", "area", "sensitivity", "specificity", "lesions", "missed"),
            rows=tuple(
                (
                    row.kind,
                    row.reading,
                    str(row.units),
                    interval(row.area),
                    interval(row.sensitivity),
                    interval(row.specificity),
                    str(row.lesions),
                    interval(row.missed),
                )
                for row in analysis.subgroups
                if row.group == group
            ),
        )


def _methods(options: Options, source: Provenance) -> Iterable[str]:
    """Yield how everything was computed, by what, and from which tables."""
    yield (
        "Calls: BI-RADS 0, 4 and 5 are positive, as is what the model calls so; without category or call, a score of "
        f"{options.positive_score:g} and more. Scores order cases for the ROC curve; categories without score stand in "
        "their order, a recall (0) between 3 and 4A. A case is as suspicious as its worst line. A lesion that a reader "
        "did not mark is scored 0."
    )
    yield (
        "Proportions: Wilson (1927) and Clopper and Pearson (1934). Areas: the empirical ROC curve with DeLong's variance "
        "(1988), by patient where patients have several units (Obuchowski 1997). Pairs: McNemar's exact test, Tango's "
        "interval (1998), DeLong's test; Holm's adjustment within each figure. All readers: Obuchowski and Rockette "
        "(1995) with jackknife covariances over patients and Hillis' degrees of freedom (2007), on what every reader read "
        "both ways. wAFROC: Chakraborty (2017). Sites: each tested alone, their mean weighted by inverse variance, "
        "Cochran's Q; fewer than four readers as fixed. The model between sites: DeLong's test of different cases. "
        "Agreement: Cohen's kappa. Subgroups: the ratio estimator of Rao and Scott (1992) over patients, mean areas by "
        "1,000 resamples of patients, corrected for bias and acceleration (Efron 1987). "
        "Bands of curves: 2,000 resamples of patients. All intervals are 95 %, all P two-sided."
    )
    if options.margin is not None:
        yield (
            f"Non-inferiority: a margin of {options.margin:g}, one-sided at 2.5 %. The margin has to have been fixed before "
            "the study was read."
        )
    if options.prevalence is not None:
        yield (
            f"Predictive values at {100 * options.prevalence:g} %: Bayes' rule, intervals of the logit (Mercaldo, Lau and "
            "Zhou 2007), which take units for independent."
        )
    yield (
        f"Combinations: either, both, mean score, arbitration by {options.arbiter or 'the model'}. Seed of the "
        f"resamples: {options.seed}. Versions: "
        + ", ".join(f"{name} {number}" for name, number in source.versions.items())
        + f". Command: {source.command}"
    )
    yield "Tables (SHA-256): " + "; ".join(f"{name} {digest}" for name, digest in source.tables.items()) + "."
