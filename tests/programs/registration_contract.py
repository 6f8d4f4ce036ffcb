"""The contract of Signal's registration service as Whisper sees it, and a client that holds every answer against it.

The messages are described here once more, apart from what the program has: a number of a field that is wrong there is
not wrong here too.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

SERVICE = "org.signal.registration.rpc.RegistrationService"
DEADLINE_SECONDS = 15
"""Whisper's own."""
HEADERS = (("authorization", "Bearer fake-identity-token"),)

_PACKAGE = "org.signal.registration.rpc"
_TYPES = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _TYPES.TYPE_BOOL,
    "bytes": _TYPES.TYPE_BYTES,
    "string": _TYPES.TYPE_STRING,
    "uint64": _TYPES.TYPE_UINT64,
    "int32": _TYPES.TYPE_INT32,  # what an enum is on the wire
}
_METADATA = "RegistrationSessionMetadata"
_ERROR = "Error"

MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    _METADATA: (
        (1, "bytes", "session_id"),
        (2, "bool", "verified"),
        (3, "uint64", "e164"),
        (4, "bool", "may_request_sms"),
        (5, "uint64", "next_sms_seconds"),
        (6, "bool", "may_request_voice_call"),
        (7, "uint64", "next_voice_call_seconds"),
        (8, "bool", "may_check_code"),
        (9, "uint64", "next_code_check_seconds"),
        (10, "uint64", "expiration_seconds"),
    ),
    _ERROR: ((1, "int32", "type"), (2, "bool", "may_retry"), (3, "uint64", "retry_after_seconds")),
    "CreateRegistrationSessionRequest": (
        (1, "uint64", "e164"),
        (2, "bool", "account_exists_with_e164"),
        (3, "string", "rate_limit_collation_key"),
        (4, "string", "mcc"),
        (5, "string", "mnc"),
    ),
    "GetRegistrationSessionMetadataRequest": ((1, "bytes", "session_id"),),
    "SendVerificationCodeRequest": (
        (2, "int32", "transport"),
        (3, "string", "accept_language"),
        (4, "int32", "client_type"),
        (5, "bytes", "session_id"),
        (6, "string", "sender_name"),
    ),
    "CheckVerificationCodeRequest": ((1, "bytes", "session_id"), (2, "string", "verification_code")),
    "FirstResponse": ((1, _METADATA, "session_metadata"), (2, _ERROR, "error")),
    "LaterResponse": ((2, _METADATA, "session_metadata"), (3, _ERROR, "error")),
}
METHODS = {
    "CreateSession": ("CreateRegistrationSessionRequest", "FirstResponse"),
    "GetSessionMetadata": ("GetRegistrationSessionMetadataRequest", "FirstResponse"),
    "SendVerificationCode": ("SendVerificationCodeRequest", "LaterResponse"),
    "CheckVerificationCode": ("CheckVerificationCodeRequest", "LaterResponse"),
}

SMS, VOICE = 1, 2
RATE_LIMITED, ILLEGAL_PHONE_NUMBER = 1, 2
NOT_FOUND = 1
SENDER_REJECTED, SEND_RATE_LIMITED, SEND_NOT_FOUND, ALREADY_VERIFIED, TRANSPORT_NOT_ALLOWED = 1, 3, 4, 5, 6
NO_CODE_SENT, CHECK_RATE_LIMITED, CHECK_NOT_FOUND, ATTEMPT_EXPIRED = 1, 2, 3, 4

UNDERSTOOD = {
    "CreateSession": {RATE_LIMITED, ILLEGAL_PHONE_NUMBER},
    "GetSessionMetadata": {NOT_FOUND},
    "SendVerificationCode": {
        *(SENDER_REJECTED, SEND_RATE_LIMITED, SEND_NOT_FOUND, ALREADY_VERIFIED, TRANSPORT_NOT_ALLOWED),
        7,  # SUSPECTED_FRAUD
    },
    "CheckVerificationCode": {NO_CODE_SENT, CHECK_RATE_LIMITED, CHECK_NOT_FOUND, ATTEMPT_EXPIRED},
}
"""The types of errors that Whisper turns into answers of its own; others are its HTTP 500."""
WITHOUT_METADATA = {
    ("SendVerificationCode", SEND_NOT_FOUND),
    ("CheckVerificationCode", CHECK_NOT_FOUND),
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="registration.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, kind, label in fields:
            one = message.field.add(name=label, number=number, label=_TYPES.LABEL_OPTIONAL)
            if kind in _SCALARS:
                one.type = _SCALARS[kind]
            else:
                one.type, one.type_name = _TYPES.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    factory: Any = message_factory  # the pods on the node have an older protobuf
    made = getattr(factory, "GetMessageClass", None) or factory.MessageFactory(pool).GetPrototype
    return {name: made(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in MESSAGES}


CLASSES = _classes()


def path(method: str) -> str:
    return f"/{SERVICE}/{method}"


def understood(method: str, answer: Any, number: str | None) -> None:
    """Fails for an answer that Whisper would not understand: it throws for each of these."""
    if answer.HasField("error"):
        assert answer.error.type in UNDERSTOOD[method], f"{method}: error {answer.error.type}"
        assert answer.error.may_retry or answer.error.retry_after_seconds == 0
    first = method in {"CreateSession", "GetSessionMetadata"}
    with_metadata = not answer.HasField("error") or not (first or (method, answer.error.type) in WITHOUT_METADATA)
    assert answer.HasField("session_metadata") == with_metadata, method
    if with_metadata:
        metadata = answer.session_metadata
        assert len(metadata.session_id) > 0
        assert metadata.expiration_seconds > 0
        assert 10**6 <= metadata.e164 < 10**15
        assert number is None or metadata.e164 == int(number)


@dataclass
class Client:
    """Calls as Whisper does, and checks the form of every answer."""

    port: int
    numbers: dict[bytes, str] = field(default_factory=dict)
    channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def raw(self, method: str, body: bytes, **options: Any) -> bytes:
        """The bytes that answer some bytes."""
        call = self.channel.unary_unary(method)
        return call(body, timeout=options.pop("timeout", DEADLINE_SECONDS), metadata=HEADERS, **options)

    def call(self, method: str, **fields: Any) -> Any:
        request, response = (CLASSES[name] for name in METHODS[method])
        answer = response.FromString(self.raw(path(method), request(**fields).SerializeToString(), wait_for_ready=True))
        understood(method, answer, self.numbers.get(fields.get("session_id", b"")))
        return answer

    def create(self, number: str, key: str, *, exists: bool = False) -> Any:
        fields = {"account_exists_with_e164": exists, "rate_limit_collation_key": key, "mcc": "262", "mnc": "01"}
        answer = self.call("CreateSession", e164=int(number), **fields)
        if answer.HasField("session_metadata"):
            self.numbers[answer.session_metadata.session_id] = number
        return answer

    def get(self, session: bytes) -> Any:
        return self.call("GetSessionMetadata", session_id=session)

    def send(self, session: bytes, transport: int = SMS, language: str = "de-DE, en;q=0.5") -> Any:
        fields = {"transport": transport, "accept_language": language, "client_type": 3, "session_id": session}
        return self.call("SendVerificationCode", **fields)

    def check(self, session: bytes, code: str) -> Any:
        return self.call("CheckVerificationCode", session_id=session, verification_code=code)

    def ready(self, number: str, key: str, *, exists: bool = False) -> bytes:
        """A session in which a code was sent."""
        session: bytes = self.create(number, key, exists=exists).session_metadata.session_id
        self.send(session)
        return session

    def register(self, number: str, key: str, code: str, *, exists: bool = False) -> bool:
        """A whole registration, in the order of Whisper's calls; whether it may go on to make the account."""
        session = self.ready(number, key, exists=exists)
        self.get(session)
        verified: bool = self.check(session, code).session_metadata.verified
        metadata = self.get(session).session_metadata
        assert metadata.verified == verified
        return verified
