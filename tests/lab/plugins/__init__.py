"""Stand-ins for the plugins of Pulumi that no package registry has. Each is a process that the engine starts.

``language`` runs Python programs and policy packs in place of ``pulumi-language-python``; ``provider`` serves the
random and tls resources by the code that renders them. The engine itself and its Kubernetes provider are the real ones.
"""
