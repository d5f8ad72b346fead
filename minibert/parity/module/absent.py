"""Stand-ins for libraries that a learner's file imports and that are not installed here.

A file that defines a model may want a library for downloads, plots or logging, too. Only a module whose import has
failed gets a stand-in, so that `try: import x` with another way behind it takes that other way.
"""

import importlib.abc
import importlib.machinery
import sys
import types

ABSENT = "not installed, and replaced by nothing: "  # so begins the note that names them


class Nothing(type):
    """The class of stand-in classes: every attribute is another one."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(name)


def stand_in(name):
    """A class that can be called, subclassed, used as a decorator, and that has every attribute."""

    def new(cls, *args, **kwargs):
        decorates = len(args) == 1 and not kwargs and callable(args[0])
        return args[0] if cls is made and decorates else object.__new__(cls)

    def attribute(self, attribute_name):
        if attribute_name.startswith("__"):
            raise AttributeError(attribute_name)
        return stand_in(attribute_name)

    def call(self, *args, **kwargs):
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def nothing(self, *args, **kwargs):
        pass

    parts = {"__new__": new, "__init__": nothing, "__getattr__": attribute, "__call__": call, "__len__": lambda self: 0}
    made = Nothing(name, (), parts | {"__iter__": lambda self: iter(()), "__getitem__": lambda self, key: self})
    return made


class AbsentModule(types.ModuleType):
    """A module that has every attribute."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(name)


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules in `names`, and those below them, when nobody else does."""

    def __init__(self):
        self.names = []

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in self.names else None

    def create_module(self, spec):
        return AbsentModule(spec.name)

    def exec_module(self, module):
        pass

    def add(self, error):
        """Stand in for what an import has missed. False when it is nothing that could be installed."""
        name = (error.name or "").partition(".")[0]
        if not name or name in self.names or name in sys.modules or name in sys.stdlib_module_names:
            return False
        self.names.append(name)
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        return True
