"""The configuration of programs by arguments, environment variables and files.

The first rule applies to any program; the others are for tusd, Redis and the gate of the public bucket.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from policies.model import Stack, at, items, mapping, number, objects, text
from policies.pods import Container, Pod, container_rule, pods_of
from policies.rule import Settings, Violation, stack_rule, whole_number
from policies.rules.pods import image_of
from policies.traefik import is_narrow

_LOADERS: Final = re.compile(
    r"(?:LD_(?:PRELOAD|LIBRARY_PATH|AUDIT)|DYLD_\w+|BASH_ENV|ENV|PROMPT_COMMAND|PYTHONSTARTUP|PYTHONPATH|PYTHONINSPECT"
    r"|PERL5OPT|PERL5LIB|RUBYOPT|RUBYLIB|NODE_PATH|CLASSPATH|GCONV_PATH|CORECLR_\w+|COR_PROFILER\w*)$"
)
"""Variables that make a program load additional code."""

_RUNTIME_OPTIONS: Final = re.compile(
    r"-agentlib|-agentpath|-javaagent|-Xdebug|-Xrun|-Xbootclasspath|--patch-module|-XX:\+?(?:OnError|OnOutOfMemoryError"
    r"|HeapDump\w*|StartFlightRecording|FlightRecorder\w*|Flags|VMOptionsFile|EnableDynamicAgentLoading)"
    r"|jdwp|-Dcom\.sun\.management|-Djava\.rmi|-Djavax\.net\.ssl\.trustStore|-Dhttps?\.proxy|-DsocksProxy"
    r"|--inspect|--debug-port|(?:^|\s)(?:-r|--require|--import|--loader|--experimental-loader)(?:[\s=]|$)"
    r"|--allow-natives|-Dlog4j2\.formatMsgNoLookups=false"
)
"""Options that open a debugger or load an agent, in arguments or in variables with options."""

_OPTION_VARIABLE: Final = re.compile(r".*(?:_OPTIONS|_OPTS|OPTS|_ARGS|_FLAGS)$")
_UNVERIFIED: Final = re.compile(
    r"(?:NODE_TLS_REJECT_UNAUTHORIZED=0|PYTHONHTTPSVERIFY=0|GIT_SSL_NO_VERIFY=.+|SSL_CERT_(?:FILE|DIR)=.+"
    r"|NODE_EXTRA_CA_CERTS=.+|AWS_CA_BUNDLE=.+|REQUESTS_CA_BUNDLE=.+|CURL_CA_BUNDLE=.*|AWS_EC2_METADATA_\w*ENDPOINT=.+"
    r"|(?:HTTPS?|ALL|FTP)_PROXY=.+)$",
    re.IGNORECASE,
)
"""Variables that change the certificates, proxies or endpoints that a program trusts."""

_FETCH: Final = re.compile(
    r"(?<![\w./-])(?:/\S*/)?(?:curl|wget|aria2c|axel|lynx|fetch|lwp-request|ncat|netcat|nc|socat|telnet|ftp|tftp|scp|sftp"
    r"|rsync|npx|uvx|pipx|kubectl|aws|gsutil)(?=\s|$)"
    r"|\bgit\s+(?:clone|pull|fetch)\b"
    r"|\bpip3?\s+(?:install|download)\b|\b(?:npm|pnpm|yarn)\s+(?:i|ci|install|add|exec|dlx)\b"
    r"|\b(?:apk\s+(?:\S+\s+)*add|(?:apt(?:-get)?|(?:micro)?dnf|yum)\s+(?:\S+\s+)*install"
    r"|gem\s+install|go\s+(?:install|run)|cargo\s+install|conda\s+install)\b"
    r"|/dev/(?:tcp|udp)/|\bbase64\s+(?:-d|-D|--decode)\b|\bopenssl\s+s_client\b|\bxxd\s+-r\b"
    r"|\burlopen\b|\burllib\b|\brequests\.get\b|\bimport\(\s*['\"]?(?:https?|data):"
    r"|\bfetch\(|\beval\b",
)
"""Commands that bring code into a running container, or decode it."""

_SHELLS: Final = re.compile(r"(?:^|/)(?:ba|da|a|z|k)?sh$")
_INLINE: Final = re.compile(r"(?:^|/)(?:python[\d.]*|node|perl|ruby|php|java|jshell|deno|bun)$")
_INLINE_FLAGS: Final = frozenset({"-c", "-e", "-p", "--eval", "--print", "-r"})


def commands_of(container: Container) -> Iterator[tuple[str, list[str]]]:
    """Yields (where, words) for each command of a container: its program with arguments, its probes and its hooks."""
    yield "command", container.command
    for where, handler in container.handlers():
        yield where, [text(word) for word in items(at(handler, "exec", "command"))]


@container_rule(
    remedy="Put the code into the image or into a ConfigMap of the stack; remove debuggers and agents.",
    frameworks=("CWE-494", "CWE-489", "MITRE ATT&CK T1105"),
)
def pod_foreign_code(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """A container runs only code of its image and of the stack's files: no debugger, agent or download."""
    for variable in objects(container.spec.get("env")):
        name, value = text(variable.get("name")), text(variable.get("value"))
        if _LOADERS.match(name):
            yield f"environment variable {name}: loads additional code"
        elif _OPTION_VARIABLE.match(name) and (_RUNTIME_OPTIONS.search(value) or value.lstrip().startswith("@")):
            yield f"environment variable {name}: opens a debugger or loads an agent"
        elif _UNVERIFIED.match(f"{name}={value}"):
            yield f"environment variable {name}: changes the certificates, proxies or endpoints that the program trusts"
    for where, words in commands_of(container):
        if any(_RUNTIME_OPTIONS.search(word) for word in words if not _is_script(words, word)):
            yield f"{where}: opens a debugger or loads an agent"
        if any(_FETCH.search(part) and not _is_local(part) for part in _code_of(words)):
            yield f"{where}: downloads or decodes the code that it runs"
        if len(words) > 1 and _INLINE.search(words[0]) and re.match(r"(?:https?|ftp|data):", words[1]):
            yield f"{where}: runs a program from a URL"


_URL: Final = re.compile(r"https?://([^/\s'\"]+)")


def _is_local(part: str) -> bool:
    """True if all URLs of a command are on the pod itself, as in a probe."""
    hosts = _URL.findall(part)
    return (
        bool(hosts)
        and all(_LOOPBACK.match(host) for host in hosts)
        and not re.search(r"\|\s*(?:\S*/)?(?:ba|da|a)?sh\b", part)
    )


def _is_script(words: list[str], word: str) -> bool:
    return "\n" in word and bool(words) and bool(_SHELLS.search(words[0]))


def _code_of(words: list[str]) -> Iterator[str]:
    """The program's name, and the arguments that are code."""
    if not words:
        return
    if _FETCH.match(" ".join(words[:3])):
        yield " ".join(words[:3])
    for index, word in enumerate(words[:-1]):
        is_flag = word in _INLINE_FLAGS or re.fullmatch(r"-[a-z]*c", word)
        if is_flag and any(_SHELLS.search(w) or _INLINE.search(w) or w in ("env", "busybox") for w in words[:index]):
            yield words[index + 1]


# --- tusd

_BOOLEAN: Final = frozenset(
    {
        "acquire-lock-fail-fast",
        "behind-proxy",
        "cors-allow-credentials",
        "disable-concatenation",
        "disable-cors",
        "disable-download",
        "disable-termination",
        "enable-h2c",
        "enable-experimental-protocol",
        "expose-metrics",
        "expose-pprof",
        "s3-disable-content-hashes",
        "s3-disable-ssl",
        "s3-log-api-calls",
        "s3-transfer-acceleration",
        "show-greeting",
        "show-startup-logs",
        "verbose",
        "version",
    }
)
"""Boolean options of tusd (its flags.go), whose value is not a separate argument."""


def flags_of(words: list[str]) -> dict[str, str]:
    """Parses options like Go's `flag`: one dash or two, the last value wins, and the first other word ends them."""
    flags: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            break
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = "true" if name in _BOOLEAN else (rest.pop(0) if rest else "")
        flags[name] = value
    return flags


def _is_on(flags: dict[str, str], name: str) -> bool:
    return flags.get(name, "").lower() in ("true", "1", "t")


def tusd_of(pod: Pod) -> Iterator[tuple[Container, dict[str, str]]]:
    """Yields the containers of a pod that run tusd, with tusd's options."""
    for container in pod.containers():
        if image_of(text(container.spec.get("image"))).repository.endswith("/tusd"):
            yield container, flags_of([text(word) for word in items(container.spec.get("args"))])


_LOOPBACK: Final = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])")


@stack_rule(
    remedy="Set --hooks-http to 127.0.0.1 with pre-create, --max-size, and the --disable-... options that are missing.",
    frameworks=("CWE-306", "CWE-862"),
)
def uploads_authorised(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A hook in tusd's pod authorises each upload; tusd does not delete, concatenate or serve uploads."""
    for pod in pods_of(stack):
        for container, flags in tusd_of(pod):
            for message in (*_hook(pod, flags), *_functions(flags)):
                yield Violation(f"{container.where}: {message}", pod.owner)


def _hook(pod: Pod, flags: dict[str, str]) -> Iterator[str]:
    address = re.fullmatch(r"http://([^/:]+|\[::1\]):(\d+)(/.*)?", flags.get("hooks-http", ""))
    if address is None or not _LOOPBACK.fullmatch(address.group(1)):
        yield "hooks-http is missing or not a program of the same pod: uploads are not authorised"
        return
    if "pre-create" not in flags.get("hooks-enabled-events", "").split(","):
        yield "hooks-enabled-events has no pre-create: uploads are not authorised before they begin"
    port = address.group(2)
    listening = list(_listening(pod, port))
    if not listening:
        yield "no program in the pod listens on the port of hooks-http"
    if any(not _LOOPBACK.fullmatch(host) for host in listening):
        yield "the program of hooks-http also listens for other pods"
    for name in ("hooks-dir", "hooks-grpc", "hooks-plugin"):
        if flags.get(name):
            yield f"{name} is a second hook besides hooks-http"


def _listening(pod: Pod, port: str) -> Iterator[str]:
    """The hosts on which other containers of the pod listen at a port: `127.0.0.1` of `--listen 127.0.0.1:8081`."""
    tusd = {container.name for container, _ in tusd_of(pod)}
    for container in pod.containers():
        if container.name in tusd:
            continue
        words = container.command
        for index, word in enumerate(words):
            option, equals, value = word.partition("=")
            if option.lstrip("-") == "listen":
                value = value if equals else (words[index + 1] if index + 1 < len(words) else "")
                host, _, listened = value.rpartition(":")
                if listened == port:
                    yield host


def _functions(flags: dict[str, str]) -> Iterator[str]:
    for name in ("disable-termination", "disable-concatenation", "disable-download", "disable-cors", "behind-proxy"):
        if not _is_on(flags, name):
            yield f"{name} is not set"
    for name in ("expose-pprof", "s3-disable-ssl", "enable-experimental-protocol"):
        if _is_on(flags, name):
            yield f"{name} is set"
    if flags.get("expose-metrics", "true").lower() not in ("false", "0", "f"):  # tusd's default is true
        yield "expose-metrics is not false"
    if (number(flags.get("max-size")) or 0) <= 0:
        yield "max-size is missing: the size of uploads is unlimited"
    if flags.get("s3-endpoint", "https://").startswith("http://"):
        yield "s3-endpoint does not use TLS"


# --- Redis

_REDIS: Final = (
    ("protected-mode", r"\W+no\b", "protected-mode is off: any client that reaches the server can use it"),
    (
        "enable-",
        r"(?:debug-command|module-command|protected-configs)\W+(?:yes|local)\b",
        "clients can change the server",
    ),
    ("bind", r"\W+(?:\*|0\.0\.0\.0|-?::)", "the server listens on every address"),
    ("requirepass", r"\s+(?:\"\"|'')", "the password is empty"),
    ("user", r"\s+\S+\s+(?:[^\n]*\s)?(?:nopass|allcommands\s+nopass)\b", "a user has no password"),
    ("loadmodule", r"\s+\S+", "the server loads a module"),
    ("appendonly", r"\W+no\b", "the server does not persist its data"),
    ("appendfsync", r"\W+(?:no|everysec)\b", "the server acknowledges writes that are not on its volume yet"),
)
"""The word that a setting begins with, the pattern of the rest, and what is wrong with it."""
_EVICTS: Final = re.compile(r"maxmemory-policy\W+(?!noeviction\b)[a-z]+-[a-z]+")


@stack_rule(
    remedy="Keep protected-mode and the password; set appendonly yes and maxmemory-policy noeviction.",
    frameworks=("CWE-306", "CIS Redis"),
)
def redis_configuration(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Redis persists its data and authenticates its clients."""
    for resource in stack.of("ConfigMap"):
        for name, content in mapping(resource.properties.get("data")).items():
            for message in _redis_settings(_without_comments(text(content)), str(name)):
                yield Violation(f"file {name}: {message}", resource)
    for pod in pods_of(stack):
        for container in pod.containers():
            words = " ".join(word for _, command in commands_of(container) for word in command)
            if "redis" in words or "valkey" in words or "redis" in text(container.spec.get("image")):
                for message in _redis_settings(words.replace(" --", "\n"), ""):
                    yield Violation(f"{container.where}: {message}", pod.owner)


def _without_comments(content: str) -> str:
    return "\n".join(line for line in content.splitlines() if not line.lstrip().startswith(("#", "//", "*")))


def _redis_settings(content: str, name: str) -> Iterator[str]:
    clustered = re.search(r"cluster-enabled\W+yes", content)  # only the nodes of a cluster store messages
    lowered = content.casefold()  # a word that is not in it is found sooner than its pattern
    is_file = name.endswith(".conf") and re.search(r"^(?:maxmemory|appendonly|cluster-enabled|port)\b", content, re.M)
    for word, rest, message in _REDIS:
        # Only the first two words are unique to Redis. The others are common in files.
        is_unique = word in ("protected-mode", "enable-")
        is_meant = word in lowered and (is_unique or is_file or not name)
        match = is_meant and re.search(rf"(?:^|[\"'\s-]){word}{rest}", content, re.I | re.M)
        if match and (clustered or not word.startswith("append")):
            yield message
    if clustered and (_EVICTS.search(content) or (is_file and "maxmemory-policy" not in content)):
        yield "a full server evicts messages instead of rejecting writes"


# --- the gate


@container_rule(
    remedy="Limit each pattern to a folder, character sets and lengths; set the bytes of each upload.",
    frameworks=("CWE-22", "CWE-400"),
    settings={"maxBytes": whole_number("the largest upload, in bytes", 16 * 1024 * 1024)},
)
def gate_patterns(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """The gate of the public bucket accepts only keys of fixed formats and uploads of a limited size."""
    # Its flags are `--read PATTERN`, `--upload NAME:BYTES:PATTERN` and `--s3-endpoint URL`.
    flags = list(_flags(container.command))
    if any(name in ("read", "upload") for name, _ in flags):
        for name, value in flags:
            yield from _open_doors(name, value, settings)


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """Every `--name=value` and `--name value` of some words."""
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            yield name[2:], value if equals else following


def _open_doors(name: str, value: str, settings: Settings) -> Iterator[str]:
    if name == "read" and not is_narrow(value, anchored=False):
        yield f"--read {value} matches keys of any length or content"
    if name == "upload":
        _, _, rest = value.partition(":")
        size, _, pattern = rest.partition(":")
        if not 0 < (number(size) or 0) <= settings["maxBytes"]:
            yield f"--upload {value} has no size, or its size is too large"
        if not is_narrow(pattern, anchored=False):
            yield f"--upload {value} matches keys of any length or content"
    if name == "s3-endpoint":
        inside = re.fullmatch(r"http://[a-z0-9-]+\.[a-z0-9-]+\.svc(?::\d+)?/?", value)
        amazon = re.fullmatch(r"https://(?:[\w.-]+\.)?s3[\w.-]*\.amazonaws\.com(?:\.cn)?/?", value)
        if not inside and not amazon:
            yield "--s3-endpoint is neither a Service of the cluster nor Amazon S3"
