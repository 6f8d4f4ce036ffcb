"""Kubernetes building blocks: files, pods, workloads, tasks and network policies, each hardened once."""
