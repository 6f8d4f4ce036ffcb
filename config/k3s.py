"""The release of k3s that `up` offers to install on a Linux machine without a cluster."""

from config.base_model import StrictModel
from config.types import WebUrl

VERSION = "v1.36.4+k3s1"
"""Newest stable release whose checksums for both processors are confirmed by several sources beside each other."""
BINARIES = {
    "amd64": ("k3s", "835873f37245fc615f547a2fe2af9402a347875f13fa64a1f136de644955ea3f"),
    "arm64": ("k3s-arm64", "c920706346d5ad4e5cd3c7bf1bb09ce71ebe07fec829e513e40f1caf98aed8bb"),
}
"""By processor: the file of the release, and its SHA-256 as the release's sha256sum-<processor>.txt has it."""
NETWORKS = ("10.42.0.0/16", "10.43.0.0/16")
"""Its networks of pods and of Services (https://docs.k3s.io/installation/requirements)."""


class K3s(StrictModel):
    """A k3s of our own, which `up` offers to install where there is no cluster."""

    releases: WebUrl = "https://github.com/k3s-io/k3s/releases/download"
    """Where its releases are downloaded from: `<releases>/v1.36.4%2Bk3s1/k3s`. A mirror needs nothing but that file,
    which is checked against the checksum that is pinned here."""
