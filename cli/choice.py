"""Chooses between the Pulumi engine and files, and says why.

A stack has one set of secrets: in `state/<stack>.json` (engine-less) or in a Pulumi backend. Whoever deploys it gets
them from the other (cli/transfer.py), because a second set would lock every client out.
"""

from dataclasses import dataclass, replace
from typing import Literal

from cli import engine, k3s, kubeconfig
from cli.engine import Cli
from cli.kubeconfig import Cluster
from cli.stacks import LoadedStack, Stack, display_path
from cli.terminal import Terminal
from errors import FlatlineError

EngineChoice = Literal["auto", "pulumi", "none"]

_NO_CLUSTER = "no cluster is named (--context, or flatline:target.context)"


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """The options as typed: the engine, a context, and consent in advance."""

    engine: EngineChoice = "auto"
    context: str | None = None
    yes: bool = False


@dataclass(frozen=True)
class DeployPlan:
    """`pulumi up` with this CLI on this cluster. `agreed`: nobody needs to be asked any more."""

    cli: Cli
    cluster: Cluster
    reasons: tuple[str, ...]
    agreed: bool


@dataclass(frozen=True)
class RenderPlan:
    """Rendering. `context` is the one that was named, if any, for the commands to show.

    `kept_by` is the CLI of the engine that keeps the secrets until now, if one does.
    """

    context: str | None
    reasons: tuple[str, ...]
    kept_by: Cli | None = None


@dataclass(frozen=True)
class _EngineUnavailable:
    """Why the engine cannot be used, and the context that was named all the same."""

    reason: str
    context: str | None = None


def choose(loaded: LoadedStack, options: UpOptions, terminal: Terminal) -> DeployPlan | RenderPlan:
    """How to bring a stack up. Asks for a context, or whether to install k3s, only where nothing else decides, and only
    on a terminal.

    Raises FlatlineError if the options cannot be met. Only the engine brings up a stack in a cloud.
    """
    stack = loaded.stack
    context = named_context(loaded, options.context)
    options = replace(options, yes=options.yes and context is not None)
    if loaded.in_cloud and options.engine == "none":
        raise needs_engine(stack, "--engine none says to do without")
    cli, no_cli = engine.installed()
    if options.engine == "none":
        return _files(loaded, options, context, cli, no_cli, terminal)
    if context is None and not loaded.in_cloud:
        context = k3s.offer(loaded, terminal)
        options = replace(options, context=context)
    kept = _kept_by_engine(stack, cli, certain=True)
    in_file = stack.state.exists() and kept is None
    reasons: list[str] = []
    chosen: Cluster | _EngineUnavailable
    if in_file and context is None and options.engine == "auto":
        chosen = _EngineUnavailable(_NO_CLUSTER)
    else:
        chosen = _cluster(loaded, options, terminal)
    if isinstance(chosen, Cluster):
        reasons.append(f"cluster: context {chosen.context} ({chosen.server}) answers")
        # A stack that lives from files goes on so, unless there is an engine already or one is asked for.
        unasked = in_file and cli is None and options.engine == "auto"
        found = _EngineUnavailable(no_cli) if unasked else _cli(cli, no_cli, options, terminal)
        if isinstance(found, Cli):
            reasons += [f"engine: {found}", f"backend: {kept or engine.backend()}"]
            if in_file:
                reasons.append(f"secrets: carried over from {display_path(stack.state)}; none is made again")
            return DeployPlan(found, chosen, tuple(reasons), options.yes)
        chosen = replace(found, context=chosen.context)
    if kept:
        raise FlatlineError(
            f"stack {stack.name} is kept by Pulumi ({kept}), and Pulumi cannot be used: {chosen.reason}",
            "Files made without it would hold a second set of secrets, which no client knows.",
            f"To go on without the engine, with the same secrets: `./flatline up --stack {stack.name} --engine none` "
            "(needs the Pulumi CLI once)",
            f"For files to review, without secrets: `./flatline render --redact --stack {stack.name}`",
        )
    if options.engine == "pulumi":
        raise FlatlineError(f"--engine pulumi cannot be had: {chosen.reason}", *reasons)
    if loaded.in_cloud:
        raise needs_engine(stack, chosen.reason)
    return RenderPlan(chosen.context, (*reasons, f"rendering: {chosen.reason}"))


def named_context(loaded: LoadedStack, typed: str | None) -> str | None:
    """The context that the command or the configuration names. Raises FlatlineError if they name two."""
    configured = loaded.settings.target.context
    if typed and configured and typed != configured:
        raise FlatlineError(
            f"--context names {typed}, but flatline:target.context in {loaded.stack.file.name} names {configured}",
            "A stack belongs to one cluster: leave --context out, or change the file.",
        )
    return typed or configured


def refuse_if_engine_keeps(stack: Stack, backend: str | None) -> None:
    """Raises FlatlineError for rendering a stack whose secrets Pulumi keeps."""
    if backend is not None:
        raise FlatlineError(
            f"stack {stack.name} is kept by Pulumi ({backend}): files of it would hold a second set of secrets",
            f"Deploy it: `./flatline up --stack {stack.name}`",
            f"Or bring its secrets back from Pulumi, and render: `./flatline up --stack {stack.name} --engine none`",
            f"Or render files for review without secrets: `./flatline render --redact --stack {stack.name}`",
        )


def needs_engine(stack: Stack, reason: str) -> FlatlineError:
    """Why a stack in a cloud cannot be brought up without the engine, and what to do."""
    return FlatlineError(
        f"stack {stack.name} is in a cloud, which only the Pulumi engine can bring up: {reason}",
        f"Have it fetched and run: `./flatline up --stack {stack.name} --context <context> --yes` "
        "(or install it first: https://www.pulumi.com/docs/install/)",
        f"What it would make, without engine or credentials: `./flatline render --stack {stack.name}`",
    )


def named_cluster(context: str) -> Cluster:
    """The cluster of a context that was named. Raises FlatlineError if kubeconfig has none, naming those there are."""
    found = kubeconfig.cluster(context)
    if found is None:
        there = kubeconfig.contexts()
        where = (
            f"There are: {', '.join(there)} ({kubeconfig.where()})." if there else f"Looked in {kubeconfig.where()}."
        )
        raise FlatlineError(f"there is no context {context} in kubeconfig", where)
    return found


def _kept_by_engine(stack: Stack, cli: Cli | None, *, certain: bool) -> str | None:
    """The backend that keeps the stack. Unless `certain`, a backend that does not answer counts as none."""
    try:
        return engine.managing_backend(stack, cli)
    except FlatlineError:
        if certain:
            raise
        return None


def _files(
    loaded: LoadedStack, options: UpOptions, context: str | None, cli: Cli | None, no_cli: str, terminal: Terminal
) -> RenderPlan:
    """Rendering because it was asked for; a stack that Pulumi keeps gives its secrets back."""
    asked = "rendering: asked for by --engine none"
    kept = _kept_by_engine(loaded.stack, cli, certain=False)
    if kept is None:
        return RenderPlan(context, (asked,))
    found = _cli(cli, no_cli, options, terminal)
    if isinstance(found, _EngineUnavailable):
        raise FlatlineError(
            f"stack {loaded.stack.name} is kept by Pulumi ({kept}), and its secrets cannot be brought back: "
            f"{found.reason}",
            "Files made without them would hold a second set of secrets, which no client knows.",
            f"For files to review, without secrets: `./flatline render --redact --stack {loaded.stack.name}`",
        )
    return RenderPlan(context, (asked, f"secrets: brought back from Pulumi ({kept}); none is made again"), found)


def _cluster(loaded: LoadedStack, options: UpOptions, terminal: Terminal) -> Cluster | _EngineUnavailable:
    """The cluster that was named, or is named now, if it answers."""
    context = named_context(loaded, options.context)
    if context is None:
        context = _typed_context(terminal)
        if context is None:
            return _EngineUnavailable(_NO_CLUSTER + _k3s_hint())
    elif not options.yes and not terminal.interactive:
        return _EngineUnavailable(
            f"context {context} is named, but there is no terminal to agree on and no --yes", context
        )
    named = options.context or options.engine == "pulumi"
    found = named_cluster(context) if named else kubeconfig.cluster(context)
    if found is None:
        return _EngineUnavailable(f"context {context} is not in kubeconfig ({kubeconfig.where()})", context)
    with terminal.step(f"Asking {found.server} whether it is there"):
        problem = found.problem()
    return _EngineUnavailable(f"cluster {context} does not answer: {problem}", context) if problem else found


def _typed_context(terminal: Terminal) -> str | None:
    """The context that somebody types, None for silence. Names are read from the file; no cluster is asked."""
    there = kubeconfig.contexts()
    if not there or not terminal.interactive:
        return None
    terminal.note("No cluster is named. kubeconfig knows: " + ", ".join(there))
    answer = terminal.ask("Type the name of the one to deploy to, or nothing to render files:")
    if answer:
        named_cluster(answer)
    return answer or None


def _cli(cli: Cli | None, no_cli: str, options: UpOptions, terminal: Terminal) -> Cli | _EngineUnavailable:
    """The CLI, fetched if there is none and somebody agrees."""
    if cli is not None:
        return cli
    if not options.yes and not terminal.agrees(f"{no_cli[0].upper()}{no_cli[1:]}. Fetch it into the cache folder?"):
        return _EngineUnavailable(no_cli)
    fetched, problem = engine.install(terminal)
    return fetched or _EngineUnavailable(f"{no_cli}, and {problem}")


def _k3s_hint() -> str:
    quiet = kubeconfig.contexts() or not kubeconfig.K3S_KUBECONFIG.exists()
    return "" if quiet else f"; k3s keeps its kubeconfig in {kubeconfig.K3S_KUBECONFIG}: name it in KUBECONFIG"
