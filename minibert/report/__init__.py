"""What a finished run, and a data set before it, look like to a person: `write_report` and `write_data_report`."""

from .write import write_report
from .write_data import write_data_report

__all__ = ["write_data_report", "write_report"]
