"""The whole job, from the command's options to the files of the student.

Everything is read and checked before anything is written. A run that was killed leaves its state in the output folder,
and goes on from there; a finished one leaves a checkpoint in Hugging Face layout.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..data import Columns
from ..head import Classifier
from ..load import read_model, read_tokenizer, save_classifier, save_encoder
from ..plumbing import processes
from ..plumbing.checkpoint import find_checkpoint
from ..plumbing.device import resolve_device, resolve_precision
from ..plumbing.files import UserError, remove_leftovers, write_json
from ..plumbing.lock import only_run_in
from ..plumbing.resume import Log, read_progress
from ..tokenizer import check_vocabulary
from . import LOSSES
from .loop import Distillation, DistillSettings, distill
from .student import neuron_activity, new_student, new_student_head
from .texts import cut_up, hold_out, read_texts, watched_batches
from .vocabulary import choose_vocabulary, cut_tokenizer

# What settings.json tells of a run's settings: all that the options decide.
MADE_WITH = (
    "layers", "intermediate_size", "vocab_size", "initialization", "losses", "temperature", "epochs", "batch_size",
    "max_length", "lr", "weight_decay", "warmup", "max_norm", "precision", "seed",
)  # fmt: skip


def run(options):
    """Read the teacher and the texts, make the student, train it and save it. Raises UserError.

    options: those of `python -m minibert.distill`.
    """
    device = resolve_device(options.device)
    with processes.together(device):
        options.quiet = options.quiet or not processes.is_first()
        run_here(options, device)


def run_here(options, device):
    """What each process does; the first one talks and writes."""
    say = (lambda *lines: None) if options.quiet else (lambda *lines: print(*lines, sep="\n", flush=True))
    folder = Path(options.output)
    state = folder / "state.safetensors"
    check_output(folder, state, options.resume)
    precision, why = resolve_precision(options.precision, device)
    with processes.one_after_the_other():
        teacher = read_teacher(options.teacher)
    check_size(options, teacher.encoder.config)
    losses = choose_losses(options.losses, teacher.is_classifier)
    say(describe_teacher(teacher))
    lessons = read_lessons(options, teacher)
    say(*lessons.facts)
    settings = choose_settings(options, teacher, lessons, losses, precision)
    student, layers = make_student(teacher, lessons, settings, options.quiet)
    say(describe_student(student, layers, settings))
    say(f"losses: {settings.losses}; computing on {device} in {precision} ({why})")
    distillation = Distillation(teacher.model, student, layers, lessons.kept, settings, device)
    learn = partial(
        distill, distillation, lessons.examples, lessons.held_out, checkpoint=state, resume=options.resume,
        quiet=options.quiet, checkpoint_every=options.checkpoint_every,
    )  # fmt: skip
    processes.wait_for_all()  # all have looked at the folder before the first one writes there
    if not processes.is_first():
        learn()
        return
    with only_run_in(folder):
        check_output(folder, state, options.resume)  # again: another run may have ended here meanwhile
        remove_leftovers(folder)
        done = read_progress(state)
        progress = learn(log=Log(folder / "log.jsonl", keep=lambda record: done.update and done.knows(record)))
        save_student(student, teacher, lessons.tokenizer, settings, options)
        state.unlink(missing_ok=True)
    say(f"saved in {folder} after {progress.seconds / 60:.1f} minutes: config.json, model.safetensors, tokenizer.json")


def check_output(folder, state, resume):
    """Refuse to write over another run. state: where an unfinished one keeps itself."""
    if state.is_file() and not resume:
        raise UserError(f"{folder}: holds an unfinished run; --resume goes on with it, --output DIR starts another")
    if (folder / "model.safetensors").is_file() and not state.is_file():  # a kill may come between the last files
        raise UserError(f"{folder}: holds a finished model; choose another --output")


# ---- the teacher


@dataclass
class Teacher:
    """Whom the student watches."""

    name: str  # as the command line has it
    model: object  # `Classifier` or `Encoder`
    extra: dict  # a classifier's `minibert` section, such as max_length
    tokenizer: object

    @property
    def is_classifier(self):
        return isinstance(self.model, Classifier)

    @property
    def encoder(self):
        return self.model.encoder if self.is_classifier else self.model


def read_teacher(name):
    """The `Teacher` in a folder or behind a Hub id, which is asked for once. Raises UserError."""
    folder = find_checkpoint(name)
    teacher = Teacher(name, *read_model(folder), read_tokenizer(folder))
    check_vocabulary(teacher.tokenizer, teacher.encoder.config, name)
    return teacher


def check_size(options, config):
    """UserError when the student is to be larger than its teacher."""
    for flag, asked, most in (
        ("--layers", options.layers, config.num_hidden_layers),
        ("--intermediate-size", options.intermediate_size, config.intermediate_size),
    ):
        if asked and asked > most:
            raise UserError(f"{flag} {asked}: the teacher has {most}, and a student at most as many")


def choose_losses(asked, is_classifier):
    """The losses asked for ("A,B"), or all that the teacher can give: a list of names. Raises UserError."""
    if not asked:
        return [name for name in LOSSES if name != "logits" or is_classifier]
    names = asked.split(",")
    if not set(names) <= set(LOSSES):
        raise UserError(f"--losses {asked}: choose from {', '.join(LOSSES)}, with commas between them")
    if "logits" in names and not is_classifier:
        raise UserError(f"--losses {asked}: logits need a classifier as teacher, and this one is a bare encoder")
    return names


def describe_teacher(teacher):
    """What the teacher is, in a line."""
    config, size = teacher.encoder.config, count_parameters(teacher.model)
    kind = ", a classifier" if teacher.is_classifier else ""
    return (
        f"teacher: {teacher.name} ({config.model_type}, {config.num_hidden_layers} layers, {size:,} parameters{kind})"
    )


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


# ---- the texts


@dataclass
class Lessons:
    """What the student learns from, in its own vocabulary."""

    kept: list  # [V] the teacher's ids of the student's word pieces
    tokenizer: object  # the student's
    examples: object  # `Examples` to train on
    held_out: object
    max_length: int  # tokens in a sequence
    fingerprint: str  # a hash of all that the student learns from, the teacher included
    facts: list  # what this is, in lines for a person


def read_lessons(options, teacher):
    """Read the texts, choose the student's vocabulary, and encode the texts with it: `Lessons`. Raises UserError."""
    columns = Columns(options.text_column, options.pair_column, options.label_column)
    texts, pairs = read_texts(options.text, options.data, options.limit, columns)
    if teacher.is_classifier:
        check_reading(options, teacher, pairs is not None)
    elif pairs is not None:
        texts, pairs = texts + pairs, None  # a bare encoder reads each text on its own
    try:
        kept, coverage = choose_vocabulary(teacher.tokenizer, texts + (pairs or []), options.vocab_size, options.quiet)
    except ValueError as error:
        raise UserError(f"--vocab-size {options.vocab_size}: {error}") from None
    tokenizer = cut_tokenizer(teacher.tokenizer, kept)
    longest = teacher.encoder.config.longest
    if options.max_length and options.max_length > longest:
        raise UserError(f"--max-length {options.max_length}: the teacher has {longest} positions")
    max_length = options.max_length or min(DistillSettings.max_length, longest)
    if teacher.is_classifier:  # what a classifier says about a part of a text is no target: it reads as it was trained
        max_length = teacher.extra.get("max_length", max_length)
        sequences = tokenizer.encode(texts, pairs, max_length, teacher.extra.get("truncation", "head"))
    else:
        sequences = cut_up(tokenizer, texts, max_length)
    if len(sequences) < 2:
        raise UserError(f"{options.text}: one piece of text is too little; at least two are needed")
    examples, held_out = hold_out(sequences, tokenizer.pad_id)
    facts = [
        f"vocabulary: {len(kept):,} of {teacher.tokenizer.backend.get_vocab_size():,} pieces, "
        f"{coverage:.1%} of the text",
        f"text: {len(texts):,} texts in {len(sequences):,} sequences of at most {max_length} tokens, "
        f"{len(held_out):,} held out",
    ]
    fingerprint = hash_lessons(teacher.model, kept, sequences)
    return Lessons(kept, tokenizer, examples, held_out, max_length, fingerprint, facts)


def check_reading(options, teacher, in_pairs):
    """UserError where a classifier would read otherwise than it was trained to: its answers would be no targets."""
    length, windows, pairs = (teacher.extra.get(name) for name in ("max_length", "windows", "pairs"))
    if windows and windows > 1:
        raise UserError(f"{teacher.name}: reads {windows} windows of a text, which a student cannot learn here")
    if options.max_length and length and options.max_length != length:
        raise UserError(f"--max-length {options.max_length}: the teacher reads {length} tokens; leave it out")
    if pairs is not None and pairs != in_pairs:
        kinds = ("single texts", "pairs")
        raise UserError(f"{options.text}: holds {kinds[in_pairs]}, and the teacher reads {kinds[pairs]}")


def hash_lessons(teacher, kept, sequences):
    """A hash of the teacher's weights, the vocabulary and the texts."""
    digest = hashlib.sha256(repr(kept).encode())
    for tensor in teacher.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    for sequence in sequences:
        digest.update(sequence.ids.tobytes() + b"/")
    return digest.hexdigest()


# ---- the student


def choose_settings(options, teacher, lessons, losses, precision):
    """`DistillSettings` from the options, with the defaults that depend on the teacher."""
    config = teacher.encoder.config
    return DistillSettings(
        layers=options.layers or max(1, config.num_hidden_layers // 2),
        intermediate_size=options.intermediate_size or config.intermediate_size,
        vocab_size=len(lessons.kept),
        initialization=options.initialization,
        losses=",".join(losses),
        temperature=options.temperature,
        epochs=options.epochs,
        batch_size=options.batch_size,
        max_length=lessons.max_length,
        lr=options.lr,
        weight_decay=options.weight_decay,
        warmup=options.warmup,
        precision=precision,
        seed=options.seed,
        text=lessons.fingerprint,
    )


def make_student(teacher, lessons, settings, quiet=False):
    """(the untrained student, a `Classifier` if the teacher is one; the teacher's layers that its layers stand for)."""
    torch.manual_seed(settings.seed)
    activity = None
    narrow = settings.intermediate_size < teacher.encoder.config.intermediate_size
    if narrow and settings.initialization == "teacher":
        batches = watched_batches(lessons.examples, torch.tensor(lessons.kept), quiet)
        activity = neuron_activity(teacher.encoder, batches)
    student, layers = new_student(
        teacher.encoder, settings.layers, lessons.kept, settings.initialization, lessons.tokenizer.pad_id,
        settings.intermediate_size, activity,
    )  # fmt: skip
    if teacher.is_classifier:
        student = new_student_head(teacher.model, student, settings.initialization)
    return student, layers


def describe_student(student, layers, settings):
    """What the student is, in a line."""
    places = ", ".join(str(layer + 1) for layer in layers)
    start = "the teacher" if settings.initialization == "teacher" else "random numbers"
    return (
        f"student: distilbert, {len(layers)} {'layer' if len(layers) == 1 else 'layers'} in place of the teacher's "
        f"{places}; {settings.intermediate_size} feed-forward neurons in each; "
        f"{count_parameters(student):,} parameters, starting from {start}"
    )


def save_student(student, teacher, tokenizer, settings, options):
    """Write the student's checkpoint and what it was made with. config.json comes last: with it the run is finished."""
    folder = Path(options.output)
    student = student.cpu() if options.full_precision else student.cpu().half()
    tokenizer.save(folder)
    made_with = {name: getattr(settings, name) for name in MADE_WITH}
    write_json(folder / "settings.json", {"teacher": options.teacher, "source": options.text, **made_with})
    if teacher.is_classifier:
        extra = {name: value for name, value in teacher.extra.items() if name not in ("pooling", "head")}
        save_classifier(student, folder, extra)
    else:
        save_encoder(student, folder)
