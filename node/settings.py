"""The settings of the door to the PACS: the only reader of its file and environment."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from mammography.settings_file import LONGEST, LedgerSection, QueueSection, ReaderSection, Section
from mammography.uid import lawful
from node.callers import EVERYWHERE
from node.survival import Survives


def _ae_title(title: str) -> str:
    r"""Refuse what is no AE title: 1 to 16 characters of the default repertoire, no backslash (PS3.5 6.2)."""
    stripped = title.strip(" ")
    if not 1 <= len(stripped) <= 16:
        raise ValueError("an AE title has 1 to 16 characters")
    if any(not " " <= letter <= "~" or letter == "\\" for letter in stripped):
        raise ValueError("an AE title holds printable ASCII characters without a backslash")
    return stripped


def _host(host: str) -> str:
    """Refuse an empty host name."""
    if not host.strip():
        raise ValueError("give a host name or an address")
    return host.strip()


def _manufacturer(text: str) -> str:
    """Refuse what is no LO of the default repertoire: 1 to 64 characters, no backslash (PS3.5 6.2)."""
    stripped = text.strip(" ")
    if not 1 <= len(stripped) <= 64:
        raise ValueError("a manufacturer has 1 to 64 characters")
    if any(not " " <= letter <= "~" or letter == "\\" for letter in stripped):
        raise ValueError("a manufacturer holds printable ASCII characters without a backslash")
    return stripped


def _service_url(url: str) -> str:
    """Refuse what is no address of a service; return it without a slash at the end."""
    stripped = url.strip().rstrip("/")
    parts = urlsplit(stripped)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address of a DICOMweb service is like https://pacs.hospital/dicom-web")
    if parts.port == 0 or any(not "!" <= letter <= "~" for letter in stripped):
        raise ValueError(
            "a url has a port above 0 if it has one, and printable ASCII characters without a space"
        )
    if parts.query or parts.fragment:
        raise ValueError("an address of a DICOMweb service has no query and no fragment")
    return stripped


def _sop_class(uid: str) -> str:
    """Refuse what is no UID (PS3.5 9.1)."""
    if not lawful(uid):
        raise ValueError("a SOP Class UID has digits and dots, such as 1.2.840.10008.5.1.4.1.1.1.2")
    return uid


THIS_HOST = ("127.0.0.1", "::1", "localhost")
"""Host names of this machine."""

EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared, not bound
"""Hosts that stand for every address of this machine."""

LONGEST_TIMEOUT = timedelta(days=1)
"""The system counts in milliseconds how long a peer may be silent, and not beyond 24 days (TCP_USER_TIMEOUT)."""

SopClass = Annotated[str, AfterValidator(_sop_class)]
Manufacturer = Annotated[str, AfterValidator(_manufacturer)]
AeTitle = Annotated[str, AfterValidator(_ae_title)]
ServiceUrl = Annotated[str, AfterValidator(_service_url)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Age = Annotated[timedelta, Field(gt=timedelta(0), le=LONGEST)]
Timeout = Annotated[timedelta, Field(ge=timedelta(seconds=1), le=LONGEST_TIMEOUT)]


class NodeSection(Section):
    """[node]."""

    ae_title: AeTitle = "MAMMOCALC"
    host: Host = "0.0.0.0"  # noqa: S104  a modality calls from the hospital's network
    port: Port = 11112
    data_dir: Path = Path("var")
    receiving_processes: int = Field(default=2, ge=1, le=16)
    """How many processes hold associations; each more takes some 100 MB, and a core while many images come at once."""
    survives: Survives = Survives.POWER_CUT
    """What an instance survives once it was answered with success: "power-cut", or only "kill", which is faster."""
    storage_classes: tuple[SopClass, ...] | None = None
    """SOP Class UIDs that are stored; left out: every one, private and unknown ones too."""


class ConsoleSection(Section):
    """[console]."""

    host: Host = "127.0.0.1"
    port: Port = 8080


class ArchiveSection(Section):
    """[completion.ask]: an archive that is asked how many images a study has (C-FIND)."""

    ae_title: AeTitle
    host: Host
    port: Port
    timeout: Timeout = timedelta(seconds=10)
    """How long each of its answers is waited for; a study waits twice as long at most."""


class CompletionSection(Section):
    """[completion]."""

    quiet_period: Age = timedelta(seconds=60)
    """How long nothing must arrive before an incomplete set is read."""
    longest_wait: Age = timedelta(minutes=15)
    """After this time a study is read, whatever still arrives."""
    ask: ArchiveSection | None = None
    """An archive that may hold more of a study than came by the end of the quiet period."""

    @model_validator(mode="after")
    def _the_bound_is_the_longer_one(self) -> Self:
        if self.longest_wait < self.quiet_period:
            raise ValueError("longest_wait must not be shorter than quiet_period")
        return self


class AlarmsSection(Section):
    """[alarms]: how long a study may be in a state before somebody is told."""

    queued: Age = timedelta(hours=1)
    reading: Age = timedelta(hours=1)
    read: Age = timedelta(minutes=15)
    reported: Age = timedelta(hours=1)
    """Until every destination has its answer."""
    delivered: Age = timedelta(days=1)
    """Until every destination that is asked for commitment has committed; without one it may last."""


def _age_or_never(given: object) -> object:
    """Return an age, or "never"."""
    if given == "never":
        return given
    try:
        return TypeAdapter(Age).validate_python(given)
    except ValidationError as refused:
        raise ValueError('give an age such as "P30D", of at most 100 years, or "never"') from refused


class RetentionSection(Section):
    """[retention]: how long received images are kept after their study's answer is where it belongs.

    The archive of the images is the PACS; what the node keeps is a copy for itself, of patients, and shall be no larger or
    older than it is of use (GDPR art. 5 (1) c and e). It is of use for late views and retakes, for a person who retries a
    study, and for whoever asks why an image was read as it was: matters of days, of weeks where a holiday lies between. Thirty days
    of a busy screening unit (150 studies of four 17 MB views a day) are 300 GB.
    """

    images: Annotated[timedelta | Literal["never"], BeforeValidator(_age_or_never)] = timedelta(days=30)
    """An age such as "P30D", or "never": then the disk fills until the node refuses more."""


class CallerSection(Section):
    """[[callers]]: who may call us; where nobody is listed, only programs on this machine."""

    ae_title: AeTitle
    """Or "*", which stands for every title of the network."""
    host: str | None = None
    """An address or a network, such as 10.0.0.0/8; left out: any."""
    commitment_port: Port | None = None
    """Where it takes reports of Storage Commitment; without it, on the association on which it asks."""

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The addresses that it may call from."""
        return EVERYWHERE if self.host is None else (ip_network(self.host, strict=False),)

    @model_validator(mode="after")
    def _host_is_a_network(self) -> Self:
        if self.host is not None:
            ip_network(self.host, strict=False)
        return self


class TlsSection(Section):
    """[tls]: a second port, where TLS is spoken."""

    port: Port = 2762
    """2762 is registered for DICOM over TLS."""
    certificate: Path
    """Ours in PEM, and after it those that lead to an authority which callers trust."""
    key: Path
    """Its private key in PEM, without a pass phrase."""
    callers: Path | None = None
    """Authorities of callers' certificates in PEM; where it is given, a caller without one is turned away."""


class DestinationSection(Section):
    """[[destinations]]: where answers go."""

    name: str = Field(min_length=1, max_length=64)
    ae_title: AeTitle | None = None
    host: Host | None = None
    port: Port | None = None
    url: ServiceUrl | None = None
    """Instead of these three: a DICOMweb service, which gets the objects by STOW-RS."""
    user: str | None = Field(default=None, pattern=r"^[^:]+$")
    """Our name at that service (HTTP Basic)."""
    password_file: Path | None = None
    """A file with the password and nothing else."""
    token_file: Path | None = None
    """A file with a bearer token and nothing else, instead of user and password."""
    ca: Path | None = None
    """Authorities in PEM that its certificate is trusted by; left out: those of the system."""
    objects: frozenset[Literal["cad-sr", "gsps", "tid1500", "picture"]] = frozenset({"cad-sr", "gsps"})
    """What it gets: Mammography CAD SR, presentation states, TID 1500 report, pictures with the marks burned in."""
    scheme: Literal["SCT", "SRT"] = "SCT"
    """Codes of the CAD SR: SNOMED CT, or the retired SNOMED-RT ones that older workstations look for."""
    manufacturer: Manufacturer | None = None
    """Manufacturer (0008,0070) of the objects, where a workstation shows only those that it knows."""
    benign: bool = True
    """Whether findings that are called benign are shown."""
    tid1500: Literal["comprehensive", "comprehensive-3d"] = "comprehensive"
    """SOP class of the TID 1500 report: Comprehensive SR, or Comprehensive 3D SR (IHE AI Results)."""
    tid1500_per_image: bool = False
    """A TID 1500 report in its own series for each image, where a viewer shows one image's marks at a time."""
    fallback: bool = True
    """Whether it gets the next best object where it does not accept one."""
    commitment: bool = False
    timeout: Timeout = timedelta(seconds=30)
    """How long an answer of the destination is waited for."""

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        """Refuse a destination that has two addresses or none."""
        dimse = (self.ae_title, self.host, self.port)
        if self.url is None and None in dimse:
            raise ValueError("give ae_title, host and port (C-STORE), or a url (STOW-RS)")
        if self.url is not None and dimse != (None, None, None):
            raise ValueError(
                "it has a url (STOW-RS): leave out ae_title, host and port (C-STORE), or the url"
            )
        if self.url is not None and self.commitment:
            raise ValueError("a url has no Storage Commitment: leave out commitment")
        return self

    @model_validator(mode="after")
    def _credentials_fit(self) -> Self:
        """Refuse credentials that are of no use, or that anybody on the way could read."""
        credentials = (self.user, self.password_file, self.token_file)
        if "@" in (self.url or ""):  # said here, because what is said of one key repeats its value
            raise ValueError("leave user and password out of the url: give user and password_file")
        if self.url is None and (*credentials, self.ca) != (None,) * 4:
            raise ValueError("user, password_file, token_file and ca are for a destination with a url")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("give both user and password_file, or none of them")
        if self.user is not None and self.token_file is not None:
            raise ValueError("give user and password_file, or token_file")
        if self.url is None or urlsplit(self.url).scheme == "https":
            return self
        if self.ca is not None:
            raise ValueError("ca is for a url that begins with https")
        if credentials != (None,) * 3 and urlsplit(self.url).hostname not in THIS_HOST:
            raise ValueError("a password or token over http can be read on the way: give a url with https")
        return self


class ListeningPort(NamedTuple):
    """A port that the node listens on, and the settings that say so."""

    host: str
    port: int
    host_setting: str
    port_setting: str


class NodeSettings(BaseModel):
    """Everything that the door to the PACS is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NodeSection = NodeSection()
    ledger: LedgerSection = LedgerSection()
    queue: QueueSection = QueueSection()
    console: ConsoleSection = ConsoleSection()
    completion: CompletionSection = CompletionSection()
    alarms: AlarmsSection = AlarmsSection()
    retention: RetentionSection = RetentionSection()
    reader: ReaderSection = ReaderSection()
    tls: TlsSection | None = None
    callers: tuple[CallerSection, ...] = ()
    destinations: tuple[DestinationSection, ...] = ()

    @property
    def listening_ports(self) -> list[ListeningPort]:
        """The ports that the node listens on."""
        node, console = self.node, self.console
        ports = [
            ListeningPort(node.host, node.port, "[node].host", "[node].port"),
            ListeningPort(console.host, console.port, "[console].host", "[console].port"),
        ]
        if self.tls:
            ports.append(ListeningPort(node.host, self.tls.port, "[node].host", "[tls].port"))
        return ports

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [destination.name for destination in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError("two destinations have the same name")
        return self

    @model_validator(mode="after")
    def _ports_are_unique(self) -> Self:
        for one, other in combinations(self.listening_ports, 2):
            if one.port == other.port and (
                one.host == other.host or not EVERY_ADDRESS.isdisjoint((one.host, other.host))
            ):
                raise ValueError(f"{one.port_setting} and {other.port_setting} are the same: {one.port}")
        return self
