"""Whisper's dynamic configuration: the YAML object in S3 that the running service reads every ten seconds.

The service ignores keys that it does not know, so a typing mistake would be silent there; here it is an error.
`captcha.scoreFloor` is its one mandatory key: without it the service does not start. Source: the service's
DynamicConfiguration class and its rate limiters.
"""

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from config.strict import Strict

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

Percentage = Annotated[int, Field(ge=0, le=100)]
Duration = Annotated[str, Field(pattern=r"^P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$")]


class Limit(Strict):
    """A leaky bucket: its size in permits, and how long a permit takes to come back (ISO 8601)."""

    bucket_size: Annotated[int, Field(ge=1)]
    permit_regeneration_duration: Duration
    fail_open: bool = False


class UuidSelector(Strict):
    """Accounts by their identifier."""

    uuids: list[str] = []
    uuid_enrollment_percentage: Percentage = 100


class Experiment(Strict):
    """Who takes part in an experiment."""

    uuid_selector: UuidSelector = UuidSelector()
    excluded_uuids: list[str] = []
    enrollment_percentage: Percentage = 0


class E164Experiment(Strict):
    """Who takes part in an experiment, by phone number."""

    enrolled_e164s: list[str] = Field(default=[], alias="enrolledE164s")
    excluded_e164s: list[str] = Field(default=[], alias="excludedE164s")
    included_country_codes: list[str] = []
    excluded_country_codes: list[str] = []
    enrollment_percentage: Percentage = 0


class RemoteDeprecation(Strict):
    """Which clients are told to update, or turned away."""

    minimum_versions: dict[str, str] = {}
    versions_pending_deprecation: dict[str, str] = {}
    blocked_versions: dict[str, list[str]] = {}
    versions_pending_block: dict[str, list[str]] = {}
    unrecognized_user_agent_allowed: bool = True


class Payments(Strict):
    """Phone number prefixes without payments."""

    disallowed_prefixes: list[str] = []


class Captcha(Strict):
    """Scores from 0 to 1; a lower one than the floor is refused."""

    score_floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    allow_h_captcha: bool = Field(default=False, alias="allowHCaptcha")
    h_captcha_site_keys: dict[str, list[str]] = Field(default={}, alias="hCaptchaSiteKeys")
    score_floor_by_action: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}


class MessagePersister(Strict):
    """The worker that moves undelivered messages to DynamoDB."""

    persistence_enabled: bool = True
    trim_oversized_queue_extra_room_ratio: Annotated[float, Field(ge=1)] = 1.5


class RegistrationConfiguration(Strict):
    """Registration sessions."""

    squash_declined_attempt_errors: bool = False


class MetricsConfiguration(Strict):
    """Cost of metrics."""

    enable_lettuce_remote_tag: bool = False
    enable_aws_sdk_metrics: bool = False


class RestPlatform(Strict):
    """When a platform's REST messaging ends."""

    minimum_rest_free_version: str
    universal_rollout_percent: Percentage = 0


class RestDeprecation(Strict):
    """When REST messaging ends, by platform."""

    platforms: dict[str, RestPlatform] = {}


class Backup(Strict):
    """Limits of backups."""

    deletion_concurrency: Annotated[int, Field(ge=1)] = 10
    copy_concurrency: Annotated[int, Field(ge=1)] = 10
    usage_checkpoint_count: Annotated[int, Field(ge=1)] = 10
    max_quota_staleness: Duration = "PT10S"
    max_total_media_size: Annotated[int, Field(ge=0)] = 100 * 2**30


class DynamicConfiguration(Strict):
    """The whole object. What is not set is left to the service's own default."""

    captcha: Captcha = Captcha()
    limits: dict[LimiterName, Limit] = {}
    experiments: dict[str, Experiment] = {}
    e164_experiments: dict[str, E164Experiment] = Field(default={}, alias="e164Experiments")
    remote_deprecation: RemoteDeprecation = RemoteDeprecation()
    payments: Payments = Payments()
    message_persister: MessagePersister = MessagePersister()
    registration_configuration: RegistrationConfiguration = RegistrationConfiguration()
    metrics_configuration: MetricsConfiguration = MetricsConfiguration()
    svr2_status_codes_to_ignore_for_account_deletion: list[int] = Field(
        default=[], alias="svr2StatusCodesToIgnoreForAccountDeletion"
    )
    svrb_status_codes_to_ignore_for_account_deletion: list[int] = []
    rest_deprecation: RestDeprecation = RestDeprecation()
    backup: Backup = Backup()

    def text(self) -> str:
        """The object's YAML: what was set, and the mandatory score floor."""
        given: dict[str, Any] = self.model_dump(by_alias=True, exclude_unset=True, mode="json")
        given.setdefault("captcha", {}).setdefault("scoreFloor", self.captcha.score_floor)
        return yaml.safe_dump(given, sort_keys=True, allow_unicode=True)
