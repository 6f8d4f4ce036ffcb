"""Flags and mounts by which tusd and the programs beside it find CDN3's uploads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import pulumi

from components.capabilities import Access, Uploads, UploadsInBucket, UploadsOnVolume, Volume, VolumeMount

FOLDER = "/srv/tusd-data/data"
PART_BYTES, CONCURRENT_PARTS = 8 * 2**20, 1000
RESERVE_SECONDS = 120
"""How long a key is held for the creation of its upload, which goes over the network."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Flags of tusd, of all programs and of the hook; volumes of the pod and their mounts.

    `empty_dirs` is what tusd writes besides. `locks` is the folder of tusd's lock files, empty if it writes none.
    """

    access: Access
    reading: Access
    tusd: tuple[pulumi.Input[str], ...]
    programs: tuple[pulumi.Input[str], ...]
    hook: tuple[str, ...]
    volumes: tuple[Volume, ...] = ()
    mounts: tuple[VolumeMount, ...] = ()
    empty_dirs: Mapping[str, str] = field(default_factory=dict)
    locks: str = ""

    @property
    def read_only(self) -> tuple[VolumeMount, ...]:
        """The mounts for a container that only reads."""
        return tuple(replace(mount, read_only=True) for mount in self.mounts)


def store_of(uploads: Uploads) -> Store:
    """The flags and mounts for a store of uploads."""
    match uploads:
        case UploadsOnVolume(volume=volume, min_free_bytes=min_free):
            return Store(
                access=Access(),
                reading=Access(),
                tusd=(f"--upload-dir={FOLDER}",),
                programs=(f"--upload-dir={FOLDER}",),
                hook=(f"--min-free={min_free}",),
                volumes=(volume,),
                mounts=(VolumeMount(volume=volume.name, path=FOLDER),),
                locks=FOLDER,
            )
        case UploadsInBucket():
            bucket = pulumi.Output.concat("--s3-bucket=", uploads.bucket)
            return Store(
                access=uploads.access,
                reading=uploads.reading,
                tusd=(
                    bucket,
                    f"--s3-object-prefix={uploads.prefix}",
                    f"--s3-part-size={PART_BYTES}",
                    "--s3-max-buffered-parts=1",
                    # a slow client holds a slot while it sends, so there are more slots than clients
                    f"--s3-concurrent-part-uploads={CONCURRENT_PARTS}",
                ),
                programs=(bucket, f"--s3-region={uploads.region}", f"--s3-prefix={uploads.prefix}"),
                hook=(f"--reserve={RESERVE_SECONDS}",),
                empty_dirs={"/tmp": "16Gi"},
            )
        case _:
            assert_never(uploads)
