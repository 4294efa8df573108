"""The PACS of the demonstration: a real Orthanc where one is installed, else a small receiving AE."""

import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from lab.demo.orthanc import Orthanc, orthanc_program


class PacsKind(StrEnum):
    """What plays the PACS."""

    AUTO = "auto"
    ORTHANC = "orthanc"
    RECEIVING_AE = "receiving-ae"


class PortTaken(Exception):
    """Another program listens where the PACS of the demonstration should."""


class DemoPacs(Protocol):
    """What the demonstration needs of a PACS."""

    what_it_is: str

    def keep(self, study_instance_uid: str, folder: Path) -> Path:
        """Put the objects that answer a study into a folder as files, and return it."""
        ...

    def stop(self) -> None:
        """Stop listening; what it holds stays."""
        ...


def start_pacs(
    folder: Path, kind: PacsKind, *, ae_title: str, port: int, node: str, node_port: int
) -> DemoPacs:
    """Start a PACS on this machine that knows the node.

    Raises:
        PortTaken: if something listens on the port already.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  as Orthanc will
        except OSError as taken:
            raise PortTaken(
                f"Port {port}, where the demonstration's PACS should listen, cannot be used "
                f"({taken.strerror}): does another demonstration run?"
            ) from taken
    if kind is PacsKind.ORTHANC or (kind is PacsKind.AUTO and orthanc_program()):
        orthanc = Orthanc(folder=folder, dicom_port=port, ae_title=ae_title, modalities={node: node_port})
        return OrthancPacs(orthanc=orthanc.start())
    return ReceivingAe.start(folder, ae_title=ae_title, port=port)


@dataclass(kw_only=True)
class OrthancPacs:
    """A real Orthanc."""

    orthanc: Orthanc
    what_it_is: str = "Orthanc"

    def keep(self, study_instance_uid: str, folder: Path) -> Path:
        """Write the study's objects, as Orthanc holds them, into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_instance_uid}}
        for found in self.orthanc.find(query):
            uid = found["MainDicomTags"]["SOPInstanceUID"]
            (folder / f"{uid}.dcm").write_bytes(self.orthanc.get_bytes(f"/instances/{found['ID']}/file"))
        return folder

    def stop(self) -> None:
        """Stop Orthanc."""
        self.orthanc.stop()


@dataclass(kw_only=True)
class ReceivingAe:
    """A storage SCP that writes what it gets into a folder; it offers no Storage Commitment."""

    folder: Path
    server: Any
    what_it_is: str = "A small receiving AE (apt-get install orthanc for a real PACS)"

    @classmethod
    def start(cls, folder: Path, *, ae_title: str, port: int) -> "ReceivingAe":
        """Listen on a port for any storage class."""
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        entity = AE(ae_title)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context("1.2.840.10008.1.1")

        def store(event: evt.Event) -> int:
            data_set = event.dataset
            target = folder / str(data_set.StudyInstanceUID)
            target.mkdir(parents=True, exist_ok=True)
            (target / f"{data_set.SOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
            return 0x0000

        server = entity.start_server(("0.0.0.0", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])  # noqa: S104
        return cls(folder=folder, server=server)

    def keep(self, study_instance_uid: str, folder: Path) -> Path:  # noqa: ARG002  they lie there already
        """Return the folder where a study's objects were written."""
        return self.folder / study_instance_uid

    def stop(self) -> None:
        """Stop listening."""
        self.server.shutdown()
