"""A workload as numbers a day: connections, envelopes, uploads, registrations."""

from dataclasses import dataclass

from capacity.workload import DAY, KIB, Workload


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Numbers a day, except `connections` (at the busiest time) and `recipients` (of a message).

    Whisper keeps `envelopes`, one for each device, until they are delivered; it does not keep `ephemeral` ones (typing
    indicators). The persister moves the `persisted` ones to DynamoDB. `requests` are Whisper's, and include the work of
    deliveries as requests. A `bundle` is the set of pre-keys of a device that a sender fetches.
    """

    devices: float
    active_users: float
    active_devices: float
    connections: float
    messages: float
    recipients: float
    envelopes: float
    ephemeral: float
    persisted: float
    uploads: float
    downloads: float
    attachment_bytes: float
    bundles: float
    registrations: float
    links: float
    deletions: float
    avatar_changes: float
    requests: float
    groups: float
    group_changes: float

    @classmethod
    def of(cls, workload: Workload) -> "Traffic":
        """Computes the numbers of a workload."""
        users, devices = workload.users, workload.users * workload.devices
        active_users, active_devices = users * workload.active, devices * workload.active
        messages = users * workload.messages_per_day
        recipients = 1 - workload.group_messages + workload.group_messages * (workload.group_size - 1)
        arrivals = messages * recipients * workload.devices
        # The sender's other devices receive a copy of each sent message and of each read receipt.
        synchronised = messages * (workload.devices - 1) * (1 + recipients)
        envelopes = arrivals * (1 + workload.receipts) + synchronised
        uploads = messages * workload.attachments
        groups = users * workload.groups / workload.group_size
        bundles = active_users * workload.sessions * workload.devices
        registrations = users * workload.registrations
        return cls(
            devices=devices,
            active_users=active_users,
            active_devices=active_devices,
            connections=active_devices * workload.connected,
            messages=messages,
            recipients=recipients,
            envelopes=envelopes,
            ephemeral=arrivals * workload.typing,
            persisted=envelopes * workload.offline,
            uploads=uploads,
            downloads=uploads * recipients * workload.devices * workload.fetched,
            attachment_bytes=workload.attachment_kib * KIB,
            bundles=bundles,
            registrations=registrations,
            links=users * workload.links,
            deletions=users * workload.deletions,
            avatar_changes=users * workload.avatar_changes,
            requests=active_devices * workload.api_requests
            + messages * (1 + workload.receipts * recipients)
            + workload.delivery * (envelopes + arrivals * workload.typing),
            groups=groups,
            group_changes=groups * workload.group_updates,
        )


def per_second(a_day: float, peak: float = 1) -> float:
    """Converts a number a day to a number a second, multiplied by `peak`."""
    return a_day / DAY * peak
