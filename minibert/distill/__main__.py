"""`python -m minibert.distill TEACHER TEXT --output FOLDER`: the command line. `run.py` does the work."""

from ..plumbing.command import Parser, add_columns, number, run_command, warmup
from . import LOSSES

MAX_SEED = 2**32 - 1


def main(argv=None):
    """Run the command; returns its exit code."""
    options = parse(argv)
    from .run import run  # late: --help need not wait for PyTorch

    run(options)
    return 0


def parse(argv):
    """The options of a command line. Raises UserError."""
    from ..data import TASKS  # late: an interrupt is answered once the command runs

    parser = Parser(
        prog="python -m minibert.distill",
        description="Train a smaller DistilBERT to do what a bigger encoder or classifier does. No label is learned.",
    )
    add = parser.add_argument
    add("teacher", help="Hub id, or folder of an encoder or a classifier")
    add("text",
        help=f"a .txt file, one text per line; or a task with labels, as finetune takes it ({', '.join(TASKS)}, a file "
        "or a folder): all but its test texts")  # fmt: skip
    add("--data", metavar="PATH", help="local copy of a built-in task's data, instead of downloading it")
    add_columns(add)
    add("--limit", type=number(int, 2), metavar="N", help="use only N texts")
    add("--output", metavar="DIR", required=True, help="where the student goes")
    add_student_options(parser.add_argument_group("student"))
    add_training_options(parser.add_argument_group("training"))
    add_machine_options(parser.add_argument_group("machine"))
    return parser.parse_args(argv)


def add_student_options(group):
    add = group.add_argument
    add("--layers", type=number(int, 1), metavar="N", help="of the student (default: half of the teacher's)")
    add("--intermediate-size", type=number(int, 1), metavar="N", help="feed-forward neurons in a layer (default: all)")
    add("--vocab-size", type=number(int, 1), metavar="N", help="keep the N most useful pieces (default: all)")
    add("--initialization", choices=("teacher", "random"), default="teacher", help="what the student starts from")
    add("--full-precision", action="store_true", help="store float32, not float16")


def add_training_options(group):
    add = group.add_argument
    add("--losses", metavar="A,B", help=f"among {','.join(LOSSES)} (default: all; logits need a classifier)")
    add("--temperature", type=number(float, 0, low_open=True), default=2.0, help="softens the logits; 1 leaves them")
    add("--epochs", type=number(int, 1), default=3, help="passes over the text")
    add("--batch-size", type=number(int, 1), default=32, help="sequences per update")
    add("--max-length", type=number(int, 5),
        help="tokens per sequence; longer texts are cut up (default: 128, or what a classifier was trained to read)")
    add("--lr", type=number(float, 0, 1, low_open=True), default=1e-3, help="peak learning rate")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, help="decoupled, on matrices only")
    add("--warmup", type=warmup, default=0.05, metavar="SHARE|UPDATES",
        help="updates in which the rate rises, below 1 as a share of all")  # fmt: skip
    add("--seed", type=number(int, 0, MAX_SEED), default=0, help="of the order of texts and a random start")


def add_machine_options(group):
    add = group.add_argument
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: bf16 where it is fast")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--resume", action="store_true", help="go on with the run in --output")
    add("--checkpoint-every", type=number(float, 0), default=300.0, metavar="SECONDS", help="between saves")
    add("--quiet", action="store_true", help="print nothing but errors")


if __name__ == "__main__":
    run_command(main)
