"""What a finished run, a data set before it, an answer, and a sentence's way through the model look like to a person.

`write_report`, `write_data_report` and `write_trace` are the doors for files, `terminal` and `live` for answers as they
are given.
"""

from . import live, terminal
from .trace_page import write_trace
from .write import write_report
from .write_data import write_data_report

__all__ = ["live", "terminal", "write_data_report", "write_report", "write_trace"]
