"""Kubernetes building blocks: files, pods, workloads, jobs and network policies, each hardened once."""
