"""A stand-in of Registration's development service: it knows no session, and answers other calls with nothing."""

from concurrent.futures import ThreadPoolExecutor

import grpc

from tests.lab.services import memory, web

PORT = 50051
SERVICE = "org.signal.registration.rpc.RegistrationService"
METHODS = ("CreateSession", "GetSessionMetadata", "SendVerificationCode", "CheckVerificationCode")
NO_SESSION = b"\x0a\x10" + bytes(16)
"""A request for a session that there is not."""
NOT_FOUND = b"\x12\x02\x08\x01"
"""Its answer: an error of type 1."""
REST = 160
"""MiB outside of the heap. Nobody has measured it: what Storage takes, and some more."""


def main(arguments: list[str], properties: dict[str, str], heap: int) -> None:
    """Serves until SIGTERM."""
    if properties.get("micronaut.environments") != "dev":
        raise SystemExit("no bean of type VerificationCodeSender exists: the environment is not dev")
    memory.start(heap, REST)

    def answering(answer: bytes) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)  # pyrefly: ignore[bad-argument-type]

    answers = {method: answering(NOT_FOUND if method == "GetSessionMetadata" else b"") for method in METHODS}
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, answers)])
    if not server.add_insecure_port(f"0.0.0.0:{PORT}"):
        raise SystemExit(f"port {PORT} is taken")
    server.start()
    print(f"serving on {PORT}", flush=True)
    web.wait_for_end()
    server.stop(grace=5).wait()
