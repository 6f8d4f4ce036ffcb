"""Why a client would not be served, and what helps."""


class Problem(Exception):  # noqa: N818 - what was found, not an error of the program
    """One cause, in words for an operator, and its cure. `kind` is for programs that tell causes of one step apart."""

    def __init__(self, cause: str, cure: str, kind: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.cure = cure
        self.kind = kind


LOOK_AT_TRAEFIK = (
    "Look at Traefik: `kubectl get pods,services --all-namespaces --selector app.kubernetes.io/name=traefik`"
)
SOMETHING_BETWEEN = (
    "Something between this machine and Traefik may answer in its place: a proxy, a load balancer, a filter of the "
    "network. Make it pass TCP on as it comes, and try from another network as well."
)
