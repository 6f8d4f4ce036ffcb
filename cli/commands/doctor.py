"""`doctor`: looks at everything that a stack stands on, and says what is wrong, what that means, and what mends it."""

import subprocess
from argparse import Namespace

from cli import document, kubectl, packages, stacks
from cli.choice import named_cluster, named_context
from cli.doctor import gather
from cli.doctor.examination import BLIND, FINE, Examination
from cli.doctor.model import Finding, Result
from cli.doctor.symptoms import SYMPTOMS
from cli.forms.checks import Doctor
from cli.terminal import Terminal
from errors import FlatlineError


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints findings; 0 all is well, 1 something is wrong, 2 something could not be looked at."""
    loaded = stacks.read(arguments.stack)
    context = named_context(loaded, arguments.context)
    if loaded.in_cloud and context is not None:
        packages.add_clouds(loaded.stack.name, clients=True)
    if context is None:
        examined = Examination.of(gather.without_cluster(loaded, terminal))
    else:
        problem = _silence(context, terminal)
        if problem is not None:
            terminal.fail(problem.problem, problem.remedies)
            return BLIND
        examined = Examination.of(gather.everything(loaded, context, terminal))
    if arguments.json:
        document.show(Doctor, examined.document(), terminal)
    else:
        _show(examined, terminal)
    if arguments.fix and context is not None:
        _fix(examined, context, terminal, agreed=arguments.yes)
    return examined.status


def _silence(context: str, terminal: Terminal) -> FlatlineError | None:
    """Why the cluster cannot be read at all."""
    try:
        cluster = named_cluster(context)
        asking = terminal.step(f"Asking {cluster.server} whether it is there", gather.AGAIN_SECONDS)
        with asking, kubectl.limited(gather.KUBECTL_SECONDS):
            problem = cluster.problem()
            if problem:
                return FlatlineError(
                    f"cluster {context} ({cluster.server}) does not answer: {problem}",
                    "Nobody can say how the stack is. Start the cluster (on k3s: `systemctl start k3s`), or see "
                    "whether this machine reaches it.",
                )
            kubectl.program()
            kubectl.check_credentials(context)
    except FlatlineError as refused:
        return refused
    return None


def _show(examined: Examination, terminal: Terminal) -> None:
    evidence = examined.evidence
    where = f"context {evidence.context}" if evidence.context else "no cluster is named"
    terminal.say(f"Stack {evidence.stack}, {evidence.settings.domain}, {where}", "bold")
    for result in examined.results:
        if not result.passed_over:
            _result(examined, result, terminal)
    terminal.say()
    terminal.say(_summary(examined), "bold green" if examined.status == FINE else "bold")


def _result(examined: Examination, result: Result, terminal: Terminal) -> None:
    looks = f"{result.check.looks[0].upper()}{result.check.looks[1:]}"
    if result.unread:
        terminal.say(f"? {looks}: could not look. {result.unread}", "yellow")
    elif not result.findings:
        terminal.say(f"ok {looks}")
    for finding in result.findings:
        _finding(examined, finding, terminal)


def _finding(examined: Examination, finding: Finding, terminal: Terminal) -> None:
    symptom = SYMPTOMS[finding.symptom]
    wrong = symptom.severity == "wrong"
    terminal.say(f"{'!!' if wrong else '--'} {symptom.title} [{symptom.name}]", "bold red" if wrong else "yellow")
    terminal.say(f"{finding.about}: {finding.found}", indent=3)
    terminal.say(symptom.means, indent=3)
    terminal.say(f"What mends it: {examined.mend(finding)}", indent=3)
    if finding.fix:
        terminal.say(f"Or --fix {symptom.fix}.", indent=3)


def _summary(examined: Examination) -> str:
    wrong = sum(SYMPTOMS[each.symptom].severity == "wrong" for each in examined.findings)
    blind = sum(bool(result.unread) for result in examined.results)
    notices = len(examined.findings) - wrong
    parts = [f"{wrong} wrong", f"{notices} to notice", f"{blind} could not be looked at"]
    if examined.evidence.context is None:
        parts.append("the cluster was not looked at: name it with --context")
    elif not examined.evidence.deployed:
        parts.append("the stack is not on this cluster yet")
    return f"{len(examined.results)} checks: {', '.join(parts)}."


def _fix(examined: Examination, context: str, terminal: Terminal, *, agreed: bool) -> None:
    """Does what is safe, each after it was agreed to. The next run says whether it helped."""
    fixable = [each for each in examined.findings if each.fix]
    if not fixable:
        terminal.note("There is nothing that --fix can mend.")
    for finding in fixable:
        command = kubectl.command(context, *finding.fix)
        terminal.note(f"{finding.about}: --fix {SYMPTOMS[finding.symptom].fix}.")
        terminal.note(f"  {' '.join(command)}")
        if not agreed and not terminal.agrees("Do it?"):
            terminal.note("Left as it is.")
            continue
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=finding.manifest or None)
        if done.returncode != 0:
            terminal.warn(f"That was refused: {' '.join(done.stderr.split())}")
        else:
            terminal.note(f"Done: {' '.join(done.stdout.split())}")
