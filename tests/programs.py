"""The programs of examples/ as modules, for tests of their functions."""

import importlib.util
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def load_program(path):
    """A program as a module, from its path inside examples/. What it imports from its own folder has to be found."""
    name = f"program_{Path(path).stem}"  # never __main__: it would run
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
