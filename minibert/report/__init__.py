"""What a finished run, a data set before it, and an answer look like to a person.

`write_report` and `write_data_report` are the doors for files, `terminal` and `live` for answers as they are given.
"""

from . import live, terminal
from .write import write_report
from .write_data import write_data_report

__all__ = ["live", "terminal", "write_data_report", "write_report"]
