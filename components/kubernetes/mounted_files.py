"""Files for containers, in a ConfigMap or a Secret whose name changes with its content."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.programs import MOUNT, Program


@dataclass(frozen=True, kw_only=True)
class MountedFilesArgs:
    """`files` maps absolute paths in the container to texts; base names must differ.

    With `folder`, the paths are below that folder, which is mounted as a whole.
    """

    namespace: pulumi.Input[str]
    files: Mapping[str, pulumi.Input[str]]
    secret: bool = False
    folder: str = ""


class MountedFiles(Component):
    """One immutable ConfigMap or Secret, mounted file by file, or as a folder.

    It has no name of its own: a change of content is a new object, so the pods that mount it roll, and the old
    object goes only after them.
    """

    TYPE = "flatline:kubernetes:Files"

    def __init__(self, name: str, args: MountedFilesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.paths = tuple(sorted(args.files))
        self.name, self._folder = name, args.folder
        # a key of a ConfigMap has no slash
        keys = {path: path.replace("/", ".") if args.folder else posixpath.basename(path) for path in args.files}
        data = {keys[path]: text for path, text in args.files.items()}
        if len(data) != len(args.files):
            raise ValueError(f"{name}: two files have the same base name")
        metadata = ObjectMetaArgs(namespace=args.namespace, labels={"app.kubernetes.io/part-of": "flatline"})
        if args.secret:
            secret = kubernetes.core.v1.Secret(
                name, metadata=metadata, string_data=data, type="Opaque", immutable=True, opts=self.child_opts
            )
            self.object_name = name_of(secret.metadata)
            self.volume = core.VolumeArgs(
                name=name,
                secret=core.SecretVolumeSourceArgs(secret_name=self.object_name, default_mode=0o440),
            )
        else:
            config_map = kubernetes.core.v1.ConfigMap(
                name, metadata=metadata, data=data, immutable=True, opts=self.child_opts
            )
            self.object_name = name_of(config_map.metadata)
            self.volume = core.VolumeArgs(
                name=name,
                config_map=core.ConfigMapVolumeSourceArgs(
                    name=self.object_name,
                    default_mode=0o555 if args.folder else 0o444,
                    items=[core.KeyToPathArgs(key=keys[path], path=path) for path in self.paths]
                    if args.folder
                    else None,
                ),
            )
        self.register_outputs({"name": self.object_name})

    @property
    def mounts(self) -> list[core.VolumeMountArgs]:
        """Each file at its path, read-only."""
        if self._folder:
            return [core.VolumeMountArgs(name=self.name, mount_path=self._folder, read_only=True)]
        return [
            core.VolumeMountArgs(name=self.name, mount_path=path, sub_path=posixpath.basename(path), read_only=True)
            for path in self.paths
        ]


@dataclass(frozen=True, kw_only=True)
class OperatorFolder:
    """A Secret that commands make and change while its pods run, mounted as a folder: a file for each of its keys.

    It is none of the program's resources, so its values are in no state. Pods start without it, and find a change after
    at most two minutes: when the kubelet looks next (its `syncFrequency` and the time that it caches Secrets for).
    """

    name: str
    folder: str

    @property
    def volume(self) -> core.VolumeArgs:
        """The Secret of the same name, if there is one."""
        return core.VolumeArgs(
            name=self.name,
            secret=core.SecretVolumeSourceArgs(secret_name=self.name, optional=True, default_mode=0o440),
        )

    @property
    def mounts(self) -> list[core.VolumeMountArgs]:
        """The folder, read-only."""
        return [core.VolumeMountArgs(name=self.name, mount_path=self.folder, read_only=True)]


def program_files(
    name: str, namespace: pulumi.Input[str], *programs: Program, opts: pulumi.ResourceOptions | None = None
) -> MountedFiles:
    """The files of programs of ours, and all that they import, as the folder that containers find them in."""
    files = {path: text for program in programs for path, text in program.files.items()}
    return MountedFiles(name, MountedFilesArgs(namespace=namespace, files=files, folder=MOUNT), opts)


def secret_files(
    name: str, namespace: pulumi.Input[str], files: Mapping[str, pulumi.Input[str]], opts: pulumi.ResourceOptions
) -> MountedFiles:
    """Files in a Secret, each mounted at its path."""
    return MountedFiles(name, MountedFilesArgs(namespace=namespace, files=files, secret=True), opts)


def name_of(metadata: pulumi.Output[kubernetes.meta.v1.outputs.ObjectMeta]) -> pulumi.Output[str]:
    """The name that an object got."""
    return metadata.apply(lambda value: str(value.name))
