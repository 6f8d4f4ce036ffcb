"""k3s on this machine: `up` offers to install it where there is no cluster, and one command removes it again.

Everything that it brings is in `files`: the binary of a pinned release, its configuration, Traefik's, and a unit of
systemd. Files are put in place whole; `root` is where the file system begins, which tests set.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

import files
from cli import download, edge, kubeconfig
from cli.stacks import LoadedStack, cache_folder
from cli.terminal import Terminal
from config.k3s import BINARIES, NETWORKS, VERSION
from errors import FlatlineError

CONTEXT = "k3s"
BINARY, KUBECTL = Path("usr/local/bin/k3s"), Path("usr/local/bin/kubectl")
UNIT, CONFIG = Path("etc/systemd/system/k3s.service"), Path("etc/rancher/k3s/config.yaml")
TRAEFIK = Path("var/lib/rancher/k3s/server/manifests/flatline-traefik.yaml")
ADMIN = Path("etc/rancher/k3s/k3s.yaml")
OPENED = Path("etc/rancher/k3s/flatline-firewall.yaml")
"""The commands by which `install` has opened the firewall."""
DATA = (
    *(Path("var/lib/rancher/k3s"), Path("etc/rancher/k3s"), Path("etc/rancher/node")),
    *(Path("var/lib/kubelet"), Path("run/k3s")),
)
"""Paths that k3s writes. Where one of them is there before, nothing is offered: it may hold somebody's cluster."""
PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
MARK = "# Written by Flatline. `flatline cluster remove` removes it.\n"
START_SECONDS = 300.0
_MOUNTED = re.compile(r"/(run/k3s|var/lib/kubelet/pods|var/lib/rancher/k3s)(/|$)|/run/netns/cni-")
_GROUPS = ("/kubepods", "/system.slice/k3s.service")
_LINKS = ("cni0", "flannel.1")

CONFIGURATION: Mapping[str, Any] = {"write-kubeconfig-mode": "0600", "secrets-encryption": True}
"""Nobody but root reads the administrator's credentials, and Secrets are encrypted on the disk."""

SERVICE = """\
[Unit]
Description=Lightweight Kubernetes (k3s {version})
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart=/usr/local/bin/k3s server
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Machine:
    """This machine: where its file system begins, and who may change it."""

    root: Path = Path("/")
    administrator: tuple[str, ...] = () if os.geteuid() == 0 else ("sudo",)
    """The beginning of commands that only root may run."""

    def has(self, path: Path) -> bool:
        """True if there is a file, or what somebody else has put in its place."""
        return os.path.lexists(self.root / path)

    def run(self, *words: str | Path) -> str:
        """The output of a command as root. Raises FlatlineError with its own words."""
        command = [*self.administrator, *map(str, words)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise FlatlineError(f"{command[0]} is not on the PATH") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise FlatlineError(f"{' '.join(command[:4])} failed", *said)
        return done.stdout

    def put(self, path: Path, source: Path, mode: str) -> None:
        """Puts a file in place: under its name there is the whole file or what was there before."""
        there = self.root / path
        new = there.with_name(f".{there.name}.new")
        self.run("install", "-D", "-m", mode, source, new)
        self.run("mv", "-T", new, there)

    def write(self, path: Path, text: str, mode: str = "0644") -> None:
        """Writes a file, as `put` does."""
        with tempfile.TemporaryDirectory(prefix="flatline-") as folder:
            file = Path(folder) / path.name
            file.write_text(text)
            self.put(path, file, mode)

    def names(self, *words: str) -> bool:
        """True if a command is there and succeeds."""
        return shutil.which(words[0]) is not None and (
            subprocess.run([*self.administrator, *words], capture_output=True, check=False).returncode == 0
        )


THIS = Machine()


def offer(loaded: LoadedStack, terminal: Terminal, machine: Machine = THIS) -> str | None:
    """The context of a k3s that somebody has agreed to have installed now; None where nobody is asked, or declines.

    Asked is only on a terminal of a Linux machine with systemd, where kubeconfig knows no context and no k3s is there.
    """
    processor = PROCESSORS.get(platform.machine())
    if (
        not terminal.interactive
        or sys.platform != "linux"
        or processor is None
        or not machine.has(Path("run/systemd/system"))
        or any(map(machine.has, (BINARY, UNIT, *DATA)))
        or kubeconfig.contexts()
    ):
        return None
    terminal.note(
        f"There is no cluster: kubeconfig ({kubeconfig.where()}) knows none. k3s {VERSION} can be installed on this "
        f"machine: the binary from {loaded.settings.k3s.releases} (about 80 MB, checked), a service of systemd, and "
        "openings of the firewall for its pods and for ports 80 and 443. `./flatline cluster remove` removes it again."
    )
    if not terminal.agrees("Install k3s on this machine?"):
        return None
    install(loaded.settings.k3s.releases, processor, terminal, machine)
    return CONTEXT


def install(releases: str, processor: str, terminal: Terminal, machine: Machine = THIS) -> None:
    """Downloads k3s, checks it, and starts it; returns when its API answers. Raises FlatlineError.

    Nothing is put in place before the checksum is right. What fails after that is taken back.
    """
    name, sha256 = BINARIES[processor]
    url = f"{releases.rstrip('/')}/{quote(VERSION)}/{name}"
    elsewhere = "To download from another address: flatline:k3s.releases in the stack's file."
    binary = download.fetch(url, cache_folder() / "k3s" / f"{name}-{VERSION}", sha256, elsewhere, terminal)
    try:
        machine.write(CONFIG, MARK + yaml.safe_dump(dict(CONFIGURATION), sort_keys=True), "0600")
        machine.write(TRAEFIK, MARK + edge.helm_chart_config(), "0600")
        machine.write(UNIT, MARK + SERVICE.format(version=VERSION))
        machine.put(BINARY, binary, "0755")
        if shutil.which("kubectl") is None and not machine.has(KUBECTL):
            machine.run("ln", "-s", "k3s", machine.root / KUBECTL)
        _open_firewall(machine, terminal)
        machine.run("systemctl", "daemon-reload")
        with terminal.step(f"Starting k3s {VERSION}"):
            machine.run("systemctl", "enable", "--now", "k3s")
            _wait(machine)
        _name_context(machine)
    except BaseException:
        terminal.warn("k3s could not be installed: what was put in place is removed again.")
        remove(terminal, machine)
        raise
    terminal.note(f"k3s {VERSION} runs. Its context in {kubeconfig.files()[0]} is {CONTEXT}.")


def is_ours(machine: Machine = THIS) -> bool:
    """True if the service of this machine is one that `install` has written."""
    unit = machine.root / UNIT
    return unit.is_file() and unit.read_text().startswith(MARK)


def remove(terminal: Terminal, machine: Machine = THIS) -> None:
    """Ends k3s with all pods, and deletes all that `install` has brought and all that the cluster holds."""
    if machine.has(UNIT):
        with terminal.step("Ending k3s and its pods"):
            machine.run("systemctl", "disable", "--now", "k3s")
            _end_pods(machine)
    _close_firewall(machine, terminal)
    for path in _mounts(machine):
        machine.run("umount", path)
    for link in _LINKS:
        if machine.has(Path("sys/class/net") / link):
            machine.run("ip", "link", "delete", link)
    if (machine.root / KUBECTL).is_symlink() and os.readlink(machine.root / KUBECTL) == "k3s":
        machine.run("rm", machine.root / KUBECTL)
    for paths in ((BINARY, *DATA), (UNIT,)):  # the unit last: by it the next try sees that the rest is ours
        if gone := [machine.root / path for path in paths if machine.has(path)]:
            machine.run("rm", "-rf", "--one-file-system", *gone)
    if shutil.which("systemctl"):
        machine.run("systemctl", "daemon-reload")
    _forget_context()


# --- what runs ----------------------------------------------------------------------------------------------


def _wait(machine: Machine) -> None:
    """Returns when the API server has written its kubeconfig, answers, and knows objects of Traefik, as `up` makes."""
    end = time.monotonic() + START_SECONDS
    problem = f"there is no {machine.root / ADMIN}"
    while time.monotonic() < end:
        if machine.has(ADMIN):
            try:
                machine.run(machine.root / BINARY, "kubectl", "get", "--raw", "/readyz")
                machine.run(machine.root / BINARY, "kubectl", "get", f"customresourcedefinition/{edge.MIDDLEWARES}")
                return
            except FlatlineError as refused:
                problem = refused.in_a_line
        time.sleep(0.5)
    raise FlatlineError(
        f"k3s does not answer after {START_SECONDS:.0f} s: {problem}", "Its log: `journalctl --unit k3s`"
    )


def _end_pods(machine: Machine) -> None:
    """Kills what pods have left running: a service of systemd does not end them, so that they outlive its restart."""
    pids = []
    for group in (machine.root / "proc").glob("[0-9]*/cgroup"):
        try:
            text = group.read_text()
        except OSError:
            continue  # a process that has ended
        # at the root: pods of a cluster in containers, such as k3d's, are below their container's group
        if any(line.split(":", 2)[-1].startswith(_GROUPS) for line in text.splitlines()):
            pids.append(group.parent.name)
    if pids:
        machine.names("kill", "-KILL", *pids)  # some of them end with others


def _mounts(machine: Machine) -> list[Path]:
    """Mounts of k3s, the innermost first."""
    table = machine.root / "proc" / "mounts"
    lines = table.read_text().splitlines() if table.is_file() else []
    places = {line.split()[1] for line in lines if _MOUNTED.match(line.split()[1])}
    return [Path(each) for each in sorted(places, reverse=True)]


# --- the firewall -------------------------------------------------------------------------------------------


def _open_firewall(machine: Machine, terminal: Terminal) -> None:
    """Opens what is closed, and writes down what that is first: what somebody else has opened stays at the end."""
    rules = _closed(machine)
    machine.write(OPENED, MARK + yaml.safe_dump(rules), "0600")
    for words in rules:
        machine.run(*words)
        terminal.note(f"Firewall: {' '.join(words)}")


def _close_firewall(machine: Machine, terminal: Terminal) -> None:
    for opened in yaml.safe_load(machine.run("cat", machine.root / OPENED)) if machine.has(OPENED) else ():
        words = [word.replace("--add-", "--remove-") for word in opened]
        if words[0] == "ufw":
            words.insert(1, "delete")
        if not machine.names(*words):
            terminal.warn(f"The firewall has no such rule any more: {' '.join(words)}")


def _closed(machine: Machine) -> list[list[str]]:
    """The commands that open what ufw or firewalld keeps closed, if one of them is at work."""
    if machine.names("ufw", "status") and "Status: active" in machine.run("ufw", "status"):
        rules = [*(f"from {each}" for each in NETWORKS), "80/tcp", "443/tcp"]
        there = [line.partition(" comment ")[0] for line in machine.run("ufw", "show", "added").splitlines()]
        return [["ufw", "allow", *rule.split()] for rule in rules if f"ufw allow {rule}" not in there]
    if machine.names("firewall-cmd", "--state"):
        always = ["firewall-cmd", "--permanent"]
        rules = [*(f"source={each}" for each in NETWORKS), "service=http", "service=https"]
        wanted = [([*always, "--zone=trusted"] if "source" in rule else always, rule) for rule in rules]
        opening = [[*words, f"--add-{rule}"] for words, rule in wanted if not machine.names(*words, f"--query-{rule}")]
        return [*opening, ["firewall-cmd", "--reload"]] if opening else []
    return []


# --- kubeconfig ---------------------------------------------------------------------------------------------


def _name_context(machine: Machine) -> None:
    """Adds the cluster to kubeconfig as context `k3s`: k3s calls everything `default`."""
    found = yaml.safe_load(machine.run("cat", machine.root / ADMIN))
    mine = {
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
        "clusters": [{"name": CONTEXT, "cluster": found["clusters"][0]["cluster"]}],
        "users": [{"name": CONTEXT, "user": found["users"][0]["user"]}],
    }
    file = kubeconfig.files()[0]
    content = (yaml.safe_load(file.read_text()) if file.is_file() else None) or {"apiVersion": "v1", "kind": "Config"}
    for section, entries in mine.items():
        content[section] = [*(content.get(section) or ()), *entries]
    _write(file, content)


def _forget_context() -> None:
    """Takes context, cluster and user `k3s` out of kubeconfig."""
    file = kubeconfig.files()[0]
    content = (yaml.safe_load(file.read_text()) if file.is_file() else None) or {}
    kept = {
        section: [each for each in content.get(section) or () if each.get("name") != CONTEXT]
        for section in ("contexts", "clusters", "users")
        if section in content
    }
    if any(kept[section] != content[section] for section in kept):
        _write(
            file, {**content, **kept, **({"current-context": ""} if content.get("current-context") == CONTEXT else {})}
        )


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(file, yaml.safe_dump(dict(content), sort_keys=False).encode())
