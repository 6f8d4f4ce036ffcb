"""language ENGINE | random | tls: one plugin, until the engine ends it."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_protocol() -> None:
    """Lets ``pulumi.runtime.proto`` be imported without running the packages that it is in, unless they have run."""
    if "pulumi" in sys.modules:
        return
    specification = importlib.util.find_spec("pulumi")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("needs the PyPI package pulumi (requirements.txt)")
    for name in ("pulumi", "pulumi.runtime"):
        module = ModuleType(name)
        module.__path__ = [str(Path(specification.origin).parent.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module


def main(name: str, arguments: list[str]) -> None:
    """Serves one plugin."""
    import_protocol()
    if name == "language":
        importlib.import_module("tests.lab.plugins.language").main(arguments)
    else:
        importlib.import_module("tests.lab.plugins.provider").main(name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
