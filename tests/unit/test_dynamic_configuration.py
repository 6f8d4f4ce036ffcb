"""Whisper's dynamic configuration: what the service's parser would refuse is refused here, by key.

One refused value makes the service refuse the whole object: a starting one then waits for ever.
"""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config.loading import SettingsError, load
from config.settings import Settings

LEGAL_DURATIONS: tuple[str, ...] = ("PT1S", "P1D", "PT0.001S", "P1DT2H3M4.5S", "PT36H", "P10000D", "PT1M0S")

DURATIONS: tuple[str, ...] = (
    *("P1DT", "P", "PT", "PT0S", "P0D", "P0DT0H0M0S", "pt1s", "PT1", "PT-1S", "-PT1S", "1D", "P1W", "P1M", "P1Y"),
    *("PT1.1H", "PT1S1M", "PT.5S", "PT1,5S", "PT1.0000000001S", "PT1S ", "PT1S\n", f"P{9**30}D", "PT١S", "10s", ""),
)
VERSIONS: tuple[str, ...] = (
    *("7.33", "7", "v7.33.0", "7.33.0.1", "7.x.0", "7.33.*", "", " 7.33.0", "7.33.0\n", f"{2**31}.0.0", "7.-1.0"),
    "07.1.0",
)
UUIDS: tuple[str, ...] = (
    *("nope", "", "9d0652a3dcc34d11975f74d61598733f", "{9d0652a3-dcc3-4d11-975f-74d61598733f}"),
    *("9d0652a3-dcc3-4d11-975f", "g" * 8 + "-dcc3-4d11-975f-74d61598733f", "PNI:9d0652a3-dcc3-4d11-975f-74d61598733f"),
)
PLATFORMS = ("android", "Android", "IOS ", "WEB", "WINDOWS", "")
ACTIONS = ("signup", "CHALLENGE", "registration ", "spam", "")
STATUSES = (99, 600, 2**31, "404")
DEPRECATION = "remoteDeprecation."
VALUES: dict[str, tuple[Any, ...]] = {
    "limits.messages.permitRegenerationDuration": DURATIONS,
    "limits.messages.bucketSize": (0, -1, 2**31, 2**63, 1.5, "4", True, None),
    "limits.messages.failOpen": (1, "true", None),
    "backup.maxQuotaStaleness": DURATIONS,
    "backup.maxTotalMediaSize": (2**63, -1, 1.5, "1Gi"),
    "backup.copyConcurrency": (2**31, 0, 0.5),
    **{
        f"{DEPRECATION}{key}.ANDROID": (*VERSIONS, 7.33, 7) for key in ("minimumVersions", "versionsPendingDeprecation")
    },
    **{f"{DEPRECATION}{key}.IOS.0": VERSIONS for key in ("blockedVersions", "versionsPendingBlock")},
    **{f"{DEPRECATION}minimumVersions.{platform}": ("1.2.3",) for platform in PLATFORMS},
    **{f"restDeprecation.platforms.{name}": ({"minimumRestFreeVersion": "1.2.3"},) for name in PLATFORMS},
    "restDeprecation.platforms.IOS.minimumRestFreeVersion": VERSIONS,
    "experiments.x.uuidSelector.uuids.0": UUIDS,
    "experiments.x.excludedUuids.0": UUIDS,
    "experiments.x.enrollmentPercentage": (-1, 101, 1.5),
    **{f"captcha.scoreFloorByAction.{action}": (0.1,) for action in ACTIONS},
    **{f"captcha.hCaptchaSiteKeys.{action}": (["k"],) for action in ACTIONS},
    "captcha.scoreFloor": (-0.1, 1.1, "0.5", float("nan")),
    "e164Experiments.x.enrolledE164s.0": ("12025550123", "+0123456789", "+1 202 555 0123", "+1", "+1202555012345678"),
    "e164Experiments.x.includedCountryCodes.0": ("+49", "049", "DE", "1234", ""),
    "messagePersister.trimOversizedQueueExtraRoomRatio": (0.5, float("inf"), float("nan"), "2"),
    "svr2StatusCodesToIgnoreForAccountDeletion.0": STATUSES,
    "svrbStatusCodesToIgnoreForAccountDeletion.0": STATUSES,
}
"""What is refused, by the path of its key; 0 is the first of a list."""
LIMIT = {"bucketSize": 4, "permitRegenerationDuration": "PT1S"}


def nested(steps: list[str], value: Any) -> Any:
    """A configuration with a value at a path."""
    if not steps:
        return value
    inner = nested(steps[1:], value)
    return [inner] if steps[0] == "0" else {steps[0]: inner}


def configured(path: str, value: Any) -> dict[str, Any]:
    """The same, with what a limit needs besides."""
    whole: dict[str, Any] = nested(path.split("."), value)
    for limit in whole.get("limits", {}).values():
        limit.update({**LIMIT, **limit})
    return whole


REFUSED = [(key, configured(key, value)) for key, values in VALUES.items() for value in values]


def configuration(dynamic: dict[str, Any]) -> dict[str, str]:
    return {"flatline:whisper": json.dumps({"dynamicConfig": dynamic})}


@pytest.mark.parametrize(("key", "dynamic"), REFUSED, ids=[f"{key}-{n}" for n, (key, _) in enumerate(REFUSED)])
def test_what_the_parser_refuses_is_refused_by_its_key(key: str, dynamic: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(configuration(dynamic))
    (line,) = caught.value.problems
    assert line.startswith(f"flatline:whisper.dynamicConfig.{key}")
    assert "write" in line or "did you mean" in line or "remove it" in line


def in_service(settings: Settings) -> dict[str, Any]:
    """The object as the service reads it."""
    read: dict[str, Any] = yaml.safe_load(settings.whisper.dynamic_config.text())
    return read


number = st.integers(0, 10**6)
versions = st.builds("{}.{}.{}{}".format, number, number, number, st.sampled_from(("", "-beta.1", "+7", "-rc-1+a.b")))
parts = st.tuples(number, st.integers(0, 23), st.integers(0, 59), st.integers(1, 59)).map(
    "P{0[0]}DT{0[1]}H{0[2]}M{0[3]}S".format
)
durations = st.sampled_from(LEGAL_DURATIONS) | parts
limits = st.fixed_dictionaries(
    {"bucketSize": st.integers(1, 2**31 - 1), "permitRegenerationDuration": durations},
    optional={"failOpen": st.booleans()},
)
platforms = st.sampled_from(("ANDROID", "DESKTOP", "IOS"))
actions = st.sampled_from(("challenge", "registration"))
percentages = st.integers(0, 100)
uuids = st.uuids().map(str)
legal = st.fixed_dictionaries(
    {
        "captcha": st.fixed_dictionaries(
            {"scoreFloor": st.floats(0, 1)}, optional={"scoreFloorByAction": st.dictionaries(actions, st.floats(0, 1))}
        )
    },
    optional={
        "limits": st.dictionaries(st.sampled_from(("messages", "pin", "registration")), limits),
        "experiments": st.dictionaries(
            st.text("abcXYZ", min_size=1),
            st.fixed_dictionaries({"enrollmentPercentage": percentages, "excludedUuids": st.lists(uuids, max_size=2)}),
            max_size=2,
        ),
        "remoteDeprecation": st.fixed_dictionaries(
            {
                "minimumVersions": st.dictionaries(platforms, versions),
                "blockedVersions": st.dictionaries(platforms, st.lists(versions, max_size=2)),
            }
        ),
        "backup": st.fixed_dictionaries(
            {"maxTotalMediaSize": st.integers(0, 2**63 - 1), "maxQuotaStaleness": durations}
        ),
    },
)


@given(legal)
def test_what_the_parser_takes_arrives_as_it_was_written(dynamic: dict[str, Any]) -> None:
    assert in_service(load(configuration(dynamic))) == dynamic
