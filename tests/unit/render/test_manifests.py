"""Manifests have the recorded objects, change only with them, and leave foreign files alone."""

import base64
import fcntl
import json
import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pulumi_tls as tls
import pytest
import yaml
from pulumi import Output, ResourceOptions

import files
from render import manifests
from render.manifests import ManifestError, tree, write
from render.model import Recording
from tests.unit.render.programs import Providers, in_kubernetes, kept, named, run, whole

METADATA: Any = {"namespace": "flatline", "name": "it"}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def thing(version: str, opts: ResourceOptions, namespace: str = "flatline") -> None:
    kubernetes.apiextensions.CustomResource(
        f"{version}-{namespace}",
        api_version=version,
        kind="Thing",
        metadata={"name": "it", "namespace": namespace},
        opts=opts,
    )


class TestTree:
    def test_names_and_order(self) -> None:
        names = sorted(tree(kept(whole)))
        kustomization = yaml.safe_load(tree(kept(whole))[manifests.KUSTOMIZATION])
        assert kustomization["resources"] == [name for name in names if name[0].isdigit()]
        assert [name for name in names if "secret" not in name and "configmap" not in name] == [
            "01-namespace_flatline.yaml",
            "10-deployment.apps_flatline_whisper.yaml",
            "10-ingressroute.traefik.io_flatline_whisper.yaml",
            "10-service_flatline_whisper.yaml",
            "kustomization.yaml",
            "stack-outputs.json",
        ]

    def test_definitions_come_first(self) -> None:
        spec: Any = {
            "group": "example.org",
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Cluster",
            "versions": [],
        }

        def program(opts: ResourceOptions) -> None:
            kubernetes.core.v1.Namespace("a", metadata={"name": "a"}, opts=opts)
            kubernetes.apiextensions.v1.CustomResourceDefinition(
                "things", metadata={"name": "things.example.org"}, spec=spec, opts=opts
            )
            thing("example.org/v1", opts)

        resources = yaml.safe_load(tree(in_kubernetes(program))[manifests.KUSTOMIZATION])["resources"]
        assert resources == [
            "00-customresourcedefinition.apiextensions.k8s.io_things.example.org.yaml",
            "01-namespace_a.yaml",
            "10-thing.example.org_flatline_it.yaml",
        ]

    def test_objects_are_those_of_the_recording(self) -> None:
        recording = kept(whole)
        texts = tree(recording)
        for resource in manifests.kubernetes_objects(recording):
            assert yaml.safe_load(texts[manifests.file_name(resource)]) == resource.outputs
        deployment = yaml.safe_load(texts["10-deployment.apps_flatline_whisper.yaml"])
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        assert volumes[0]["secret"]["secretName"] == named(recording, "outer-secret").outputs["metadata"]["name"]
        assert volumes[2] == {"name": "scratch", "emptyDir": {}}

    def test_multi_line_text_is_readable(self) -> None:
        (text,) = [text for name, text in tree(kept(whole)).items() if "configmap" in name]
        assert "  a.yaml: |\n    a: 1\n    b: 2\n" in text

    def test_stack_outputs(self) -> None:
        recording = kept(whole)
        assert json.loads(tree(recording)[manifests.STACK_OUTPUTS]) == recording.outputs

    def test_same_object_twice(self) -> None:
        def program(opts: ResourceOptions) -> None:
            kubernetes.core.v1.ConfigMap("one", metadata=METADATA, opts=opts)
            kubernetes.core.v1.ConfigMap("two", metadata=METADATA, opts=opts)

        with pytest.raises(ManifestError, match=r"same object, ConfigMap it in flatline: .*::one and .*::two"):
            tree(in_kubernetes(program))

    def test_same_object_in_two_versions_of_its_group(self) -> None:
        with pytest.raises(ManifestError, match="same object"):
            tree(in_kubernetes(lambda opts: [thing(f"example.org/{version}", opts) for version in ("v1", "v1beta1")]))

    def test_same_name_in_another_group_or_namespace_is_another_object(self) -> None:
        places = (("a.org", "x"), ("b.org", "x"), ("a.org", "y"))
        recording = in_kubernetes(lambda opts: [thing(f"{group}/v1", opts, space) for group, space in places])
        assert len(tree(recording)) == 3 + 2

    def test_without_a_namespace(self) -> None:
        with pytest.raises(ManifestError, match=r"ConfigMap it \(urn:.*\) has no metadata\.namespace"):
            tree(in_kubernetes(lambda opts: kubernetes.core.v1.ConfigMap("it", metadata={"name": "it"}, opts=opts)))

    def test_preview(self) -> None:
        with pytest.raises(ManifestError, match="a preview has no values"):
            tree(kept(whole, preview=True))

    @pytest.mark.parametrize("name", ["kustomization.yaml", "../escape", "", manifests.INVENTORY, "a/b"])
    def test_extra_files_may_not_replace_others(self, name: str) -> None:
        with pytest.raises(ManifestError):
            tree(kept(whole), extra={name: "text"})


class TestRedacted:
    def test_no_secret_is_left(self, tmp_path: Path) -> None:
        recording = kept(whole)
        write(recording, tmp_path / "out", redact=True)
        everything = b"".join(contents(tmp_path / "out").values()).decode()
        secrets = [resource.outputs["result"] for resource in recording if "result" in resource.outputs]
        assert len(secrets) == 3
        for secret in secrets:
            assert secret not in everything
            assert base64.b64encode(secret.encode()).decode() not in everything
        assert "PRIVATE KEY" not in everything

    def test_says_nothing_about_the_value(self) -> None:
        def with_password(text: str) -> dict[str, str]:
            def program(opts: ResourceOptions) -> None:
                data = base64.b64encode(text.encode()).decode()
                kubernetes.core.v1.Secret("it", metadata=METADATA, string_data={"a": text}, data={"b": data}, opts=opts)

            return tree(in_kubernetes(program), redact=True)

        assert with_password("short") == with_password("a much longer one")
        (text,) = [text for name, text in with_password("short").items() if "secret" in name]
        content = yaml.safe_load(text)
        assert content["stringData"] == {"a": "REDACTED"}
        assert base64.b64decode(content["data"]["b"]) == b"REDACTED"

    def test_keeps_names_and_everything_else(self, tmp_path: Path) -> None:
        recording = kept(whole)
        plain, redacted = tree(recording), tree(recording, redact=True)
        assert set(plain) == set(redacted)
        different = {name for name in plain if plain[name] != redacted[name]}
        assert different == set(write(recording, tmp_path / "out").secret_files)

    def test_other_secret_paths(self) -> None:
        def program(opts: ResourceOptions) -> None:
            kubernetes.core.v1.ConfigMap(
                "it", metadata=METADATA, data={"open": "x", "hidden": Output.secret("y")}, opts=opts
            )

        (text,) = [text for name, text in tree(in_kubernetes(program), redact=True).items() if "configmap" in name]
        assert yaml.safe_load(text)["data"] == {"open": "x", "hidden": "REDACTED"}

    def test_secret_stack_outputs(self) -> None:
        outputs = json.loads(tree(kept(whole), redact=True)[manifests.STACK_OUTPUTS])
        assert outputs["password"] == "REDACTED"
        assert outputs["nested"] == {"list": ["REDACTED", "REDACTED"], "ratio": "REDACTED"}
        assert outputs["port"] == 8080

    @pytest.mark.parametrize("disguise", [lambda text: f"x{text}y", lambda t: base64.b64encode(t.encode()).decode()])
    def test_a_leak_is_found(self, disguise: Callable[[str], str]) -> None:
        def program() -> None:
            providers = Providers()
            password = random.RandomPassword("password", length=20, opts=providers.random)
            leaked = Output.unsecret(password.result).apply(disguise)
            kubernetes.core.v1.ConfigMap("it", metadata=METADATA, data={"a": leaked}, opts=providers.kubernetes)

        recording = run(program)
        with pytest.raises(
            ManifestError, match=r"configmap_flatline_it\.yaml would show a secret of .*::password"
        ) as e:
            tree(recording, redact=True)
        assert named(recording, "password").outputs["result"] not in str(e.value)

    def test_a_leaked_private_key_is_found(self) -> None:
        def program() -> None:
            providers = Providers()
            key = tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256", opts=providers.tls)
            pulumi.export("leak", Output.unsecret(key.private_key_pem))

        with pytest.raises(ManifestError, match=r"stack-outputs\.json would show a secret of .*::key"):
            tree(run(program), redact=True)


class TestWrite:
    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        """A tree that was written before."""
        write(kept(whole), tmp_path / "out")
        return tmp_path / "out"

    def test_private(self, tmp_path: Path) -> None:
        out = tmp_path / "build" / "dev"
        write(kept(whole), out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
        assert [path.name for path in out.parent.iterdir()] == ["dev"]

    def test_summary(self, tmp_path: Path) -> None:
        summary = write(kept(whole), tmp_path / "out")
        assert summary.objects == {
            "ConfigMap": 1,
            "Deployment": 1,
            "IngressRoute": 1,
            "Namespace": 1,
            "Secret": 3,
            "Service": 1,
        }
        assert summary.total == 8
        assert len(summary.secret_files) == 4
        assert "stack-outputs.json" in summary.secret_files
        assert len(summary.changed) == 8 + 2
        assert summary.removed == ()
        assert write(kept(whole), tmp_path / "redacted", redact=True).secret_files == ()

    def test_second_run_touches_nothing(self, out: Path) -> None:
        before = contents(out), out.stat().st_ino, {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
        summary = write(kept(whole), out)
        assert (summary.changed, summary.removed) == ((), ())
        after = contents(out), out.stat().st_ino, {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
        assert after == before

    def test_byte_identical_elsewhere(self, tmp_path: Path) -> None:
        write(kept(whole), tmp_path / "one")
        write(run(whole), tmp_path / "two")
        assert contents(tmp_path / "one") == contents(tmp_path / "two")

    def test_changed_and_removed(self, tmp_path: Path) -> None:
        def program(names: str) -> Recording:
            def wrapped(opts: ResourceOptions) -> None:
                for name in names:
                    metadata: Any = {"name": name.lower(), "namespace": "x"}
                    kubernetes.core.v1.ConfigMap(name.lower(), metadata=metadata, data={"a": name}, opts=opts)

            return in_kubernetes(wrapped)

        write(program("abc"), tmp_path / "out")
        summary = write(program("aBd"), tmp_path / "out")
        assert summary.changed == ("10-configmap_x_b.yaml", "10-configmap_x_d.yaml", "kustomization.yaml")
        assert summary.removed == ("10-configmap_x_c.yaml",)
        assert set(contents(tmp_path / "out")) == {
            "10-configmap_x_a.yaml",
            "10-configmap_x_b.yaml",
            "10-configmap_x_d.yaml",
            "kustomization.yaml",
            "stack-outputs.json",
            manifests.INVENTORY,
        }

    def test_extra_files(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        write(kept(whole), out, extra={"client-pins.txt": "pins\n"})
        assert (out / "client-pins.txt").read_text() == "pins\n"
        assert "client-pins.txt" not in (out / manifests.KUSTOMIZATION).read_text()
        assert write(kept(whole), out).removed == ("client-pins.txt",)

    @pytest.mark.parametrize("name", ["notes.txt", ".hidden", "20-mine.yaml"])
    def test_foreign_file_stops_it(self, out: Path, tmp_path: Path, name: str) -> None:
        (out / name).write_text("mine")
        before = contents(out)
        with pytest.raises(ManifestError, match=f"holds {name}, which no run of Flatline wrote"):
            write(kept(whole, "other"), out)
        assert contents(out) == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_directory_of_someone_else(self, tmp_path: Path) -> None:
        for i in range(5):
            (tmp_path / f"file{i}").write_text("mine")
        with pytest.raises(ManifestError, match="holds file0, file1, file2 and 2 more"):
            write(kept(whole), tmp_path)

    def test_directory_in_place_of_a_file(self, out: Path) -> None:
        (out / manifests.KUSTOMIZATION).unlink()
        (out / manifests.KUSTOMIZATION).mkdir()
        with pytest.raises(ManifestError, match=r"holds kustomization\.yaml"):
            write(kept(whole), out)

    def test_empty_directory_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        assert write(kept(whole), tmp_path / "out").total == 8

    def test_not_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(ManifestError, match="is a file"):
            write(kept(whole), tmp_path / "file")
        with pytest.raises(ManifestError, match="is a symbolic link"):
            write(kept(whole), tmp_path / "link")

    def test_edited_or_opened_files_are_written_again(self, out: Path) -> None:
        before = contents(out)
        (out / manifests.KUSTOMIZATION).write_text("edited")
        (out / manifests.STACK_OUTPUTS).chmod(0o644)
        (out / "01-namespace_flatline.yaml").unlink()
        out.chmod(0o755)
        summary = write(kept(whole), out)
        assert summary.changed == ("01-namespace_flatline.yaml", "kustomization.yaml", "stack-outputs.json")
        assert contents(out) == before
        assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
        assert stat.S_IMODE(out.stat().st_mode) == 0o700

    def test_only_the_directory_was_opened(self, out: Path) -> None:
        out.chmod(0o755)
        assert write(kept(whole), out).changed == ()
        assert stat.S_IMODE(out.stat().st_mode) == 0o700

    def test_failure_leaves_the_old_tree(self, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = contents(out)

        def fail(path: Path, content: bytes) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(files, "_create_file", fail)
        with pytest.raises(OSError, match="disk full"):
            write(kept(whole, "other"), out)
        assert contents(out) == before
        assert os.listdir(tmp_path) == ["out"]

    @pytest.mark.parametrize("new_tree_in_place", [False, True])
    def test_interrupted_between_its_renames(self, tmp_path: Path, new_tree_in_place: bool) -> None:
        out, previous = tmp_path / "out", tmp_path / ".out.previous"
        write(kept(whole), out)
        expected = contents(out)
        if new_tree_in_place:
            shutil.copytree(out, previous)
        else:
            out.rename(previous)
        summary = write(kept(whole), out)
        assert summary.changed == ()
        assert contents(out) == expected
        assert os.listdir(tmp_path) == ["out"]

    def test_killed_while_it_writes(self, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        recording = kept(whole, "other")
        child = os.fork()
        if child == 0:
            create_file, written = files._create_file, []

            def die_at_the_third(path: Path, content: bytes) -> None:
                create_file(path, content)
                written.append(path)
                if len(written) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)

            monkeypatch.setattr(files, "_create_file", die_at_the_third)
            write(recording, out)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert len(os.listdir(tmp_path)) == 2
        write(kept(whole), out)  # nothing has changed, so nothing is written: it is removed all the same
        assert os.listdir(tmp_path) == ["out"]

    def test_leftovers_of_an_earlier_version_are_removed(self, out: Path, tmp_path: Path) -> None:
        left = tmp_path / ".out.a1b2c3_4"
        left.mkdir(mode=0o700)
        (left / "10-secret_certificate.yaml").touch(mode=0o600)
        write(kept(whole), tmp_path / "out")
        assert os.listdir(tmp_path) == ["out"]

    @pytest.mark.parametrize("name", [".out.unfinished-a1b2c3_4", ".out.a1b2c3_4"])
    def test_directories_that_no_run_left_are_kept(self, out: Path, tmp_path: Path, name: str) -> None:
        used, foreign, other = tmp_path / name, tmp_path / name.replace("a1", "zz"), tmp_path / ".out.x.a1b2c3_4"
        for path in (used, foreign, other):
            path.mkdir(mode=0o700)
        (foreign / "notes.txt").touch()
        descriptor = os.open(used, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            write(kept(whole), tmp_path / "out")
        finally:
            os.close(descriptor)
        assert used.is_dir()
        assert (foreign / "notes.txt").exists()
        assert other.is_dir()
