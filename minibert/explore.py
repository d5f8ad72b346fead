"""`python -m minibert.explore TASK`: look at the data before anything is trained.

Sizes, balance, lengths, what a limit cuts off, words that tell a class, copies between and inside the sets, and whether
train and test are alike. Nothing is computed with a model; only its tokenizer is read.
"""

from pathlib import Path

from .finetune import add_data_options, check_sample
from .plumbing.command import Parser, number, run_command
from .recipes import defaults_of


def main(argv=None):
    """Run the command; returns its exit code."""
    options = parse(argv)
    from .data import PARTS, Columns, load_task  # late: --help need not wait for PyTorch
    from .load import load_tokenizer
    from .report import write_data_report

    columns = Columns(options.text_column, options.pair_column, options.label_column)
    task = load_task(options.task, options.data, options.limit, options.test_limit, columns, options.sample)
    tokenizer = load_tokenizer(options.model)
    sequences = {}
    for part in PARTS:
        texts = getattr(task, part)
        sequences[part] = tokenizer.encode(texts.texts, texts.pairs, options.max_length, options.truncation)
    folder = Path(options.output) if options.output else None
    write_data_report(task, sequences, tokenizer, options.max_length, options.truncation, options.model, folder)
    return 0


def parse(argv):
    """The options of a command line, with the task's tokenizer filled in."""
    parser = Parser(
        prog="python -m minibert.explore",
        description="Look at a task's texts before training: sizes, lengths, telling words, copies, shortcuts.",
    )
    add_data_options(parser)
    add = parser.add_argument
    add("--max-length", type=number(int, 5), default=256, help="tokens per text that a training would keep")
    add("--truncation", choices=("head", "tail", "head+tail"), default="head", help="the part of a longer text to keep")
    add("--output", metavar="DIR", help="write data.html, data.md and data.json there, too")
    options = parser.parse_args(argv)
    check_sample(options)
    options.model = options.model or defaults_of(options.task)["model"]
    return options


if __name__ == "__main__":
    run_command(main)
