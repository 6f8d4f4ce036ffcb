"""Chooses between the Pulumi engine and files, and says why.

A stack has one set of secrets: in `state/<stack>.json` (engine-less) or in a Pulumi backend. Whoever has it stays in
charge, because a second set would lock every client out.
"""

from dataclasses import dataclass, replace
from typing import Literal

from cli import engine, kubeconfig
from cli.engine import Cli
from cli.failure import Failure
from cli.kubeconfig import Cluster
from cli.stacks import Loaded, Stack, shown
from cli.terminal import Terminal

Wish = Literal["auto", "pulumi", "none"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What was typed: the engine, a context, agreement beforehand, and whether secrets may be made anew."""

    engine: Wish = "auto"
    context: str | None = None
    yes: bool = False
    new_secrets: bool = False


@dataclass(frozen=True)
class ByEngine:
    """`pulumi up` with this CLI on this cluster. `agreed`: nobody needs to be asked any more."""

    cli: Cli
    cluster: Cluster
    reasons: tuple[str, ...]
    agreed: bool


@dataclass(frozen=True)
class ByFiles:
    """Rendering. `context` is the one that was named, if any, for the commands to show."""

    context: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Unusable:
    """Why the engine cannot be used, and the context that was named all the same."""

    reason: str
    context: str | None = None


def choose(loaded: Loaded, wishes: Wishes, terminal: Terminal) -> ByEngine | ByFiles:
    """How to bring a stack up. Asks for a context only where nothing else decides, and only on a terminal.

    Raises Failure where what was asked for cannot be had, or would make a second set of secrets. A stack in a cloud
    is brought up by the engine or not at all.
    """
    stack = loaded.stack
    context = named_context(loaded, wishes.context)
    wishes = replace(wishes, yes=wishes.yes and context is not None)
    _check_new_secrets(wishes)
    if loaded.in_cloud and wishes.engine == "none":
        raise needs_engine(stack, "--engine none says to do without")
    cli, no_cli = engine.installed()
    if wishes.engine == "none":
        refuse_if_engine_keeps(stack, _kept_by_engine(stack, cli, certain=False))
        return ByFiles(context, ("rendering: asked for by --engine none",))
    if stack.state.exists() and not wishes.new_secrets:
        if wishes.engine == "pulumi":
            raise _would_need_new_secrets(stack)
        if _kept_by_engine(stack, cli, certain=False):
            raise _two_sets(stack)
        if loaded.in_cloud:
            raise _moved_to_cloud(stack)
        return ByFiles(
            context,
            (
                f"rendering: the stack's secrets are in {shown(stack.state)}, which an engine does not read",
                "docs/commands.md tells how a stack moves to Pulumi",
            ),
        )
    kept = _kept_by_engine(stack, cli, certain=True)
    reasons: list[str] = []
    chosen = _cluster(loaded, wishes, terminal)
    if isinstance(chosen, Cluster):
        reasons.append(f"cluster: context {chosen.context} ({chosen.server}) answers")
        found = _cli(cli, no_cli, wishes, terminal)
        if isinstance(found, Cli):
            reasons += [f"engine: {found}", f"backend: {kept or engine.backend()}"]
            return ByEngine(found, chosen, tuple(reasons), wishes.yes)
        chosen = replace(found, context=chosen.context)
    if kept:
        raise Failure(
            f"stack {stack.name} is kept by Pulumi ({kept}), and Pulumi cannot be used: {chosen.reason}",
            "Rendering would make a second set of secrets, which no client knows.",
            "For files to review, without secrets: ./flatline render --redact",
        )
    if wishes.engine == "pulumi":
        raise Failure(f"--engine pulumi cannot be had: {chosen.reason}", *reasons)
    if loaded.in_cloud:
        raise needs_engine(stack, chosen.reason)
    return ByFiles(chosen.context, (*reasons, f"rendering: {chosen.reason}"))


def named_context(loaded: Loaded, typed: str | None) -> str | None:
    """The context that the command or the configuration names. Raises Failure if they name two."""
    configured = loaded.settings.target.context
    if typed and configured and typed != configured:
        raise Failure(
            f"--context names {typed}, but flatline:target.context in {loaded.stack.file.name} names {configured}",
            "A stack belongs to one cluster: leave --context out, or change the file.",
        )
    return typed or configured


def refuse_if_engine_keeps(stack: Stack, backend: str | None) -> None:
    """Raises Failure for rendering a stack whose secrets Pulumi keeps."""
    if backend is not None:
        raise Failure(
            f"stack {stack.name} is kept by Pulumi ({backend}): files of it would hold a second set of secrets",
            "Deploy it with ./flatline up, or render files for review without secrets: "
            f"./flatline render --redact --stack {stack.name}",
        )


def needs_engine(stack: Stack, reason: str) -> Failure:
    """Why a stack in a cloud cannot be brought up without the engine, and what to do."""
    return Failure(
        f"stack {stack.name} is in a cloud, which only the Pulumi engine can bring up: {reason}",
        f"Have it fetched and run: ./flatline up --stack {stack.name} --context <context> --yes "
        "(or install it first: https://www.pulumi.com/docs/install/)",
        f"What it would make, without engine or credentials: ./flatline render --stack {stack.name}",
    )


def named_cluster(context: str) -> Cluster:
    """The cluster of a context that was named. Raises Failure if kubeconfig has none, naming those there are."""
    found = kubeconfig.cluster(context)
    if found is None:
        raise Failure(f"there is no context {context} in kubeconfig", _where_contexts_are())
    return found


def _check_new_secrets(wishes: Wishes) -> None:
    if wishes.new_secrets and wishes.engine != "pulumi":
        raise Failure("--new-secrets goes with --engine pulumi only")


def _kept_by_engine(stack: Stack, cli: Cli | None, *, certain: bool) -> str | None:
    """The backend that keeps the stack. Unless `certain`, a backend that does not answer counts as none."""
    try:
        return engine.keeps(stack, cli)
    except Failure:
        if certain:
            raise
        return None


def _would_need_new_secrets(stack: Stack) -> Failure:
    return Failure(
        f"stack {stack.name} has its secrets in {shown(stack.state)}; Pulumi would make new ones",
        "New secrets mean: every client must be built anew with the new pins, existing groups and profiles become "
        "unreadable, and everybody is logged out of calls, storage and uploads.",
        f"To stay with the secrets: ./flatline up --stack {stack.name}",
        f"To begin again with Pulumi: ./flatline up --stack {stack.name} --engine pulumi --new-secrets",
    )


def _moved_to_cloud(stack: Stack) -> Failure:
    return needs_engine(
        stack,
        f"its secrets are in {shown(stack.state)}, which the engine does not read; "
        "with --engine pulumi --new-secrets it makes new ones, which no client knows yet",
    )


def _two_sets(stack: Stack) -> Failure:
    return Failure(
        f"stack {stack.name} has two sets of secrets: {shown(stack.state)}, and one that Pulumi keeps",
        "Only one can be the one that clients know. Move the other away: rename the file, or empty Pulumi's stack "
        f"(pulumi destroy --stack {stack.name}).",
    )


def _cluster(loaded: Loaded, wishes: Wishes, terminal: Terminal) -> Cluster | _Unusable:
    """The cluster that was named, or is named now, if it answers."""
    context = named_context(loaded, wishes.context)
    if context is None:
        context = _typed_context(terminal)
        if context is None:
            return _Unusable("no cluster is named (--context, or flatline:target.context)" + _k3s_hint())
    elif not wishes.yes and not terminal.interactive:
        return _Unusable(f"context {context} is named, but there is no terminal to agree on and no --yes", context)
    found = kubeconfig.cluster(context)
    if found is None:
        if wishes.context or wishes.engine == "pulumi":
            raise Failure(f"there is no context {context} in kubeconfig", _where_contexts_are())
        return _Unusable(f"context {context} is not in kubeconfig ({kubeconfig.where()})", context)
    with terminal.step(f"Asking {found.server} whether it is there"):
        problem = found.problem()
    return _Unusable(f"cluster {context} does not answer: {problem}", context) if problem else found


def _typed_context(terminal: Terminal) -> str | None:
    """The context that somebody types, None for silence. Names are read from the file; no cluster is asked."""
    there = kubeconfig.contexts()
    if not there or not terminal.interactive:
        return None
    terminal.note("No cluster is named. kubeconfig knows: " + ", ".join(there))
    answer = terminal.ask("Type the name of the one to deploy to, or nothing to render files:")
    if answer and answer not in there:
        raise Failure(f"there is no context {answer} in kubeconfig", _where_contexts_are())
    return answer or None


def _cli(cli: Cli | None, no_cli: str, wishes: Wishes, terminal: Terminal) -> Cli | _Unusable:
    """The CLI, fetched if there is none and somebody agrees."""
    if cli is not None:
        return cli
    if not wishes.yes and not terminal.agrees(f"{no_cli[0].upper()}{no_cli[1:]}. Fetch it into the cache folder?"):
        return _Unusable(no_cli)
    fetched, problem = engine.install(terminal)
    return fetched or _Unusable(f"{no_cli}, and {problem}")


def _where_contexts_are() -> str:
    there = kubeconfig.contexts()
    return f"There are: {', '.join(there)} ({kubeconfig.where()})." if there else f"Looked in {kubeconfig.where()}."


def _k3s_hint() -> str:
    quiet = kubeconfig.contexts() or not kubeconfig.K3S_KUBECONFIG.exists()
    return "" if quiet else f"; k3s keeps its kubeconfig in {kubeconfig.K3S_KUBECONFIG}: name it in KUBECONFIG"
