"""Runs the program without an engine: records its resources, supplies their values, writes manifests.

- ``recorder`` runs a program against ``monitor`` and returns a recording (``model``). ``wire`` decodes requests;
  ``pulumi_internals`` has the SDK's private names.
- ``values`` takes the place of the providers (``random_provider``, ``tls_provider``, ``kubernetes_provider``, and
  ``cloud_provider`` for what is only shown).
- ``state`` keeps generated values between runs, encrypted under the ``passphrase``; ``checkpoint`` converts them to a
  Pulumi checkpoint and back.
- ``stack_file`` reads ``Pulumi.<stack>.yaml`` as the engine does.
- ``manifests`` writes Kubernetes objects, and ``plan`` the other resources, as YAML (``yaml_text``).
"""
