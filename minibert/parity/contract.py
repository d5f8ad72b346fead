"""The contract in words: one rung explained, and a file with every function to fill in."""

import difflib
import textwrap

from ..plumbing.files import UserError
from .rungs import RUNGS


def find_rung(name):
    for rung in RUNGS:
        if rung.name == name:
            return rung
    near = difflib.get_close_matches(name, [rung.name for rung in RUNGS], n=3, cutoff=0.3)
    raise UserError(f"no rung is called {name!r}; {'did you mean ' + ', '.join(near) + '? ' if near else ''}"
                    "--list names them all")  # fmt: skip


def explain(rung):
    """A rung's contract, as text."""
    lines = [f"{rung.name}({', '.join(name for name, _ in rung.arguments)})", "", f"{rung.title}: {rung.source}", ""]
    width = max(len(name) for name, _ in rung.arguments) + 2
    for name, what in rung.arguments:
        lines += textwrap.wrap(what, 96, initial_indent=f"  {name:<{width}}", subsequent_indent=" " * (width + 2))
    lines += [""] + textwrap.wrap(rung.returns, 96, initial_indent="  returns  ", subsequent_indent=" " * 11) + [""]
    if rung.exact:
        lines.append("  compared: word for word")
    else:
        double = f", {rung.double:g} with --dtype float64" if rung.double else ""
        padding = "; padding is left out" if rung.padding is not None else ""
        lines.append(f"  compared: largest absolute difference at most {rung.tolerance:g}{double}{padding}")
    if rung.twice:
        lines.append("  called twice with the same input, which has to give the same answer")
    if rung.places:
        lines.append("  heard: what dropout is applied to, while it drops nothing; --hint 3 says where it belongs")
    return "\n".join(lines)


def template():
    """A file with every function of the contract, not yet written."""
    parts = ['"""My BERT, to be checked rung by rung: python -m minibert.parity THIS_FILE\n\n'
             "Fill in any functions, in any order; those that raise NotImplementedError or are deleted are skipped.\n"
             "B texts, T tokens, E hidden size = H heads * D, F intermediate size, C classes, V vocabulary, L layers.\n"
             'Floats come as float32. Arguments must not be changed in place.\n"""\n\n'
             'ARRAYS = "torch"  # or "numpy": what the arguments are']  # fmt: skip
    for rung in RUNGS:
        body = textwrap.wrap(f"{rung.title} ({rung.source}).", 110)
        for name, what in rung.arguments:
            body += textwrap.wrap(f"{name}: {what}", 110, initial_indent="  ", subsequent_indent="    ")
        body += textwrap.wrap(f"returns {rung.returns}", 110, initial_indent="  ", subsequent_indent="    ")
        document = "\n    ".join(body)
        signature = f"def {rung.name}({', '.join(name for name, _ in rung.arguments)}):"
        parts.append(f'{signature}\n    """{document}\n    """\n    raise NotImplementedError')
    return "\n\n\n".join(parts) + "\n"
