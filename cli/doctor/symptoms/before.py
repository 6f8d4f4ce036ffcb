"""Symptoms before anything of the stack runs: the cluster, Traefik, secrets and certificates."""

from cli.doctor.model import Row
from cli.doctor.symptoms.mends import LOGS, UP

CLUSTER: tuple[Row, ...] = (
    (
        "cluster-version",
        "Flatline was not tried with the cluster's version of Kubernetes",
        "Objects may be refused, or work differently.",
        "Bring the cluster to a version in the range that the finding names (on k3s: https://docs.k3s.io/upgrades).",
    ),
    (
        "node-not-ready",
        "A node is not ready",
        "Pods on it answer nobody; those with volumes on it cannot move.",
        "`kubectl --context {context} describe node {name}`, and see to its kubelet (on k3s: `systemctl status k3s`).",
    ),
    (
        "node-pressure",
        "A node is short of memory, disk or processes",
        "Kubernetes ends pods on it, and starts none.",
        "`kubectl --context {context} describe node {name}` says what is short and what uses it: free some of it.",
    ),
    (
        "node-disk-full",
        "A node's disk is nearly full",
        "Databases on it will refuse writes, and Kubernetes will end pods: accounts and messages cannot be changed.",
        "Make room on {name}, or grow its disk; `docker system df` or `k3s crictl images` show what images take.",
    ),
    (
        "architecture",
        "No node has a processor that an image is published for",
        "Its pods stay pending for ever.",
        "Add a node of one of these architectures, or name another image in flatline:images.overrides.",
    ),
    (
        "image-not-published",
        "A registry does not give an image to the cluster",
        "A pod that starts on a new node stays without its image.",
        "Try it on the node (`k3s crictl pull {name}`); set flatline:images.registry to a mirror that has it.",
    ),
    (
        "registry-unseen",
        "Pods of this cluster reach no registry",
        "So `doctor` cannot tell whether nodes can get the images that they do not have yet.",
        "Nothing, if the nodes themselves reach a registry; otherwise load the images into each node.",
    ),
    (
        "storage-class-missing",
        "The storage class that the stack names is not there",
        "Volumes are never made, and nothing that keeps data starts.",
        "Name one that exists in flatline:target.storageClass: `kubectl --context {context} get storageclass`.",
    ),
    (
        "storage-class-no-default",
        "The cluster has no default storage class, and the stack names none",
        "Volumes are never made, and nothing that keeps data starts.",
        "Set flatline:target.storageClass to one of `kubectl --context {context} get storageclass`.",
    ),
    (
        "dns-pods",
        "The pods of the cluster's name server are not where the stack looks for them",
        "Network policies let pods ask nobody for names: nothing starts.",
        "Set flatline:clusterDns.namespace and podLabels to those of the name server's pods.",
    ),
    (
        "dns-silent",
        "The cluster's name server does not answer a pod",
        "No service finds another one.",
        "`kubectl --context {context} -n {namespace} get pods -l k8s-app=kube-dns`, and read their logs.",
    ),
    (
        "node-local-dns",
        "The cluster has NodeLocal DNSCache, and the stack's network policies do not let pods ask it",
        "No service finds another one.",
        "Add {address}/32 to flatline:clusterDns.networks, then " + UP + ".",
    ),
    (
        "policies-not-enforced",
        "The network plugin does not enforce network policies",
        "Every pod of the cluster can read and change every table, group and avatar: LocalStack believes everybody.",
        "Install a plugin that enforces them (k3s has one unless it runs with --disable-network-policy; else Calico or "
        "Cilium).",
    ),
    (
        "policies-refuse",
        "The network plugin refuses what a network policy allows",
        "Services do not reach their stores.",
        "Read the plugin's logs: `kubectl --context {context} -n kube-system get pods`.",
    ),
    (
        "clock-of-node",
        "The clock of a node is wrong",
        "Signatures of requests, upload credentials and certificates are refused.",
        "Let the node follow a time server: `timedatectl set-ntp true` on {name}.",
    ),
    (
        "clock-of-this-machine",
        "The clock of this machine and that of the cluster differ",
        "Certificates that are made here may not be valid yet there.",
        "Let the machine that is wrong follow a time server: `timedatectl set-ntp true`.",
    ),
    (
        "namespace-of-another",
        "A namespace of the stack belongs to another stack",
        "`up` ends there, so that it cannot take over what is another's.",
        "Name a namespace of its own in flatline:namespace.",
    ),
)

EDGE: tuple[Row, ...] = (
    (
        "traefik-missing",
        "There are no pods of Traefik where the stack looks for them",
        "No client reaches anything.",
        "Install Traefik, or set flatline:ingress.namespace and podLabels to those of its pods.",
    ),
    (
        "traefik-not-ready",
        "A pod of Traefik is not ready",
        "Clients reach the server sometimes, or not at all.",
        LOGS,
    ),
    (
        "traefik-definitions",
        "The cluster lacks definitions of Traefik's objects",
        "Routes cannot be made: `up` ends with `no matches for kind`.",
        "Install them with Traefik 3.2 or later (on k3s: upgrade k3s).",
    ),
    (
        "traefik-old",
        "Traefik is older than 3.2",
        "Its definitions lack ipv6Subnet, so the limits for clients are refused.",
        "Upgrade Traefik (on k3s: upgrade k3s).",
    ),
    (
        "traefik-entry-point",
        "Traefik has no entry point of the name that the stack uses",
        "Routes are made and nobody reaches them: Traefik answers 404.",
        "Set flatline:ingress.plainEntryPoint and tlsEntryPoint to names that Traefik was started with.",
    ),
    (
        "traefik-read-timeout",
        "Traefik ends requests that take longer than its default of 60 s",
        "Large attachments over slow connections resume, avatars start again.",
        "Raise ports.websecure.transport.respondingTimeouts.readTimeout in Traefik's values (docs/operations.md).",
    ),
    (
        "client-address-hidden",
        "Traefik sees the address of a node in place of every client's",
        "All limits for a client address are one limit for everybody: one client can lock out the others.",
        "`./flatline status --stack {stack} --context {context}` prints what to apply.",
    ),
    (
        "load-balancer-pending",
        "A load balancer has no address yet",
        "No client from outside reaches the server.",
        "`kubectl --context {context} -n {namespace} describe service {name}` says what its controller waits for.",
    ),
)

OUTSIDE: tuple[Row, ...] = (
    (
        "connect-name",
        "A name that clients connect to is not found from this machine",
        "Clients that ask the same name servers find no server.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "connect-port",
        "A public name leads to an address that takes no connection from this machine",
        "Clients on this way reach nothing.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "connect-tls",
        "A public name shows a certificate, or a TLS version, that clients refuse",
        "Clients do not connect.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "connect-answer",
        "A public name does not answer as its service does",
        "What that service does for clients fails.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "relay-name",
        "The name of the TURN server leads to another machine",
        "Devices ask that machine for a relay, and calls between networks ring and fail.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "relay-unreachable",
        "The TURN server does not answer at one of its ports",
        "Devices that need that port get no relay: their calls ring and fail.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "relay-refuses",
        "The TURN server refuses the credentials that devices get",
        "No device gets a relay: calls between networks ring and fail.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "relay-full",
        "The TURN server has no relay port left",
        "A call that begins now finds no relay; those that go on are not affected.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "relay-tls",
        "The TURN server shows a certificate, or a TLS version, that clients refuse",
        "Devices in networks that let only TLS out get no relay.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "relay-open",
        "The TURN server relays to private networks",
        "Everybody with an account reaches what only the server should: the node, the cluster, a cloud's metadata.",
        "{cure} `./flatline connect --stack {stack}` tries it again.",
    ),
    (
        "invitation-attacked",
        "Somebody tries codes of an invitation",
        "The person who is invited may not get in, until it is over.",
        "`{command}` gives two codes, which cannot be guessed (docs/first-people.md).",
    ),
    (
        "invitation-locked",
        "An invitation is locked, because too many codes were tried",
        "The person who is invited cannot register with it any more.",
        "`{command}` makes a new one of two codes, which cannot be guessed (docs/first-people.md).",
    ),
)

SECRETS: tuple[Row, ...] = (
    (
        "secrets-lost",
        "The stack's secrets are missing, or older than what was made with them",
        "Bringing the stack up from here would lock every client out; `up` refuses it.",
        "Restore state/{stack}.json or Pulumi's backend from your backup (docs/commands.md).",
    ),
    (
        "passphrase",
        "The stack's secrets cannot be decrypted",
        "Nothing of the stack can be changed from here.",
        "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the passphrase of this stack.",
    ),
    (
        "certificate-expired",
        "A certificate has expired",
        "No client connects any more.",
        "{renewal}, then " + UP + ".",
    ),
    (
        "certificate-ending",
        "A certificate ends soon",
        "From that day on no client connects.",
        "{renewal}, then " + UP + ".",
    ),
)
