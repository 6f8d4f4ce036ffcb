"""The effect on people when a secret is replaced: one entry for each secret of `config.schema.secrets`.

The sources are who reads a value and what is signed, hashed or encrypted with it (Whisper's and Storage's code, and the
gate, the hook and the Redis programs of this repository). A secret without an entry is an error when it is rotated.
"""

from dataclasses import dataclass

from config.schema.secrets import BY_NAME, UNUSED


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """The effect of a rotation: `effect` in one sentence, `until` when it is over.

    `hurts` says that it is not over by itself: clients must be built again, what is stored cannot be read any more, a
    program outside of this installation must get the new value, or requests fail for longer than a retry lasts.
    """

    effect: str
    until: str
    hurts: bool = False


_REBUILT = "until clients are built again with the new pins (`./flatline pins`)"
_DAY = "until clients ask for new ones, which they do by themselves; after a day at the latest"
_RETRY = "until clients ask for new ones, which they do at once"
_SECONDS = "for seconds, until it is ready again"
_NEVER = "nothing is over: nobody notices"
_TELL_PROGRAM = "until that program has the new value from this stack's Secrets"

_UPLOADS = Consequence(effect="upload forms that were handed out before are refused", until=_RETRY)
_NO_SERVICE = "none of the services here reads it, so people notice nothing unless you run that service yourself; then"


def _foreign(service: str, effect: str) -> Consequence:
    return Consequence(effect=f"{_NO_SERVICE} {service} {effect}", until=_TELL_PROGRAM, hurts=True)


_ROTATIONS = {
    "storage-authentication": Consequence(
        effect="credentials for Storage that clients hold are refused once", until=_DAY
    ),
    "zk-server": Consequence(
        effect="groups and profiles that exist cannot be read any more, and no client of today can open new ones",
        until="groups of today stay lost; for new ones " + _REBUILT,
        hurts=True,
    ),
    "zk-calling": Consequence(
        effect="clients of today refuse the credentials of call links", until=_REBUILT, hurts=True
    ),
    "zk-backups": Consequence(
        effect="clients of today refuse the credentials of backups, and backups of today belong to nobody",
        until="backups of today stay lost; for new ones " + _REBUILT,
        hurts=True,
    ),
    "unidentified-delivery-trust-root": Consequence(
        effect="clients of today refuse every sealed message", until=_REBUILT, hurts=True
    ),
    "unidentified-delivery": Consequence(
        effect="senders get certificates of the new key; the trust root that clients pin stays", until=_NEVER
    ),
    "noise-tunnel": Consequence(effect="clients of today cannot open the noise tunnel", until=_REBUILT, hurts=True),
    "noise-tunnel-proxy": _foreign("a proxy in front of the noise tunnel", "is not believed any more"),
    "attachments": Consequence(
        effect="upload forms that were handed out before are refused, so uploads under way end with an error",
        until=_RETRY,
    ),
    "cdn0-whisper-access-key": _UPLOADS,
    "cdn0-whisper-secret-key": _UPLOADS,
    "cdn0-storage-access-key": _UPLOADS,
    "cdn0-storage-secret-key": _UPLOADS,
    "redis": Consequence(
        effect="all Redis nodes and Whisper restart one after the other with two passwords among them, so requests "
        "fail and WebSockets close; no message is lost",
        until="for minutes, until the last of them is ready",
        hurts=True,
    ),
    "object-store-root": Consequence(
        effect="the object store restarts, so CDN0 answers 502; programs of yours that use flatline-root need the new "
        "value",
        until=_SECONDS,
    ),
    "object-store-pre-keys": Consequence(
        effect="the object store and LocalStack restart, so requests that need a table or a pre-key fail",
        until=_SECONDS,
    ),
    "object-store-cdn0": Consequence(effect="the object store restarts, so CDN0 answers 502", until=_SECONDS),
    "turn": Consequence(
        effect="the TURN server of `calls.turn` restarts, which ends relayed calls, and refuses credentials that "
        "devices hold; a TURN server of your own refuses all new ones",
        until="until devices ask for new credentials, which each call does; a server of your own needs the new value "
        "(`./flatline turn config --address <address>`)",
        hurts=True,
    ),
    "group-external-service": Consequence(
        effect="without group calls nobody notices; with them, whoever joins a call with an earlier token is refused",
        until=_RETRY,
    ),
    "link-device": Consequence(
        effect="a device that is being linked at this moment is refused", until="until its code is shown again"
    ),
    "registration-webhook": Consequence(
        effect="your gateway of codes refuses the requests of the registration service, so nobody can register",
        until="until it has the new value, from this stack's Secrets",
        hurts=True,
    ),
    "registration-collation-salt": Consequence(
        effect="limits on registrations by client address count from zero", until=_NEVER
    ),
    "directory-authentication": _foreign("a contact discovery service", "refuses all clients"),
    "directory-user-id": _foreign("a contact discovery service", "knows nobody's earlier quota any more"),
    "svr2-authentication": _foreign("a secure value recovery service", "refuses all clients"),
    "svr2-user-id": _foreign("a secure value recovery service", "does not find what people stored under their PIN"),
    "svrb-authentication": _foreign("a secure value recovery service", "refuses all clients"),
    "svrb-user-id": _foreign("a secure value recovery service", "does not find what people stored for backups"),
    "payments-authentication": _foreign("a payments service", "refuses all clients"),
    "issued-receipts-generator": Consequence(
        effect="a receipt that was issued before is not recognised when it is asked for again", until=_NEVER
    ),
}

_UNUSED = Consequence(effect="its readers restart; nothing uses the value", until=_NEVER)


def consequence(name: str) -> Consequence:
    """The effect on people when this secret is replaced. Raises KeyError for a secret without an entry."""
    if name in _ROTATIONS:
        return _ROTATIONS[name]
    if BY_NAME[name].why == UNUSED:
        return _UNUSED
    raise KeyError(f"config/schema/rotations.py has no entry for {name}")
