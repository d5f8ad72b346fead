"""Data sets: the built-in tasks, a person's own files, their splits, and downloads that are checked.

`load_task` is the door for data to learn from (and `load_also_test`, for further test sets); `texts_of_...`, in
`stream.py`, are those for texts to be classified. The rest of the package asks for nothing else.
"""

from .dataset import PARTS, Dataset, Task, balanced_weights
from .stream import texts_of_file, texts_of_list, texts_of_stream
from .tables import FILE_TYPES, Columns
from .task import TASKS, load_also_test, load_task, name_of

__all__ = [
    "FILE_TYPES", "PARTS", "TASKS", "Columns", "Dataset", "Task", "balanced_weights", "load_also_test", "load_task",
    "name_of", "texts_of_file", "texts_of_list", "texts_of_stream",
]  # fmt: skip
