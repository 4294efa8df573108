"""What the door counts and times, for Prometheus; docs of each are the help text beside it."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

ASSOCIATIONS = Counter(
    "mammocalc_associations",
    "Associations that ended, by how: released, aborted, too-slow and others.",
    ["ended"],
)
ASSOCIATIONS_OPEN = Gauge(
    "mammocalc_associations_open", "Associations that are open.", multiprocess_mode="livesum"
)
ASSOCIATION_SECONDS = Histogram(
    "mammocalc_association_seconds", "How long associations lasted.", buckets=_SECONDS
)
REJECTIONS = Counter(
    "mammocalc_association_rejections", "Associations that were rejected, by reason.", ["reason"]
)
RECEIVED_BYTES = Counter("mammocalc_received_bytes", "Bytes that came in over associations.")
INSTANCES = Counter(
    "mammocalc_instances",
    "Instances that came: new, same, restored, conflict, refused or exhausted.",
    ["outcome"],
)
KEEPING_SECONDS = Histogram(
    "mammocalc_keeping_seconds",
    "From the last byte of an instance, or of those that are kept together, to its place on the disk and in the ledger.",
    buckets=_SECONDS,
)
IMAGES_DELETED = Counter("mammocalc_images_deleted", "Images whose file retention has deleted.")
