"""k3s on a machine without a cluster, from a release server on loopback. A binary stands in: k3s itself never runs."""

import hashlib
import os
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from cli import choice, download, k3s, kubeconfig, stacks
from cli.choice import RenderPlan, UpOptions
from cli.commands import cluster_remove
from cli.k3s import Machine
from cli.terminal import Terminal
from config.k3s import BINARIES, NETWORKS, VERSION, K3s
from errors import FlatlineError
from tests.lab.served import Handler, serving
from tests.unit.cli.checkout import calls
from tests.unit.cli.checkout import kubeconfig as written_kubeconfig
from tests.unit.cli.conftest import ApiServer
from tests.unit.cli.stand_ins import put_program

BINARY = b"""#!/bin/sh
# The API server answers at once, and knows Traefik's objects when it is asked again.
here=$(dirname "$0")/../../../etc/rancher/k3s
case "$*" in
  *readyz) ;;
  *middlewares.traefik.io) test -e "$here/asked" || { touch "$here/asked"; exit 1; } ;;
  *) exit 2 ;;
esac
exit 0
""" + (b"# padding\n" * 20_000)


@dataclass
class Releases:
    """A server with one file; `cut` are the bytes after which each next answer breaks off."""

    url: str = ""
    content: bytes = BINARY
    ranges: bool = True
    cut: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def releases() -> Iterator[Releases]:
    found = Releases()

    class Answers(Handler):
        def answer(self) -> None:
            wanted, size = self.headers.get("Range"), len(found.content)
            found.asked.append((self.path, wanted))
            start = int(re.findall(r"bytes=(\d+)-", wanted)[0]) if wanted and found.ranges else 0
            if start >= size:
                self.reply(416)
                return
            part = {"Content_Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
            end = start + found.cut.pop(0) if found.cut else size
            body = found.content[start:end]
            self.reply(206 if start else 200, body, Content_Length=str(size - start), Connection="close", **part)

    with serving(Answers) as port:
        found.url = f"http://127.0.0.1:{port}"
        yield found


class Person(Terminal):
    """A terminal with somebody who answers every question alike."""

    def __init__(self, answer: str, *, there: bool = True) -> None:
        super().__init__()
        self.answer, self.there, self.asked = answer, there, list[str]()

    @property
    def interactive(self) -> bool:
        return self.there

    def ask(self, question: str) -> str:
        self.asked.append(question)
        return self.answer


@dataclass
class Place:
    """A machine whose files are below a folder, and whose programs record what they are told."""

    machine: Machine
    programs: Path
    cache: Path
    kubeconfig: Path

    def files(self) -> set[str]:
        return {
            str(each.relative_to(self.machine.root))
            for each in self.machine.root.rglob("*")
            if each.is_symlink() or each.is_file()
        }

    def told(self, name: str) -> list[list[str]]:
        return [call["arguments"] for call in calls(self.programs / f"{name}.calls")]

    def program(self, name: str, body: str) -> None:
        put_program(self.programs, name, "record(arguments=sys.argv[1:])\n" + body)


STARTS = """
from pathlib import Path
if sys.argv[1:3] == ["enable", "--now"]:
    text = "clusters: [{name: default, cluster: {server: 'https://127.0.0.1:6443'}}]\\n"
    text += "users: [{name: default, user: {token: t0ken}}]\\n"
    Path(ADMIN).write_text(text)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    root = tmp_path / "root"
    (root / "run/systemd/system").mkdir(parents=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "home/.kube/config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(k3s.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(k3s, "BINARIES", {"amd64": ("k3s", hashlib.sha256(BINARY).hexdigest())})
    found = Place(Machine(root, ()), programs, tmp_path / "cache/flatline", tmp_path / "home/.kube/config")
    found.program("systemctl", STARTS.replace("ADMIN", repr(str(root / k3s.ADMIN))))
    found.program("ufw", "print('Status: active')")
    found.program("umount", "")
    return found


@pytest.fixture
def loaded(releases: Releases) -> stacks.LoadedStack:
    read = stacks.read("dev")
    settings = read.settings.model_copy(update={"k3s": K3s(releases=releases.url)})
    return stacks.LoadedStack(read.stack, read.config, settings)


def test_the_release_is_pinned_for_both_processors() -> None:
    assert re.fullmatch(r"v1\.\d+\.\d+\+k3s\d+", VERSION)
    assert {name for name, _ in BINARIES.values()} == {"k3s", "k3s-arm64"}
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for _, sha256 in BINARIES.values())


def test_agreed_it_is_installed_and_one_command_removes_all_of_it(
    place: Place, releases: Releases, loaded: stacks.LoadedStack
) -> None:
    before = place.files()
    assert k3s.offer(loaded, Person("y"), place.machine) == "k3s"
    assert releases.asked == [(f"/{VERSION.replace('+', '%2B')}/k3s", None)]
    root = place.machine.root
    assert (root / k3s.BINARY).read_bytes() == BINARY
    assert os.access(root / k3s.BINARY, os.X_OK)
    assert yaml.safe_load((root / k3s.CONFIG).read_text()) == {
        "secrets-encryption": True,
        "write-kubeconfig-mode": "0600",
    }
    assert yaml.safe_load((root / k3s.TRAEFIK).read_text())["kind"] == "HelmChartConfig"
    assert VERSION in (root / k3s.UNIT).read_text()
    assert ["enable", "--now", "k3s"] in place.told("systemctl")
    opened = [words for words in place.told("ufw") if words[0] == "allow"]
    assert opened == [["allow", "from", each] for each in NETWORKS] + [
        ["allow", "80/tcp"],
        ["allow", "443/tcp"],
    ]
    assert (root / "etc/rancher/k3s/asked").exists(), "nobody waits for Traefik's objects"
    assert kubeconfig.contexts() == ["k3s"]
    cluster = kubeconfig.cluster("k3s")
    assert cluster is not None
    assert cluster.server == "https://127.0.0.1:6443"
    assert place.kubeconfig.stat().st_mode & 0o777 == 0o600

    assert cluster_remove.run(Namespace(confirm=None), Person("k3s"), place.machine) == 0
    assert place.files() == before
    assert ["disable", "--now", "k3s"] in place.told("systemctl")
    assert [["delete", *words] for words in opened] == [words for words in place.told("ufw") if words[0] == "delete"]
    assert kubeconfig.contexts() == []


def test_firewalld_is_opened_and_closed(place: Place, loaded: stacks.LoadedStack) -> None:
    place.program("ufw", "print('Status: inactive')")
    place.program("firewall-cmd", "sys.exit('--query-' in sys.argv[-1] and 'service=http' != sys.argv[-1][8:])")
    k3s.offer(loaded, Person("y"), place.machine)
    opened = [words for words in place.told("firewall-cmd") if "--add-" in words[-1]]
    assert ["--permanent", "--add-service=http"] not in opened
    assert ["--permanent", "--zone=trusted", "--add-source=10.42.0.0/16"] in opened
    assert ["--permanent", "--add-service=https"] in opened
    k3s.remove(Person(""), place.machine)
    closed = [[word.replace("--add", "--remove") for word in words] for words in opened]
    assert place.told("firewall-cmd")[-len(closed) - 1 :] == [*closed, ["--reload"]]


def test_what_somebody_else_has_opened_stays_open(place: Place, loaded: stacks.LoadedStack) -> None:
    place.program("ufw", "print('Status: active\\nufw allow 80/tcp comment \\'my site\\'\\nufw allow 443/tcp')")
    k3s.offer(loaded, Person("y"), place.machine)
    k3s.remove(Person(""), place.machine)
    assert [words for words in place.told("ufw") if words[0] == "delete"] == [
        ["delete", "allow", "from", each] for each in NETWORKS
    ]


def test_what_fails_before_the_firewall_is_opened_closes_nothing(place: Place, loaded: stacks.LoadedStack) -> None:
    place.program("install", "sys.exit('no space left')")
    with pytest.raises(FlatlineError, match="install"):
        k3s.offer(loaded, Person("y"), place.machine)
    assert [words for words in place.told("ufw") if words[0] in {"allow", "delete"}] == []


def test_pods_of_a_cluster_in_containers_are_not_killed(place: Place, loaded: stacks.LoadedStack) -> None:
    k3s.offer(loaded, Person("y"), place.machine)
    groups = {
        "11": "0::/kubepods.slice/kubepods-burstable.slice/x.scope\n",
        "12": "0::/docker/6d1/kubepods/burstable/pod1\n",
        "13": "0::/system.slice/k3s.service\n",
        "14": "0::/user.slice\n",
        "15": "4:memory:/kubepods/besteffort/pod2\n1:name=systemd:/kubepods/besteffort/pod2\n",
    }
    for pid, text in groups.items():
        (place.machine.root / "proc" / pid).mkdir(parents=True)
        (place.machine.root / "proc" / pid / "cgroup").write_text(text)
    place.program("kill", "")
    k3s.remove(Person(""), place.machine)
    (killed,) = place.told("kill")
    assert (killed[0], sorted(killed[1:])) == ("-KILL", ["11", "13", "15"])


def test_data_that_could_not_be_deleted_is_removed_by_the_next_try(place: Place, loaded: stacks.LoadedStack) -> None:
    before = place.files()
    k3s.offer(loaded, Person("y"), place.machine)
    place.program(
        "rm",
        "import subprocess\nkept = [word for word in sys.argv[1:] if not word.endswith('var/lib/rancher/k3s')]\n"
        "subprocess.run(['/bin/rm', *kept], check=True)\nsys.exit(len(kept) < len(sys.argv) - 1)",
    )
    with pytest.raises(FlatlineError, match="rm"):
        cluster_remove.run(Namespace(confirm="k3s"), Person(""), place.machine)
    (place.programs / "rm").unlink()
    assert cluster_remove.run(Namespace(confirm="k3s"), Person(""), place.machine) == 0
    assert place.files() == before


def test_declined_nothing_is_downloaded_or_written(
    place: Place, releases: Releases, loaded: stacks.LoadedStack
) -> None:
    before, person = place.files(), Person("")
    assert k3s.offer(loaded, person, place.machine) is None
    assert person.asked == ["Install k3s on this machine? [y/N]"]
    assert (releases.asked, place.files(), place.cache.exists()) == ([], before, False)


def no_terminal(place: Place) -> Person:
    return Person("y", there=False)


def a_context(place: Place) -> Person:
    place.kubeconfig.parent.mkdir(parents=True)
    place.kubeconfig.write_text(written_kubeconfig({"mine": "https://127.0.0.1:1"}))
    return Person("y")


def a_k3s(place: Place) -> Person:
    (place.machine.root / k3s.BINARY).parent.mkdir(parents=True)
    (place.machine.root / k3s.BINARY).write_text("somebody else's")
    return Person("y")


def another_cluster(place: Place) -> Person:
    (place.machine.root / "var/lib/kubelet").mkdir(parents=True)
    return Person("y")


def no_systemd(place: Place) -> Person:
    (place.machine.root / "run/systemd/system").rmdir()
    return Person("y")


@pytest.mark.parametrize("arrange", [no_terminal, a_context, a_k3s, another_cluster, no_systemd])
def test_nobody_is_asked(place: Place, loaded: stacks.LoadedStack, arrange: Callable[[Place], Person]) -> None:
    person = arrange(place)
    assert k3s.offer(loaded, person, place.machine) is None
    assert person.asked == []


def test_a_broken_download_goes_on_where_it_broke(place: Place, releases: Releases, loaded: stacks.LoadedStack) -> None:
    releases.cut = [1000, 2000]
    k3s.offer(loaded, Person("y"), place.machine)
    assert [asked for _, asked in releases.asked] == [None, "bytes=1000-", "bytes=3000-"]
    assert (place.machine.root / k3s.BINARY).read_bytes() == BINARY


def test_another_run_goes_on_too(place: Place, releases: Releases, loaded: stacks.LoadedStack) -> None:
    before = place.files()
    releases.cut = [100] * download.TRIES
    with pytest.raises(FlatlineError, match="cannot be downloaded") as failed:
        k3s.offer(loaded, Person("y"), place.machine)
    assert f"The {100 * download.TRIES} bytes that came are kept" in failed.value.remedies[0]
    assert place.files() == before
    k3s.offer(loaded, Person("y"), place.machine)
    assert releases.asked[-1][1] == f"bytes={100 * download.TRIES}-"
    assert (place.machine.root / k3s.BINARY).read_bytes() == BINARY


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_without_ranges_or_with_a_shorter_file_is_asked_for_all_of_it(
    tmp_path: Path, releases: Releases, ranges: bool
) -> None:
    target, releases.ranges = tmp_path / "k3s", ranges
    (tmp_path / "k3s.partial").write_bytes(b"x" * (len(BINARY) + 1 if ranges else 10))
    found = download.fetch(f"{releases.url}/k3s", target, hashlib.sha256(BINARY).hexdigest(), "", Person(""))
    assert found.read_bytes() == BINARY
    again = len(releases.asked)
    download.fetch(f"{releases.url}/k3s", target, hashlib.sha256(BINARY).hexdigest(), "", Person(""))
    assert len(releases.asked) == again, "a file that is there is downloaded again"


def test_a_wrong_checksum_ends_it_with_nothing_left_behind(
    place: Place, releases: Releases, loaded: stacks.LoadedStack
) -> None:
    before = place.files()
    releases.content = BINARY.replace(b"exit 0", b"exit 1")
    with pytest.raises(FlatlineError, match="is not the file that is pinned") as refused:
        k3s.offer(loaded, Person("y"), place.machine)
    assert hashlib.sha256(releases.content).hexdigest() in refused.value.problem
    assert place.files() == before
    assert place.told("systemctl") == []
    assert [each.name for each in (place.cache / "k3s").iterdir() if not each.name.endswith(".lock")] == []


def test_a_release_that_is_not_there_names_the_setting(
    place: Place, releases: Releases, loaded: stacks.LoadedStack
) -> None:
    releases.content = b""
    with pytest.raises(FlatlineError) as missing:
        k3s.offer(loaded, Person("y"), place.machine)
    assert "flatline:k3s.releases" in missing.value.remedies[-1]


def test_what_fails_after_the_download_is_taken_back(place: Place, loaded: stacks.LoadedStack) -> None:
    before = place.files()
    place.program("systemctl", "if sys.argv[1] == 'enable': sys.exit('no such cgroup')")
    with pytest.raises(FlatlineError) as failed:
        k3s.offer(loaded, Person("y"), place.machine)
    assert "no such cgroup" in failed.value.in_a_line
    assert place.files() == before
    assert ["delete", "allow", "443/tcp"] in place.told("ufw")
    assert kubeconfig.contexts() == []


def test_mounts_of_pods_are_undone_the_innermost_first(place: Place, loaded: stacks.LoadedStack) -> None:
    k3s.offer(loaded, Person("y"), place.machine)
    (place.machine.root / "proc").mkdir()
    places = ["/var/lib/kubelet/pods/1/volume", "/var/lib/kubelet/pods/1/volume/inner", "/home", "/run/k3s/shm"]
    places.append("/var/lib/rancher/k3s-backup")
    (place.machine.root / "proc/mounts").write_text("".join(f"tmpfs {each} tmpfs rw 0 0\n" for each in places))
    k3s.remove(Person(""), place.machine)
    assert [words[0] for words in place.told("umount")] == [places[1], places[0], places[3]]


@pytest.mark.parametrize("answer", ["", "y", "dev"])
def test_nothing_is_removed_without_the_name(place: Place, loaded: stacks.LoadedStack, answer: str) -> None:
    k3s.offer(loaded, Person("y"), place.machine)
    before = place.files()
    with pytest.raises(FlatlineError, match="the name was not given"):
        cluster_remove.run(Namespace(confirm=answer or None), Person(answer), place.machine)
    assert place.files() == before


def test_somebody_else_s_k3s_is_left_alone(place: Place) -> None:
    a_k3s(place)
    (place.machine.root / k3s.UNIT).parent.mkdir(parents=True)
    (place.machine.root / k3s.UNIT).write_text("[Unit]\nDescription=Lightweight Kubernetes\n")
    before = place.files()
    with pytest.raises(FlatlineError, match="there is no k3s on this machine that"):
        cluster_remove.run(Namespace(confirm="k3s"), Person("k3s"), place.machine)
    assert place.files() == before


def test_up_goes_on_with_the_new_cluster(
    place: Place, loaded: stacks.LoadedStack, api_servers: tuple[ApiServer, ApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(*_: object) -> str:
        place.kubeconfig.parent.mkdir(parents=True)
        place.kubeconfig.write_text(written_kubeconfig({"k3s": api_servers[0].url}))
        return "k3s"

    monkeypatch.setattr(k3s, "offer", installed)
    monkeypatch.setattr("cli.engine.installed", lambda: (None, "there is no Pulumi CLI on the PATH"))
    chosen = choice.choose(loaded, UpOptions(), Person("n"))
    assert isinstance(chosen, RenderPlan)
    assert chosen.context == "k3s"
    assert f"cluster: context k3s ({api_servers[0].url}) answers" in chosen.reasons
