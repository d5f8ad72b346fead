"""What a finished run looks like to a person: `write_report` is the door."""

from .write import write_report

__all__ = ["write_report"]
