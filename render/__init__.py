"""The program without an engine: run it against a recorder, give its managed values, write manifests.

``recorder`` runs a Pulumi program and returns what it registered; ``values`` plays the providers
(``random_provider``, ``tls_provider``, ``kubernetes_provider``); ``state`` keeps generated values between
runs, encrypted under the ``passphrase``; ``stack_file`` reads ``Pulumi.<stack>.yaml`` as the engine would;
``manifests`` writes the Kubernetes objects, as ``yaml_text``.
"""
