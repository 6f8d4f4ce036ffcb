"""Uploads of CDN3 on a volume, which one pod at a time can mount."""

from components.capabilities import Access, Uploads
from components.kubernetes.pod import Volume, VolumeMount

FOLDER = "/srv/tusd-data/data"


def on_volume(volume: Volume, min_free: int) -> Uploads:
    """tusd's file store, and the same folder for the programs beside it. The disk keeps `min_free` bytes."""
    return Uploads(
        access=Access(),
        reading=Access(),
        tusd=(f"--upload-dir={FOLDER}",),
        programs=(f"--upload-dir={FOLDER}",),
        hook=(f"--min-free={min_free}",),
        locks=FOLDER,
        volumes=(volume,),
        mounts=(VolumeMount(volume=volume.name, path=FOLDER),),
    )
