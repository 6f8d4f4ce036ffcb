"""What programs are told: by arguments, by the environment, and by the files that they read.

The first rule is about any program; the others know tusd, Redis and the gate of the public bucket.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from policies.model import Stack, at, items, mapping, number, objects, text
from policies.pods import Container, Pod, each_container, pods_of
from policies.rule import ResourceRule, Settings, StackRule, Violation, whole_number
from policies.rules.pods import image_of
from policies.traefik import is_narrow

_LOADERS: Final = re.compile(
    r"(?:LD_(?:PRELOAD|LIBRARY_PATH|AUDIT)|DYLD_\w+|BASH_ENV|ENV|PROMPT_COMMAND|PYTHONSTARTUP|PYTHONPATH|PYTHONINSPECT"
    r"|PERL5OPT|PERL5LIB|RUBYOPT|RUBYLIB|NODE_PATH|CLASSPATH|GCONV_PATH|CORECLR_\w+|COR_PROFILER\w*)$"
)
"""Variables by which a program loads code that is not its own."""

_RUNTIME_OPTIONS: Final = re.compile(
    r"-agentlib|-agentpath|-javaagent|-Xdebug|-Xrun|-Xbootclasspath|--patch-module|-XX:\+?(?:OnError|OnOutOfMemoryError"
    r"|HeapDump\w*|StartFlightRecording|FlightRecorder\w*|Flags|VMOptionsFile|EnableDynamicAgentLoading)"
    r"|jdwp|-Dcom\.sun\.management|-Djava\.rmi|-Djavax\.net\.ssl\.trustStore|-Dhttps?\.proxy|-DsocksProxy"
    r"|--inspect|--debug-port|(?:^|\s)(?:-r|--require|--import|--loader|--experimental-loader)(?:[\s=]|$)"
    r"|--allow-natives|-Dlog4j2\.formatMsgNoLookups=false"
)
"""Options that open a debugger or load an agent, whether an argument or one of the variables that hold options has
them."""

_OPTION_VARIABLE: Final = re.compile(r".*(?:_OPTIONS|_OPTS|OPTS|_ARGS|_FLAGS)$")
_UNVERIFIED: Final = re.compile(
    r"(?:NODE_TLS_REJECT_UNAUTHORIZED=0|PYTHONHTTPSVERIFY=0|GIT_SSL_NO_VERIFY=.+|SSL_CERT_(?:FILE|DIR)=.+"
    r"|NODE_EXTRA_CA_CERTS=.+|AWS_CA_BUNDLE=.+|REQUESTS_CA_BUNDLE=.+|CURL_CA_BUNDLE=.*|AWS_EC2_METADATA_\w*ENDPOINT=.+"
    r"|(?:HTTPS?|ALL|FTP)_PROXY=.+)$",
    re.IGNORECASE,
)
"""Variables that make a program believe others than those it would."""

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
"""Words that bring code into a running container."""

_SHELLS: Final = re.compile(r"(?:^|/)(?:ba|da|a|z|k)?sh$")
_INLINE: Final = re.compile(r"(?:^|/)(?:python[\d.]*|node|perl|ruby|php|java|jshell|deno|bun)$")
_INLINE_FLAGS: Final = frozenset({"-c", "-e", "-p", "--eval", "--print", "-r"})


def commands_of(container: Container) -> Iterator[tuple[str, list[str]]]:
    """Everything that a container runs: its program with its arguments, probes and hooks."""
    spec = container.spec
    yield "command", [text(word) for field in ("command", "args") for word in items(spec.get(field))]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield name, [text(word) for word in items(at(spec, name, "exec", "command"))]
    for name in ("postStart", "preStop"):
        yield f"lifecycle.{name}", [text(word) for word in items(at(spec, "lifecycle", name, "exec", "command"))]


def _foreign_code(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    for variable in objects(container.spec.get("env")):
        name, value = text(variable.get("name")), text(variable.get("value"))
        if _LOADERS.match(name):
            yield f"environment variable {name}: loads code that is not in the program"
        elif _OPTION_VARIABLE.match(name) and (_RUNTIME_OPTIONS.search(value) or value.lstrip().startswith("@")):
            yield f"environment variable {name}: opens a debugger or loads an agent"
        elif _UNVERIFIED.match(f"{name}={value}"):
            yield f"environment variable {name}: changes whom the program believes"
    for where, words in commands_of(container):
        if any(_RUNTIME_OPTIONS.search(word) for word in words if not _is_script(words, word)):
            yield f"{where}: opens a debugger or loads an agent"
        if any(_FETCH.search(part) and not _asks_itself(part) for part in _code_of(words)):
            yield f"{where}: fetches or hides what it runs"
        if len(words) > 1 and _INLINE.search(words[0]) and re.match(r"(?:https?|ftp|data):", words[1]):
            yield f"{where}: runs a program from an address"


_URL: Final = re.compile(r"https?://([^/\s'\"]+)")


def _asks_itself(part: str) -> bool:
    """Whether all addresses of a command are the pod's own, as in a probe."""
    found = _URL.findall(part)
    return (
        bool(found)
        and all(_LOOPBACK.match(host) for host in found)
        and not re.search(r"\|\s*(?:\S*/)?(?:ba|da|a)?sh\b", part)
    )


def _is_script(words: list[str], word: str) -> bool:
    return "\n" in word and bool(words) and bool(_SHELLS.search(words[0]))


def _code_of(words: list[str]) -> Iterator[str]:
    """The program's name and whatever of the arguments is a program itself."""
    if not words:
        return
    if _FETCH.match(" ".join(words[:3])):
        yield " ".join(words[:3])
    for index, word in enumerate(words[:-1]):
        is_flag = word in _INLINE_FLAGS or re.fullmatch(r"-[a-z]*c", word)
        if is_flag and any(_SHELLS.search(w) or _INLINE.search(w) or w in ("env", "busybox") for w in words[:index]):
            yield words[index + 1]


FOREIGN_CODE = ResourceRule(
    name="pod-foreign-code",
    description="A container runs what its image and the stack's files have: no debugger, no agent, nothing fetched.",
    frameworks=("CWE-494", "CWE-489", "MITRE ATT&CK T1105"),
    remedy="Put the code into the image or into a ConfigMap of the stack; take debuggers and agents out.",
    check=each_container(_foreign_code),
)

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
"""Options of tusd without a value of their own (its flags.go)."""


def flags_of(words: list[str]) -> dict[str, str]:
    """Options as Go's `flag` reads them: one dash or two, the last one counts, the first other word ends them."""
    found: dict[str, str] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            break
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = "true" if name in _BOOLEAN else (waiting.pop(0) if waiting else "")
        found[name] = value
    return found


def _is_on(flags: dict[str, str], name: str) -> bool:
    return flags.get(name, "").lower() in ("true", "1", "t")


def tusd_of(pod: Pod) -> Iterator[tuple[Container, dict[str, str]]]:
    """The containers of a pod that run tusd, with its options."""
    for container in pod.containers():
        if image_of(text(container.spec.get("image"))).repository.endswith("/tusd"):
            yield container, flags_of([text(word) for word in items(container.spec.get("args"))])


_LOOPBACK: Final = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])")


def _uploads(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for pod in pods_of(stack):
        for container, flags in tusd_of(pod):
            for message in (*_hook(pod, flags), *_functions(flags)):
                yield Violation(message=f"{container.where}: {message}", resource=pod.owner)


def _hook(pod: Pod, flags: dict[str, str]) -> Iterator[str]:
    address = re.fullmatch(r"http://([^/:]+|\[::1\]):(\d+)(/.*)?", flags.get("hooks-http", ""))
    if address is None or not _LOOPBACK.fullmatch(address.group(1)):
        yield "hooks-http is missing or no program of the same pod: nobody asks who uploads"
        return
    if "pre-create" not in flags.get("hooks-enabled-events", "").split(","):
        yield "hooks-enabled-events has no pre-create: nobody is asked before an upload begins"
    port = address.group(2)
    listening = list(_listening(pod, port))
    if not listening:
        yield "nothing in the pod listens where hooks-http asks"
    if any(not _LOOPBACK.fullmatch(host) for host in listening):
        yield "what hooks-http asks listens for other pods as well"
    for name in ("hooks-dir", "hooks-grpc", "hooks-plugin"):
        if flags.get(name):
            yield f"{name} is a hook beside the one that decides"


def _listening(pod: Pod, port: str) -> Iterator[str]:
    """The hosts of every argument of the pod's other containers that has this port: `127.0.0.1` of `127.0.0.1:8081`."""
    tusd = {container.name for container, _ in tusd_of(pod)}
    for container in pod.containers():
        if container.name in tusd:
            continue
        words = [text(word) for field in ("command", "args") for word in items(container.spec.get(field))]
        for index, word in enumerate(words):
            option, equals, value = word.partition("=")
            if option.lstrip("-") == "listen":
                value = value if equals else (words[index + 1] if index + 1 < len(words) else "")
                host, _, number_ = value.rpartition(":")
                if number_ == port:
                    yield host


def _functions(flags: dict[str, str]) -> Iterator[str]:
    for name in ("disable-termination", "disable-concatenation", "disable-download", "disable-cors", "behind-proxy"):
        if not _is_on(flags, name):
            yield f"{name} is not set"
    for name in ("expose-pprof", "s3-disable-ssl", "enable-experimental-protocol"):
        if _is_on(flags, name):
            yield f"{name} is set"
    if flags.get("expose-metrics", "true").lower() not in ("false", "0", "f"):  # tusd's own default is true
        yield "expose-metrics is not false"
    if (number(flags.get("max-size")) or 0) <= 0:
        yield "max-size is missing: uploads have no end"
    if flags.get("s3-endpoint", "https://").startswith("http://"):
        yield "s3-endpoint has no TLS"


UPLOADS = StackRule(
    name="uploads-authorised",
    description="tusd asks a program of its pod before each upload, and can neither delete, join nor read.",
    frameworks=("CWE-306", "CWE-862"),
    remedy="Set --hooks-http to 127.0.0.1 with pre-create, --max-size, and --disable- of what has its own service.",
    check=_uploads,
)

# --- Redis

_REDIS: Final = (
    (r"protected-mode\W+no\b", "protected-mode is off: everybody who reaches it may use it"),
    (r"enable-(?:debug-command|module-command|protected-configs)\W+(?:yes|local)\b", "lets clients change the server"),
    (r"bind\W+(?:\*|0\.0\.0\.0|-?::)", "listens on every address"),
    (r"requirepass\s+(?:\"\"|'')", "has an empty password"),
    (r"user\s+\S+\s+(?:[^\n]*\s)?(?:nopass|allcommands\s+nopass)\b", "has a user without a password"),
    (r"loadmodule\s+\S+", "loads a module"),
    (r"appendonly\W+no\b", "keeps nothing on its volume"),
    (r"appendfsync\W+no\b", "does not say when its writes are on the volume"),
)
_EVICTS: Final = re.compile(r"maxmemory-policy\W+(?!noeviction\b)[a-z]+-[a-z]+")


def _redis(stack: Stack, settings: Settings) -> Iterator[Violation]:
    for resource in stack.of("ConfigMap"):
        for name, content in mapping(resource.properties.get("data")).items():
            for message in _settings_of_redis(_without_comments(text(content)), str(name)):
                yield Violation(message=f"file {name}: {message}", resource=resource)
    for pod in pods_of(stack):
        for container in pod.containers():
            words = " ".join(word for _, command in commands_of(container) for word in command)
            if "redis" in words or "valkey" in words or "redis" in text(container.spec.get("image")):
                for message in _settings_of_redis(words.replace(" --", "\n"), ""):
                    yield Violation(message=f"{container.where}: {message}", resource=pod.owner)


def _without_comments(content: str) -> str:
    return "\n".join(line for line in content.splitlines() if not line.lstrip().startswith(("#", "//", "*")))


def _settings_of_redis(content: str, name: str) -> Iterator[str]:
    clustered = re.search(r"cluster-enabled\W+yes", content)  # only a cluster's nodes keep messages
    is_file = name.endswith(".conf") and re.search(r"^(?:maxmemory|appendonly|cluster-enabled|port)\b", content, re.M)
    for pattern, message in _REDIS:
        # appendonly and the like are words of many files; the first two are of Redis alone
        anywhere = pattern.startswith(("protected-mode", "enable-"))
        found = (anywhere or is_file or not name) and re.search(rf"(?:^|[\"'\s-]){pattern}", content, re.I | re.M)
        if found and (clustered or not pattern.startswith("append")):
            yield message
    if clustered and (_EVICTS.search(content) or (is_file and "maxmemory-policy" not in content)):
        yield "a full server drops messages instead of refusing writes"


REDIS = StackRule(
    name="redis-configuration",
    description="Redis keeps what it was given and asks everybody who they are.",
    frameworks=("CWE-306", "CIS Redis"),
    remedy="Leave protected-mode and the password on; set appendonly yes and maxmemory-policy noeviction.",
    check=_redis,
)

# --- the gate


def _gate(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """The gate is told by flags: `--read PATTERN`, `--upload NAME:BYTES:PATTERN`, `--s3-endpoint URL`."""
    flags = list(_flags([text(word) for field in ("command", "args") for word in items(container.spec.get(field))]))
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
        yield f"--read {value} takes keys of any form"
    if name == "upload":
        _, _, rest = value.partition(":")
        size, _, pattern = rest.partition(":")
        if not 0 < (number(size) or 0) <= settings["maxBytes"]:
            yield f"--upload {value} has no size, or a too large one"
        if not is_narrow(pattern, anchored=False):
            yield f"--upload {value} takes keys of any form"
    if name == "s3-endpoint":
        inside = re.fullmatch(r"http://[a-z0-9-]+\.[a-z0-9-]+\.svc(?::\d+)?/?", value)
        amazon = re.fullmatch(r"https://(?:[\w.-]+\.)?s3[\w.-]*\.amazonaws\.com(?:\.cn)?/?", value)
        if not inside and not amazon:
            yield "--s3-endpoint is neither a Service of the cluster nor Amazon S3"


GATE = ResourceRule(
    name="gate-patterns",
    description="The gate of the public bucket lets through keys of known forms and uploads of a limited size.",
    frameworks=("CWE-22", "CWE-400"),
    remedy="Write each pattern with its folder, sets of characters and lengths; give each upload its bytes.",
    settings={"maxBytes": whole_number("the largest file that a gate may take", 16 * 1024 * 1024)},
    check=each_container(_gate),
)

RULES = (FOREIGN_CODE, UPLOADS, REDIS, GATE)
