"""The S3 buckets, and which keys of the CDN bucket anyone may read and who may upload which, up to what size.

Key forms and limits are those of the POST policies that Whisper (profiles, stickers) and Storage (groups) sign.
"""

from dataclasses import dataclass
from typing import Literal

KIB, MIB = 1024, 1024 * 1024

Signer = Literal["whisper", "storage"]
SIGNERS: tuple[Signer, ...] = ("whisper", "storage")


@dataclass(frozen=True)
class KeyRule:
    """Keys of the public bucket: `pattern` (anchored, RE2 and JavaScript), the signer of uploads, the size limit.

    `prefix` is the part of the key that a bucket policy can name. The signer may delete objects where `deletes`.
    """

    name: str
    prefix: str
    pattern: str
    signer: Signer
    max_bytes: int
    deletes: bool = False


DYNAMIC_CONFIG_OBJECT = "dev.yml"
"""Key of the one object in the dynamic configuration bucket (`dynamicConfig.objectKey`)."""

DYNAMIC_CONFIG_MAX_BYTES = 100_000
"""`dynamicConfig.maxSize`: a larger object is refused by Whisper, so the settings refuse it first."""

BucketRole = Literal["dynamic-config", "pre-keys", "cdn0", "uploads"]
"""The buckets of an installation in the cloud. Attachments (`uploads`) are on a volume elsewhere."""

BUCKETS: dict[BucketRole, str] = {
    "dynamic-config": "whisper-service-dynamic-config",
    "pre-keys": "whisper-service-pre-key-store",
    "cdn0": "whisper-service-cdn",
}
"""Role → name of the bucket where names are free to choose (the emulators)."""

_BASE64URL = "[A-Za-z0-9_-]"

CDN0_KEYS = (
    KeyRule(
        "profiles",
        "profiles/",
        rf"profiles/{_BASE64URL}{{22}}(?:==)?",
        signer="whisper",
        max_bytes=10 * MIB,
        deletes=True,
    ),
    KeyRule(
        "sticker-manifests",
        "stickers/",
        r"stickers/[0-9a-f]{32}/manifest\.proto",
        signer="whisper",
        max_bytes=10 * KIB,
    ),
    KeyRule(
        "stickers",
        "stickers/",
        r"stickers/[0-9a-f]{32}/full/(?:0|[1-9][0-9]{0,2})",
        signer="whisper",
        max_bytes=301 * KIB,
    ),
    KeyRule(
        "groups",
        "groups/",
        rf"groups/{_BASE64URL}{{43}}=?/{_BASE64URL}{{22}}(?:==)?",
        signer="storage",
        max_bytes=3 * MIB,
    ),
)
