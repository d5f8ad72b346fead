"""Data sets: the built-in tasks, a person's own files, their splits, and downloads that are checked.

`load_task` is the door (and `load_also_test`, for further test sets). It stands in `task.py`.
"""

from .dataset import Dataset, Task, balanced_weights
from .tables import FILE_TYPES, Columns
from .task import TASKS, load_also_test, load_task

__all__ = ["FILE_TYPES", "TASKS", "Columns", "Dataset", "Task", "balanced_weights", "load_also_test", "load_task"]
