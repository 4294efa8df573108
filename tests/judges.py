"""The public validators that judge what we write: dicom3tools, dcmtk and PixelMed. None of them is ours."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in ("pixelmed", "slf4j-api", "slf4j-nop", "vecmath", "commons-codec")
]
CLASSPATH = ":".join(map(str, JARS))
JVM = [
    "java",
    "-Xmx6g",
    "-Xss16m",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
]
BATCH = """
import com.pixelmed.validate.DicomSRValidator;
public class ValidateAll {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("== " + file);
            System.out.println(validator.validate(file));
        }
    }
}
"""
CLEAN = [
    "Found MammographyCADSR IOD",
    "Found Root Template TID_4000 (MammographyCADDocumentRoot)",
    "Root Template Validation Complete",
    "IOD validation complete",
]
MISSPELT = re.compile(
    r'Warning: Template 401[56]\S* .*has different code meaning \("Failed (Detections|Analyses)"\)'
)
"""PixelMed's own templates say "Failed  Detections" and "Failed  Analyses", with two spaces."""


def run(program: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a validator; return its exit code and all it says."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: `apt-get install dcmtk dicom3tools` brings it.")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False
    )
    return done.returncode, done.stdout + done.stderr


def dciodvfy(path: Path) -> list[str]:
    """Return what dicom3tools holds against an object's attributes; errors alone make it fail."""
    code, said = run("dciodvfy", "-new", path)
    found = [line for line in said.splitlines() if "Error" in line]
    return found if code == 0 or found else [f"dciodvfy ended with {code}: {said}"]


def dsrdump(path: Path) -> list[str]:
    """Return what dcmtk holds against the content tree of a report."""
    code, said = run("dsrdump", "-q", path)
    found = re.findall(r"^[EF]: .*", said, re.MULTILINE)
    return found if code == 0 or found else [f"dsrdump ended with {code}: {said}"]


def dcmpschk(path: Path) -> list[str]:
    """Return what dcmtk holds against a presentation state; its exit code says nothing."""
    _, said = run("dcmpschk", path)
    passed = "Test passed." in said and "Test failed" not in said
    return [] if passed else [said]


def pixelmed(reports: Sequence[Path], folder: Path) -> list[list[str]]:
    """Return what PixelMed holds against each report's templates, of all in one JVM: it starts for seconds."""
    missing = [path.name for path in JARS if not path.exists()]
    if missing or shutil.which("java") is None:
        pytest.skip(
            f"{', '.join(missing) or 'java'} is not installed: `apt-get install libpixelmed-java` brings it."
        )
    said = _at_once(reports, folder) if shutil.which("javac") else _one_by_one(reports)
    assert len(said) == len(reports)
    return [_complaints(lines) for lines in said]


def _complaints(lines: Sequence[str]) -> list[str]:
    kept = [line for line in lines if line.strip() and not MISSPELT.match(line)]
    return [] if kept == CLEAN else kept


def _at_once(reports: Sequence[Path], folder: Path) -> list[list[str]]:
    source = folder / "ValidateAll.java"
    source.write_text(BATCH)
    subprocess.run(["javac", "-cp", CLASSPATH, "-d", folder, source], check=True, capture_output=True)
    done = subprocess.run(
        [*JVM, "-cp", f"{folder}:{CLASSPATH}", "ValidateAll", *reports],
        capture_output=True,
        text=True,
        check=True,
    )
    return [part.splitlines()[1:] for part in done.stdout.split("== ")[1:]]


def _one_by_one(reports: Sequence[Path]) -> list[list[str]]:
    validator = [*JVM, "-cp", CLASSPATH, "com.pixelmed.validate.DicomSRValidator"]
    return [
        subprocess.run([*validator, report], capture_output=True, text=True, check=True).stdout.splitlines()
        for report in reports
    ]
