"""S3: objects, bytes and requests a second, by prefix, because S3 limits requests per prefix."""

from dataclasses import dataclass

from capacity.bigtable import BigtableDemand
from capacity.calls import CallsDemand
from capacity.dynamodb import IDENTITIES, ONE_TIME_KEYS, REFILL
from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import DAY, KIB, Workload

PAGE_BYTES = 8 + 1641 * ONE_TIME_KEYS
"""Bytes of a page of pre-keys: a header, and 1641 bytes (id, Kyber-1024 key, signature) for each key."""

UPLOAD_PUTS, UPLOAD_GETS = 5, 4
"""Requests of tusd's S3 store for an upload: it starts a multipart upload, writes a part, completes the upload and
writes the .info file twice; then it reads them back."""

AVATAR_READERS = 15
"""Users who fetch a changed avatar."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Objects under a prefix. `puts` are PUT, COPY, POST and LIST, `gets` are GET and HEAD requests a second."""

    bucket: str
    prefix: str
    objects: float
    bytes: float
    source: str
    puts_mean: float
    puts_peak: float
    gets_mean: float
    gets_peak: float

    @property
    def name(self) -> str:
        """The bucket and the prefix."""
        return f"{self.bucket}/{self.prefix}"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Bytes a day that leave AWS or Google Cloud. Incoming bytes are free."""

    attachments: float
    avatars: float
    messages: float
    bigtable_writes: float
    bigtable_reads: float
    calls: float

    @property
    def from_aws(self) -> float:
        """Bytes to clients and to Bigtable, but for calls."""
        return self.attachments + self.avatars + self.messages + self.bigtable_writes

    @property
    def from_google(self) -> float:
        """Bytes that Storage reads from Bigtable."""
        return self.bigtable_reads


def demand(workload: Workload, traffic: Traffic, installation: Installation, pods: float) -> tuple[Prefix, ...]:
    """The content of each prefix and the requests for it. Whisper's `pods` poll the dynamic configuration."""
    peak = workload.peak
    pages, takes = traffic.devices * IDENTITIES, traffic.bundles * IDENTITIES / 2
    new_pages = takes / REFILL + (traffic.registrations + traffic.links) * IDENTITIES
    avatar = workload.avatar_kib * KIB
    group_avatar_changes = traffic.group_changes * 0.1

    def prefix(
        bucket: str, name: str, objects: float, size: float, source: str, puts: float, gets: float, peak: float
    ) -> Prefix:
        return Prefix(
            bucket=bucket,
            prefix=name,
            objects=objects,
            bytes=objects * size,
            source=source,
            puts_mean=per_second(puts),
            puts_peak=per_second(puts, peak),
            gets_mean=per_second(gets),
            gets_peak=per_second(gets, peak),
        )

    days = installation.attachment_days
    return (
        prefix(
            "uploads",
            "",
            traffic.uploads * days,
            traffic.attachment_bytes,
            f"attachments, kept {days} days",
            traffic.uploads * UPLOAD_PUTS,
            traffic.uploads * UPLOAD_GETS + traffic.downloads * 2,
            peak,
        ),
        prefix(
            "cdn0",
            "profiles/",
            workload.users * workload.avatars,
            avatar,
            "profile avatars",
            traffic.avatar_changes,
            traffic.avatar_changes * AVATAR_READERS,
            peak,
        ),
        prefix(
            "cdn0",
            "groups/",
            traffic.groups * workload.avatars,
            avatar,
            "group avatars",
            group_avatar_changes,
            group_avatar_changes * workload.group_size,
            peak,
        ),
        prefix(
            "pre-keys",
            "",
            pages,
            PAGE_BYTES,
            "a page of 100 for each device and identity",
            # A weekly command looks for orphaned pages, with 1000 names in each LIST.
            new_pages + pages / 1000 / 7,
            takes,
            peak,
        ),
        prefix(
            "dynamic-config",
            "",
            1,
            2.0 * KIB,
            "one object, which every Whisper pod asks for every ten seconds",
            0,
            pods * DAY / 10,
            1,
        ),
    )


FRAME_BYTES = 150
"""Bytes that WebSocket, HTTP and TLS add to an envelope."""


def transfer(
    workload: Workload,
    traffic: Traffic,
    bigtable: BigtableDemand,
    prefixes: tuple[Prefix, ...],
    calls: CallsDemand,
) -> Transfer:
    """Bytes that leave each cloud in a day."""
    avatars = sum(prefix.gets_mean for prefix in prefixes if prefix.bucket == "cdn0") * DAY
    return Transfer(
        attachments=traffic.downloads * traffic.attachment_bytes,
        avatars=avatars * workload.avatar_kib * KIB,
        messages=(traffic.envelopes + traffic.ephemeral) * (workload.envelope_bytes + FRAME_BYTES),
        bigtable_writes=sum(table.writes_mean * table.row_bytes for table in bigtable.tables) * DAY,
        bigtable_reads=sum(table.reads_mean * table.row_bytes for table in bigtable.tables) * DAY,
        calls=calls.sent_bytes,
    )
