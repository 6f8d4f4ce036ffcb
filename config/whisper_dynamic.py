"""Whisper's dynamic configuration: the YAML object in S3 that the running service reads every ten seconds.

The service ignores keys that it does not know, so a typing mistake would be silent there; here it is an error.
A value of the wrong type makes it refuse the whole object: a starting service waits until there is a valid one, and
a running one keeps the one that it has. So each value here has the type that the service's parser (Jackson) gives it.
`captcha.scoreFloor` is the one mandatory key. Source: DynamicConfiguration and the classes that it names, and
RateLimiterConfig, of flatline-whisper-service 1b31502d; `java.time.Duration.parse`; semver4j in its strict form.
"""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field

from config.base_model import StrictModel
from config.types import matching

JAVA_INT, JAVA_LONG = 2**31 - 1, 2**63 - 1
"""The largest values of the service's number types."""

LimiterName = Literal[
    "allocateDevice",
    "attachmentCreate",
    "backupAttachmentCreate",
    "backupAuthCheck",
    "captchaChallengeAttempt",
    "captchaChallengeSuccess",
    "checkAccountExistence",
    "createCallLink",
    "deviceCheckChallenge",
    "externalServiceCredentials",
    "getCallingRelays",
    "inboundMessageBytes",
    "keyTransparencyDistinguished",
    "keyTransparencyMonitor",
    "keyTransparencySearch",
    "messages",
    "pin",
    "prekeys",
    "profile",
    "pushChallengeAttempt",
    "pushChallengeSuccess",
    "rateLimitReset",
    "recordDeviceTransferRequest",
    "registration",
    "setBackupId",
    "setPaidMediaBackupId",
    "stickerPack",
    "stories",
    "uploadTransferArchive",
    "usernameLinkLookupPerIp",
    "usernameLinkOperation",
    "usernameLookup",
    "usernameReserve",
    "usernameSet",
    "verificationCaptcha",
    "verificationPushChallenge",
    "verifyDevice",
    "waitForDeviceTransferRequest",
    "waitForLinkedDevice",
    "waitForTransferArchive",
]

_DURATION = r"P(?:(\d{1,12})D)?(?:T(?=\d)(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,12}(?:\.\d{1,9})?)S)?)?"
_NUMBER = r"(?:0|[1-9]\d{0,8})"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"


def _duration(value: str) -> str:
    found = re.fullmatch(_DURATION, value, re.ASCII)
    if not found or not any(float(part or 0) for part in found.groups()):
        raise ValueError(
            "is not a duration above zero; write it as ISO 8601 does: P1D is a day, PT1H an hour, PT1.5S 1.5 seconds"
        )
    return value


Count = Annotated[int, Field(ge=1, le=JAVA_INT)]
Percentage = Annotated[int, Field(ge=0, le=100)]
HttpStatus = Annotated[int, Field(ge=100, le=599)]
Share = Annotated[float, Field(ge=0, le=1)]
Duration = Annotated[str, AfterValidator(_duration), Field(json_schema_extra={"examples": ["PT10S"]})]
Uuid = Annotated[
    str,
    matching(
        r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        "is not a UUID; write 32 hexadecimal digits as 8-4-4-4-12, such as 9d0652a3-dcc3-4d11-975f-74d61598733f",
    ),
]
SemanticVersion = Annotated[
    str,
    matching(
        rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?",
        "is not a semantic version; write three numbers in quotes, such as '7.33.0'",
    ),
]
PhoneNumber = Annotated[
    str, matching(r"\+[1-9]\d{6,14}", "is not a phone number; write + and its digits in quotes, such as '+12025550123'")
]
CountryCode = Annotated[
    str, matching(r"[1-9]\d{0,2}", "is not a country calling code; write its digits in quotes, such as '49'")
]
ClientPlatform = Literal["ANDROID", "DESKTOP", "IOS"]
CaptchaAction = Literal["challenge", "registration"]


class Limit(StrictModel):
    """A leaky bucket: its size in permits, and how long a permit takes to come back (ISO 8601)."""

    bucket_size: Count
    """Permits that may be used at once."""
    permit_regeneration_duration: Duration
    """Time after which one permit is back."""
    fail_open: bool = False
    """Lets requests through while Redis cannot be asked."""


class UuidSelector(StrictModel):
    """Accounts by their identifier."""

    uuids: list[Uuid] = []
    """Account identifiers."""
    uuid_enrollment_percentage: Percentage = 100
    """Share of these accounts that take part, in percent."""


class Experiment(StrictModel):
    """Who takes part in an experiment."""

    uuid_selector: UuidSelector = UuidSelector()
    excluded_uuids: list[Uuid] = []
    """Accounts that never take part."""
    enrollment_percentage: Percentage = 0
    """Share of all other accounts that take part, in percent."""


class E164Experiment(StrictModel):
    """Who takes part in an experiment, by phone number."""

    enrolled_e164s: list[PhoneNumber] = Field(default=[], alias="enrolledE164s")
    """Phone numbers that take part."""
    excluded_e164s: list[PhoneNumber] = Field(default=[], alias="excludedE164s")
    """Phone numbers that never take part."""
    included_country_codes: list[CountryCode] = []
    """Countries whose numbers take part."""
    excluded_country_codes: list[CountryCode] = []
    """Countries whose numbers never take part."""
    enrollment_percentage: Percentage = 0
    """Share of all other numbers that take part, in percent."""


class RemoteDeprecation(StrictModel):
    """Clients that are asked to update, or refused."""

    minimum_versions: dict[ClientPlatform, SemanticVersion] = {}
    """Older clients are turned away."""
    versions_pending_deprecation: dict[ClientPlatform, SemanticVersion] = {}
    """Older clients will be turned away soon; they are counted."""
    blocked_versions: dict[ClientPlatform, list[SemanticVersion]] = {}
    """Exactly these versions are turned away."""
    versions_pending_block: dict[ClientPlatform, list[SemanticVersion]] = {}
    """Exactly these versions will be turned away soon; they are counted."""
    unrecognized_user_agent_allowed: bool = True
    """Serves clients whose User-Agent names no platform."""


class Payments(StrictModel):
    """Phone number prefixes without payments."""

    disallowed_prefixes: list[str] = []
    """Beginnings of numbers, such as +1."""


class Captcha(StrictModel):
    """Scores from 0 to 1; a lower one than the floor is refused."""

    score_floor: Share = 0.0
    """The least score of a captcha that is accepted, where its action has none of its own."""
    allow_h_captcha: bool = Field(default=False, alias="allowHCaptcha")
    """Accepts captchas of hCaptcha."""
    h_captcha_site_keys: dict[CaptchaAction, list[str]] = Field(default={}, alias="hCaptchaSiteKeys")
    """Site keys of hCaptcha that are accepted for an action."""
    score_floor_by_action: dict[CaptchaAction, Share] = {}
    """The least score for an action."""


class MessagePersister(StrictModel):
    """The worker that moves undelivered messages to DynamoDB."""

    persistence_enabled: bool = True
    """Moves messages that wait from Redis to DynamoDB. Without it they stay in Redis."""
    trim_oversized_queue_extra_room_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    """How much more than its new messages need is freed of a queue that is too long."""


class RegistrationConfiguration(StrictModel):
    """Registration sessions."""

    squash_declined_attempt_errors: bool = False
    """Answers a declined verification attempt as if it had been made."""


class MetricsConfiguration(StrictModel):
    """Cost of metrics."""

    enable_lettuce_remote_tag: bool = False
    """Redis metrics with the address of each node as a tag."""
    enable_aws_sdk_metrics: bool = False
    """Metrics of the AWS SDK."""


class RestPlatform(StrictModel):
    """When a platform's REST messaging ends."""

    minimum_rest_free_version: SemanticVersion
    """The first version that does without REST."""
    universal_rollout_percent: Percentage = 0
    """Share of the devices for which REST ends, in percent."""


class RestDeprecation(StrictModel):
    """When REST messaging ends, by platform."""

    platforms: dict[ClientPlatform, RestPlatform] = {}


class Backup(StrictModel):
    """Limits of backups."""

    deletion_concurrency: Count = 10
    """Objects of a backup that are deleted at the same time."""
    copy_concurrency: Count = 10
    """Objects that are copied into a backup at the same time."""
    usage_checkpoint_count: Count = 10
    """Copied objects after which the used space is written down."""
    max_quota_staleness: Duration = "PT10S"
    """Age up to which the used space is not counted again."""
    max_total_media_size: Annotated[int, Field(ge=0, le=JAVA_LONG)] = 100 * 2**30
    """Bytes of media that a backup may hold."""


class DynamicConfiguration(StrictModel):
    """The whole object. What is not set is left to the service's own default."""

    captcha: Captcha = Captcha()
    limits: dict[LimiterName, Limit] = {}
    """Limits in place of Whisper's own, by the limiter's name."""
    experiments: dict[str, Experiment] = {}
    """Experiments by account, by a name that the service's code knows."""
    e164_experiments: dict[str, E164Experiment] = Field(default={}, alias="e164Experiments")
    """Experiments by phone number, by a name that the service's code knows."""
    remote_deprecation: RemoteDeprecation = RemoteDeprecation()
    payments: Payments = Payments()
    message_persister: MessagePersister = MessagePersister()
    registration_configuration: RegistrationConfiguration = RegistrationConfiguration()
    metrics_configuration: MetricsConfiguration = MetricsConfiguration()
    svr2_status_codes_to_ignore_for_account_deletion: list[HttpStatus] = Field(
        default=[], alias="svr2StatusCodesToIgnoreForAccountDeletion"
    )
    """Answers of SVR2 that do not stop the deletion of an account."""
    svrb_status_codes_to_ignore_for_account_deletion: list[HttpStatus] = []
    """Answers of SVRB that do not stop the deletion of an account."""
    rest_deprecation: RestDeprecation = RestDeprecation()
    backup: Backup = Backup()

    def text(self) -> str:
        """The object's YAML: what was set, and the mandatory score floor."""
        given: dict[str, Any] = self.model_dump(by_alias=True, exclude_unset=True, mode="json")
        given.setdefault("captcha", {}).setdefault("scoreFloor", self.captcha.score_floor)
        return yaml.safe_dump(given, sort_keys=True, allow_unicode=True)
