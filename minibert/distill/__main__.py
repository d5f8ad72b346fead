"""TODO"""

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch

from ..batch import Examples
from ..data import TASKS
from ..head import Classifier
from ..load import holds_classifier, read_classifier, read_encoder, read_tokenizer, save_classifier, save_encoder
from ..plumbing.checkpoint import find_checkpoint
from ..plumbing.command import Parser, number, run_command
from ..plumbing.device import PRECISIONS, resolve_device, resolve_precision
from ..plumbing.files import UserError, read_json, write_json
from ..plumbing.resume import Log, read_update
from ..tokenizer import check_vocabulary
from .loop import Distillation, DistillSettings, distill
from .losses import LOSSES
from .student import neuron_activity, new_student, new_student_head
from .texts import HELD_OUT_EVERY, cut_up, read_texts, watched_batches
from .vocabulary import choose_vocabulary, cut_tokenizer


def main(argv=None):
    options = parse(argv)
    say = (lambda *lines: None) if options.quiet else (lambda *lines: print(*lines, sep="\n", flush=True))
    device = resolve_device(options.device)
    precision, why = resolve_precision(options.precision, device)
    folder = Path(options.output)
    state = folder / "state.safetensors"
    if state.is_file() and not options.resume:
        raise UserError(f"{folder}: holds an unfinished run; --resume goes on with it, --output DIR starts another")
    if (folder / "model.safetensors").is_file() and not state.is_file():  # a kill may come between the last files
        raise UserError(f"{folder}: holds a finished model; choose another --output")

    teacher, extra = load_teacher(options.teacher)
    tokenizer = read_tokenizer(find_checkpoint(options.teacher))
    is_classifier = isinstance(teacher, Classifier)
    encoder = teacher.encoder if is_classifier else teacher
    check_vocabulary(tokenizer, encoder.config, options.teacher)
    names = choose_losses(options.losses, is_classifier)
    texts, pairs = read_texts(options.text, options.data, options.limit)
    if pairs is not None and not is_classifier:
        texts, pairs = texts + pairs, None  # a bare encoder reads sentences, not pairs
    kept, coverage = choose_vocabulary(tokenizer, texts + (pairs or []), options.vocab_size, options.quiet)
    student_tokenizer = cut_tokenizer(tokenizer, kept)
    max_length = min(options.max_length, encoder.config.max_position_embeddings)
    if is_classifier:  # what a classifier says about half a text is no target
        max_length = extra.get("max_length", max_length)
        sequences = student_tokenizer.encode(texts, pairs, max_length, extra.get("truncation", "head"))
    else:
        sequences = cut_up(student_tokenizer, texts, max_length)
    if len(sequences) < 2:
        raise UserError(f"{options.text}: one piece of text is too little; at least two are needed")
    settings = DistillSettings(
        layers=options.layers or max(1, len(encoder.layers) // 2),
        intermediate_size=options.intermediate_size or encoder.config.intermediate_size, vocab_size=len(kept),
        initialization=options.initialization, losses=",".join(names), temperature=options.temperature,
        epochs=options.epochs, batch_size=options.batch_size, max_length=max_length, lr=options.lr,
        weight_decay=options.weight_decay, warmup=options.warmup, precision=precision, seed=options.seed,
        text=fingerprint(teacher, kept, sequences),
    )  # fmt: skip
    torch.manual_seed(settings.seed)
    pad_id = student_tokenizer.pad_id
    held_out = Examples(sequences[::HELD_OUT_EVERY], [0] * len(sequences[::HELD_OUT_EVERY]), pad_id)
    rest = [sequence for i, sequence in enumerate(sequences) if i % HELD_OUT_EVERY]
    examples = Examples(rest, [0] * len(rest), pad_id)
    activity = None
    if settings.intermediate_size < encoder.config.intermediate_size and settings.initialization == "teacher":
        activity = neuron_activity(encoder, watched_batches(examples, torch.tensor(kept), options.quiet))
    student, layers = new_student(
        encoder, settings.layers, kept, settings.initialization, pad_id, settings.intermediate_size, activity
    )
    if is_classifier:
        student = new_student_head(teacher, student, settings.initialization)
    size = sum(p.numel() for p in student.parameters())
    say(
        f"teacher: {options.teacher} ({encoder.config.model_type}, {len(encoder.layers)} layers, "
        f"{sum(p.numel() for p in teacher.parameters()):,} parameters{', a classifier' if is_classifier else ''})",
        f"student: distilbert, {settings.layers} deep, for teacher layers {', '.join(str(i + 1) for i in layers)}; "
        f"{settings.intermediate_size} feed-forward neurons in each; "
        f"{size:,} parameters, starting from {'the teacher' if settings.initialization == 'teacher' else 'random'}",
        f"vocabulary: {len(kept):,} of {tokenizer.backend.get_vocab_size():,} pieces, {coverage:.1%} of the text",
        f"text: {len(texts):,} texts in {len(sequences):,} sequences of at most {max_length} tokens, "
        f"{len(held_out):,} held out",
        f"losses: {settings.losses}; computing on {device} in {precision} ({why})",
    )
    done = read_update(state)
    log = Log(folder / "log.jsonl", keep=lambda line: 0 < done >= line["update"])
    distillation = Distillation(teacher, student, layers, kept, settings, device)
    progress = distill(distillation, examples, held_out, settings, state, options.resume, log, options.quiet)

    student = student.cpu() if options.full_precision else student.cpu().half()
    student_tokenizer.save(folder)
    made_with = {key: value for key, value in asdict(settings).items() if key != "text"}
    write_json(folder / "settings.json", {"teacher": options.teacher, "source": options.text, **made_with})
    if is_classifier:
        save_classifier(student, folder, {k: v for k, v in extra.items() if k not in ("pooling", "head")})
    else:
        save_encoder(student, folder)
    state.unlink(missing_ok=True)
    say(f"saved in {folder} after {progress.seconds / 60:.1f} minutes: config.json, model.safetensors, tokenizer.json")
    return 0


def load_teacher(model):
    """(Classifier, its `minibert` section) if the checkpoint holds one, else (Encoder, {})."""
    folder = find_checkpoint(model)
    if holds_classifier(read_json(folder / "config.json")):
        return read_classifier(folder)
    return read_encoder(folder), {}


def choose_losses(asked, is_classifier):
    """The losses asked for ("A,B"), or all that the teacher can give."""
    if not asked:
        return [name for name in LOSSES if name != "logits" or is_classifier]
    names = asked.split(",")
    if not set(names) <= set(LOSSES) or ("logits" in names and not is_classifier):
        raise UserError(
            f"--losses {asked}: choose among {', '.join(LOSSES)}; logits only from a teacher that classifies"
        )
    return names


def fingerprint(teacher, kept, sequences):
    """A hash of what a run learns from."""
    digest = hashlib.sha256(repr(kept).encode())
    for tensor in teacher.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    for sequence in sequences:
        digest.update(sequence.ids.tobytes() + b"/")
    return digest.hexdigest()


def parse(argv):
    parser = Parser(
        prog="python -m minibert.distill",
        description="Train a smaller DistilBERT to do what a bigger encoder or classifier does. No labels are needed.",
    )
    add = parser.add_argument
    add("teacher", help="Hub id, or folder of an encoder or a classifier")
    add("text", help=f"a .txt file, a text a line; or {', '.join(TASKS)}, a file or a folder: its training texts")
    add("--data", metavar="PATH", help="local copy of a built-in task's data, instead of downloading it")
    add("--limit", type=number(int, 2), metavar="N", help="use only N texts")
    add("--output", metavar="DIR", required=True, help="where the student goes")
    student = parser.add_argument_group("student")
    add = student.add_argument
    add("--layers", type=number(int, 1), help="of the student (default: half of the teacher's)")
    add("--intermediate-size", type=number(int, 1), metavar="N", help="feed-forward neurons in a layer (default: all)")
    add("--vocab-size", type=number(int, 1), metavar="N", help="keep the N most useful pieces (default: all)")
    add("--initialization", choices=("teacher", "random"), default="teacher", help="what the student starts from")
    add("--full-precision", action="store_true", help="store float32, not float16")
    training = parser.add_argument_group("training")
    add = training.add_argument
    add("--losses", metavar="A,B", help=f"among {','.join(LOSSES)} (default: all; logits need a classifier)")
    add("--temperature", type=number(float, 0, low_open=True), default=2.0, help="that softens the logits")
    add("--epochs", type=number(int, 1), default=3, help="passes over the text")
    add("--batch-size", type=number(int, 1), default=32, help="sequences per update")
    add("--max-length", type=number(int, 5), default=128, help="tokens per sequence; longer texts are cut up")
    add("--lr", type=number(float, 0, 1, low_open=True), default=1e-3, help="peak learning rate")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, help="decoupled, on matrices only")
    add("--warmup", type=number(float, 0, 1), default=0.05, help="share of the updates in which the rate rises")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="of the order of texts and a random start")
    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: bf16 where it is fast")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--resume", action="store_true", help="go on with the run in --output")
    add("--quiet", action="store_true", help="print nothing but errors")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
