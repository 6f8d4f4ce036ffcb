"""The program without an engine: run it against a recorder, give its managed values, write manifests.

``recorder.record`` runs a Pulumi program and returns what it registered; ``values`` plays the providers
(random, tls, kubernetes); ``state`` keeps generated values between runs, encrypted; ``stack_file`` reads
``Pulumi.<stack>.yaml`` as the engine would; ``manifests`` writes the Kubernetes objects.
"""
