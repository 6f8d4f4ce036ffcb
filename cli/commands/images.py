"""`images`: every image of a stack with what its registry has; digests for the stack's file; a bundle of all."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli import document, image_bundle, published_images, skopeo, stack_edit, stacks
from cli.forms.checks import Images
from cli.published_images import Published
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.images import IMAGES, ImageName
from errors import FlatlineError

MIB = 1 << 20
Found = Mapping[ImageName, Published | FlatlineError]


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows, locks, verifies or bundles them. 1 where something could not be read or is not as it should be."""
    if arguments.bundle is not None and (arguments.lock or arguments.json):
        raise FlatlineError("--bundle goes with neither --lock nor --json", "Run the command once for each.")
    if arguments.architecture and (arguments.bundle is None or arguments.verify):
        raise FlatlineError("--architecture is for a bundle that is written", "Add: --bundle FILE")
    loaded = stacks.read(arguments.stack)
    if arguments.bundle is not None and arguments.verify:
        return _check_bundle(loaded, Path(arguments.bundle), terminal)
    skopeo.require()
    names = loaded.settings.used_images
    references = {name: _reference(loaded, name, arguments.lock) for name in names}
    with terminal.step("Asking the registries"):
        found = published_images.look_at_all(references)
    if arguments.lock:
        return _lock(loaded, found, terminal)
    if arguments.bundle is not None:
        return _bundle(found, Path(arguments.bundle), arguments.architecture, terminal)
    moved = _moved(loaded, found) if arguments.verify or arguments.json else {}
    if arguments.json:
        document.show(Images, {"stack": loaded.stack.name, "images": _objects(loaded, found, moved)}, terminal)
    else:
        _table(loaded, found, terminal)
    if arguments.verify:
        return _verify(loaded, found, moved, terminal)
    return _failures(found, terminal)


def _reference(loaded: LoadedStack, name: ImageName, by_tag: bool) -> str:
    return published_images.tagged(loaded.settings, name) if by_tag else loaded.settings.images.reference(name)


def _failures(found: Found, terminal: Terminal) -> int:
    """Tells what could not be read; the status of the command."""
    problems = [each for each in found.values() if isinstance(each, FlatlineError)]
    for problem in problems:
        terminal.fail(problem.problem, problem.remedies)
    return 1 if problems else 0


def _table(loaded: LoadedStack, found: Found, terminal: Terminal) -> None:
    rows = []
    for name, each in found.items():
        if isinstance(each, FlatlineError):
            rows.append((name, loaded.settings.images.reference(name), "not read", "", ""))
            continue
        sizes = ", ".join(f"{one.architecture} {one.size / MIB:.0f} MiB" for one in each.platforms)
        pinned = "yes" if published_images.locked(loaded.settings, name) else "no"
        rows.append((name, each.reference.partition("@")[0], each.digest, pinned, sizes))
    terminal.table(("Image", "Reference", "Digest", "Locked", "Platforms"), rows)


def _moved(loaded: LoadedStack, found: Found) -> dict[ImageName, str]:
    """Of pinned images whose tag names another digest now: that digest."""
    moved = {}
    for name, each in found.items():
        try:
            now = None if isinstance(each, FlatlineError) else published_images.moved(loaded.settings, name)
        except FlatlineError:
            continue  # a digest may outlive its tag
        if now is not None:
            moved[name] = now
    return moved


def _objects(loaded: LoadedStack, found: Found, moved: Mapping[ImageName, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "reference": loaded.settings.images.reference(name),
            "locked": published_images.locked(loaded.settings, name) is not None,
            "digest": None if isinstance(each, FlatlineError) else each.digest,
            "tagDigest": moved.get(name, None if isinstance(each, FlatlineError) else each.digest),
            "platforms": []
            if isinstance(each, FlatlineError)
            else [{"architecture": p.architecture, "digest": p.digest, "bytes": p.size} for p in each.platforms],
            "problem": each.problem if isinstance(each, FlatlineError) else None,
        }
        for name, each in found.items()
    ]


def _lock(loaded: LoadedStack, found: Found, terminal: Terminal) -> int:
    """Writes the digests into the stack's file; nothing where one of them could not be read."""
    if _failures(found, terminal):
        raise FlatlineError(f"{loaded.stack.file.name} is as it was: not every image could be read")
    overridden = loaded.settings.images.overrides
    values: dict[tuple[str, ...], int | str] = {}
    for name, each in found.items():
        assert isinstance(each, Published)
        if name in overridden:
            if "@" not in overridden[name]:
                terminal.warn(f"{name} is an override: write {overridden[name]}@{each.digest} there yourself")
        elif published_images.locked(loaded.settings, name) != each.digest:
            values["images", "digests", name] = each.digest
    if not values:
        terminal.say("Every digest is that of its tag already.")
        return 0
    stack_edit.replace(loaded.stack.file, stack_edit.with_values(loaded, values))
    terminal.say(f"Wrote flatline:images.digests into {loaded.stack.file.name}:")
    terminal.points(f"{path[-1]}: {value}" for path, value in values.items())
    terminal.say("Next:")
    terminal.command(["./flatline", "up", "--stack", loaded.stack.name])
    return 0


def _verify(loaded: LoadedStack, found: Found, moved: Mapping[ImageName, str], terminal: Terminal) -> int:
    """Asks the registries for each pinned digest, byte for byte, for each processor that it is published for."""
    status = _failures(found, terminal)
    for name, each in found.items():
        if isinstance(each, FlatlineError):
            continue
        if each.missing:
            terminal.fail(f"{each.reference} has nothing for {', '.join(each.missing)}")
            status = 1
        if published_images.locked(loaded.settings, name) is None and IMAGES[name].moving:
            terminal.warn(f"{each.reference} has no digest, so it may change: `./flatline images --lock`")
        if name in moved:
            terminal.note(f"{published_images.tagged(loaded.settings, name)} has moved on to {moved[name]}")
    if not status:
        terminal.say("Every image is there, as its digest says.")
    return status


def _bundle(found: Found, file: Path, architectures: list[str] | None, terminal: Terminal) -> int:
    if _failures(found, terminal):
        raise FlatlineError("no bundle was written: not every image could be read")
    images = [_only(each, architectures) for each in found.values() if isinstance(each, Published)]
    with terminal.step(f"Copying {len(images)} images"):
        size = image_bundle.write(images, file)
    terminal.say(f"Wrote {len(images)} images to {file}, {size / MIB:.0f} MiB. On each machine:")
    terminal.command(["k3s", "ctr", "images", "import", str(file)])
    return 0


def _only(image: Published, architectures: list[str] | None) -> Published:
    """The image with the platforms that were asked for. Raises FlatlineError where it has none of them."""
    kept = tuple(each for each in image.platforms if not architectures or each.architecture in architectures)
    if not kept:
        there = ", ".join(each.architecture for each in image.platforms) or "no processor that is known here"
        raise FlatlineError(f"{image.reference} is published for {there}, and for none that --architecture names")
    return replace(image, platforms=kept)


def _check_bundle(loaded: LoadedStack, file: Path, terminal: Terminal) -> int:
    """Checks that a bundle is whole and has the images that the settings pin. Asks no registry."""
    settings = loaded.settings
    names = settings.used_images
    unpinned = [name for name in names if published_images.locked(settings, name) is None]
    if unpinned:
        raise FlatlineError(
            f"{', '.join(unpinned)}: no digest in {loaded.stack.file.name} says what should be in {file}",
            "`./flatline images --lock` writes digests; then make the bundle again.",
        )
    wanted = [
        (settings.images.reference(name).partition("@")[0], published_images.locked(settings, name) or "")
        for name in names
    ]
    problems = image_bundle.check(wanted, file)
    for problem in problems:
        terminal.fail(problem)
    if not problems:
        terminal.say(f"{file} has the {len(wanted)} images of stack {loaded.stack.name}, undamaged.")
    return 1 if problems else 0
