"""Storage's YAML as far as it is constant; the rest comes from `components.services.storage`."""

from typing import Any

HTTP_PORT, ADMIN_PORT = 10080, 10081

CONSTANTS: dict[str, Any] = {
    "logging": {"level": "INFO"},
    "server": {
        "applicationConnectors": [{"type": "http", "bindHost": "0.0.0.0", "port": HTTP_PORT}],  # noqa: S104
        "adminConnectors": [{"type": "http", "bindHost": "0.0.0.0", "port": ADMIN_PORT}],  # noqa: S104
    },
    # Metrics to Datadog are compiled out of this fork; the block stays mandatory.
    "datadog": {"environment": "unused"},
    "group": {"maxGroupSize": 1001, "maxGroupTitleLengthBytes": 1024, "maxGroupDescriptionLengthBytes": 8192},
    # How often `/_ready` reads a row of each table before it answers from memory.
    "warmup": {"count": 5},
}
