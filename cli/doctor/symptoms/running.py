"""Symptoms of what runs: pods, stores, and what logs tell."""

from cli.doctor.model import Row
from cli.doctor.symptoms.mends import DESCRIBE, LOGS, UP

PODS: tuple[Row, ...] = (
    ("workload-missing", "A workload of the stack is not there", "What it does for clients fails.", UP),
    (
        "workload-stopped",
        "A workload was scaled to no pods",
        "What it does for clients fails.",
        "`kubectl --context {context} -n {namespace} scale {kind}/{name} --replicas {replicas}`",
    ),
    (
        "rollout-stuck",
        "An update of a workload does not get on",
        "The version before it goes on, if there was one; the new one does not run.",
        "`kubectl --context {context} -n {namespace} rollout status {kind}/{name}`; the pod below says why.",
    ),
    (
        "autoscaler-blind",
        "An autoscaler cannot read the load of its pods",
        "The number of pods stays as it is, whatever the load.",
        "Install metrics-server (k3s has it), or remove flatline:scaling.*.maxReplicas.",
    ),
    (
        "pod-no-cpu",
        "A pod is pending: no node has the CPU that it requests",
        "It does not run, and `up` waits for it.",
        "Add CPUs or a node, or lower other requests; `./flatline capacity --stack {stack} --users 40 "
        "--messages-per-day 40` says what is needed.",
    ),
    (
        "pod-no-memory",
        "A pod is pending: no node has the memory that it requests",
        "It does not run, and `up` waits for it.",
        "Add memory or a node; "
        "`./flatline capacity --stack {stack} --users 40 --messages-per-day 40` says what is needed.",
    ),
    (
        "pod-no-volume",
        "A pod is pending: its volume is not there",
        "It does not run; what it keeps is not lost by that.",
        "`kubectl --context {context} -n {namespace} describe pvc` says what the storage class waits for.",
    ),
    (
        "pod-no-node",
        "A pod is pending: no node takes it",
        "It does not run.",
        "`kubectl --context {context} -n {namespace} describe pod {name}` says which taint or rule keeps it away.",
    ),
    (
        "image-pull",
        "An image cannot be pulled",
        "The pod does not start.",
        "Check that the node reaches the registry and that the reference is right (flatline:images); then "
        "`kubectl --context {context} -n {namespace} delete pod {name}` tries at once.",
    ),
    (
        "container-config",
        "A container cannot be made of its configuration",
        "The pod does not start: a Secret or a ConfigMap that it names is gone.",
        UP,
    ),
    (
        "crash-loop",
        "A container ends again and again",
        "The service is away, or comes and goes.",
        "`kubectl --context {context} -n {namespace} logs {name} -c {container} --previous --tail 50`",
    ),
    (
        "oom-killed",
        "A container was killed because it reached its memory limit",
        "Its connections broke; it will happen again under the same load.",
        "Fewer users on this node, or more pods (flatline:scaling); for Redis raise flatline:redis.memory.",
    ),
    (
        "restarts",
        "A container has restarted several times in the last day",
        "Connections broke each time.",
        "`kubectl --context {context} -n {namespace} logs {name} -c {container} --previous --tail 50`",
    ),
    ("pod-not-ready", "A pod runs and is not ready", "It gets no requests.", LOGS),
    (
        "pod-evicted",
        "A pod was ended because its node was short of something",
        "Its successor took over; what is left of it is only a record.",
        "See to the node's memory or disk, then `kubectl --context {context} -n {namespace} delete pod {name}`.",
    ),
    (
        "pod-terminating",
        "A pod does not end",
        "Its successor may wait for it: a volume has one writer at a time.",
        "See whether its node is there: `kubectl --context {context} get nodes`.",
    ),
    (
        "volume-mount",
        "A volume or a file cannot be mounted",
        "The pod does not start.",
        "`kubectl --context {context} -n {namespace} describe pod {name}`; if a Secret is gone: " + UP + ".",
    ),
    (
        "pod-forbidden",
        "The cluster refuses to make a pod",
        "It does not run: an admission rule or a quota forbids it.",
        DESCRIBE,
    ),
    (
        "job-failed",
        "A job has failed",
        "A clean-up did not clean, a seed did not make its tables, or a backup wrote no archive.",
        "`kubectl --context {context} -n {namespace} logs job/{name} --tail 50`",
    ),
    (
        "backup-old",
        "The newest archive of the backups by schedule is too old",
        "What people sent and changed since then is on the cluster's volumes alone, and is lost with them.",
        "`kubectl --context {context} -n {namespace} logs --selector app.kubernetes.io/name=backup --tail 50` says "
        "why; then `kubectl --context {context} -n {namespace} create job --from cronjob/backup backup-now`",
    ),
    (
        "cron-job-suspended",
        "A clean-up or the backup was suspended by hand",
        "It does not run: what has expired stays, or no archive is written.",
        '`kubectl --context {context} -n {namespace} patch cronjob {name} --patch \'{{"spec":{{"suspend":false}}}}\'`',
    ),
    (
        "volume-nearly-full",
        "A volume is nearly full",
        "Writes to it will fail: for tables and Redis that means errors for everybody.",
        "Grow the claim if its storage class can (`kubectl --context {context} -n {namespace} get pvc {name}`), or "
        "let attachments expire sooner (flatline:cdn.retentionDays).",
    ),
    (
        "claim-lost",
        "A volume claim has lost its volume",
        "What was on it is not reachable.",
        "Restore it from your backup; `kubectl --context {context} -n {namespace} describe pvc {name}`.",
    ),
    (
        "policy-missing",
        "A network policy that denies what is not declared is gone",
        "Every pod of the cluster reaches the pods of that namespace.",
        UP,
    ),
)

STORES: tuple[Row, ...] = (
    (
        "dynamodb",
        "A row cannot be written to a DynamoDB table and read back",
        "Registration, log-in and messages for devices that are offline fail.",
        "`kubectl --context {context} -n {emulators} logs deployment/localstack --tail 50`",
    ),
    (
        "dynamodb-table",
        "A DynamoDB table is not there",
        "What is kept in it fails.",
        "LocalStack's seed makes tables at its start: "
        "`kubectl --context {context} -n {emulators} rollout restart deployment/localstack`",
    ),
    (
        "objects",
        "An object cannot be written to the object store and read back",
        "Avatars and new post-quantum keys fail.",
        "`kubectl --context {context} -n {namespace} logs deployment/object-store --tail 50`",
    ),
    (
        "objects-bucket",
        "A bucket of the object store is not there, or refuses its owner",
        "Avatars and new post-quantum keys fail.",
        "The store makes its buckets at its start: "
        "`kubectl --context {context} -n {namespace} rollout restart deployment/object-store`",
    ),
    (
        "bigtable",
        "A row cannot be written to Bigtable and read back",
        "Groups cannot be read or changed.",
        "`kubectl --context {context} -n {namespace} logs deployment/cbtemulator --tail 50`",
    ),
    (
        "bigtable-table",
        "A Bigtable table is not there",
        "Groups cannot be read or changed.",
        UP + " runs the seed again.",
    ),
    (
        "redis-silent",
        "A Redis node does not answer",
        "Messages and sessions whose keys it has wait for its replica, or fail.",
        "`kubectl --context {context} -n {namespace} logs {name} --tail 50`",
    ),
    (
        "redis-slots",
        "The Redis Cluster does not serve all slots",
        "A part of all accounts gets errors.",
        "`./flatline status --stack {stack} --context {context}` says what redis-membership waits for.",
    ),
    (
        "redis-replication",
        "A Redis master has fewer replicas in step than the stack wants",
        "If that master fails now, its keys are away until it is back.",
        "`./flatline status --stack {stack} --context {context}`; redis-membership joins a node that comes back.",
    ),
    (
        "redis-memory",
        "A Redis node has used most of its memory for data",
        "Soon it refuses writes: no message is accepted.",
        "Raise flatline:redis.memory or flatline:redis.masters, then " + UP + ".",
    ),
    (
        "redis-write",
        "A key cannot be written to the Redis Cluster and read back",
        "No message is delivered.",
        "`kubectl --context {context} -n {namespace} logs {name} --tail 50`",
    ),
    (
        "pubsub",
        "Redis does not hand a notification to its subscriber",
        "Devices that are online learn of messages late.",
        "`kubectl --context {context} -n {namespace} logs deployment/redis-pubsub --tail 50`",
    ),
    (
        "cloud-dynamodb",
        "A DynamoDB table of the cloud takes no row, or is not active",
        "Registration, log-in and messages for devices that are offline fail.",
        "`aws dynamodb describe-table --region {region} --table-name {name}`, and https://health.aws.amazon.com.",
    ),
    (
        "cloud-dynamodb-table",
        "A DynamoDB table of the cloud is not there",
        "What is kept in it fails.",
        "Restore it from its point-in-time recovery (docs/cloud.md); one that never was comes by " + UP + ".",
    ),
    (
        "cloud-objects",
        "A bucket of the cloud takes no object",
        "New post-quantum keys fail, and perhaps avatars and attachments.",
        "`aws s3api get-bucket-policy --region {region} --bucket {name}`, and https://health.aws.amazon.com.",
    ),
    (
        "cloud-objects-bucket",
        "A bucket of the cloud is not there",
        "What is kept in it fails.",
        UP + " makes it again, empty; what was in it is gone.",
    ),
    (
        "cloud-cache",
        "A replication group of ElastiCache is not there or not available",
        "Messages and sessions fail while it is away.",
        "`aws elasticache describe-events --region {region} --source-type replication-group --source-identifier "
        "{name}`",
    ),
    (
        "cloud-bigtable",
        "A row cannot be written to Bigtable in the cloud and read back",
        "Groups cannot be read or changed.",
        "`gcloud bigtable instances describe {instance} --project {project}`, and https://status.cloud.google.com.",
    ),
    (
        "cloud-bigtable-table",
        "A Bigtable table of the cloud is not there",
        "Groups cannot be read or changed.",
        "`gcloud bigtable instances tables list --instances {instance} --project {project}`; a deleted one comes back "
        "with `gcloud bigtable instances tables undelete` for seven days.",
    ),
    (
        "persister-behind",
        "Messages wait in Redis longer than the persister should let them",
        "Messages for devices that are offline are in Redis alone, and fill its memory.",
        "`kubectl --context {context} -n {namespace} logs deployment/whisper-persister --tail 50`; more pods: "
        "flatline:scaling.whisper-persister.",
    ),
)

LOG: tuple[Row, ...] = (
    ("log-redis", "A service has lost Redis in the last hour", "Requests failed meanwhile.", LOGS),
    ("log-name", "A name did not resolve in the last hour", "Requests that needed it failed.", LOGS),
    ("log-table", "A table was not found in the last hour", "Requests that needed it failed.", UP),
    (
        "log-page-lost",
        "Pages of pre-keys were not found in the last hour",
        "New conversations with these devices began with errors.",
        "LocalStack's seed removes such rows at its start: "
        "`kubectl --context {context} -n {emulators} rollout restart deployment/localstack`",
    ),
    (
        "log-heap",
        "A service ran out of its heap in the last hour",
        "It is slow, or has ended.",
        "More pods (flatline:scaling), or fewer users on each.",
    ),
    (
        "log-no-space",
        "A service could not write to its disk in the last hour",
        "What it was given is not kept.",
        "Make room: `kubectl --context {context} -n {namespace} get pvc`, and see volume-nearly-full.",
    ),
    (
        "log-upload-space",
        "Uploads were refused in the last hour because their volume is nearly full",
        "People cannot send attachments.",
        "Grow the volume attachments, or lower flatline:cdn.retentionDays.",
    ),
    (
        "log-registration",
        "Whisper did not reach the registration service in the last hour",
        "Nobody could register or verify a number.",
        "`kubectl --context {context} -n {namespace} logs -l app.kubernetes.io/name=registration --tail 50`",
    ),
    (
        "log-credentials",
        "A program's credentials were refused in the last hour",
        "Uploads or downloads failed.",
        UP + "; in a cloud see the role of its service account.",
    ),
    (
        "log-library",
        "A service could not load its native library",
        "It cannot start: its temporary folder must allow execution.",
        "Remove what mounts /tmp with noexec in the pods (an admission rule of the cluster).",
    ),
    (
        "log-cpu",
        "The calling service is on a node whose CPU has no AVX2",
        "There are no group calls: it cannot start there.",
        "Name another node (flatline:calls.groups.nodeLabels), or let the virtual machine see the CPU as it is.",
    ),
    (
        "log-certificate",
        "A service could not trust or read a certificate in the last hour",
        "It did not reach what it connects to, or did not start.",
        LOGS,
    ),
    (
        "log-errors",
        "A service logged errors of another cause in the last hour",
        "Perhaps nothing; somebody should read them.",
        LOGS,
    ),
)
