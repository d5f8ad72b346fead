"""`python -m minibert.distill TEACHER TEXT --output FOLDER`: a smaller student from a bigger teacher.

A small model trained on labels alone has little to learn from. One that watches a big model work sees, for every
token of every text, what the big model makes of it; no labels are needed. The student is a DistilBERT that starts as
a part of the teacher (`student.py`), as DistilBERT did (Sanh et al. 2019, arXiv 1910.01108), and learns to match its

    hidden states    each student layer against the teacher's layer it stands for (Jiao et al. 2020, TinyBERT, eq. 8)
    relations        which tokens resemble which, by query, key and value of the last layer (Wang et al. 2021,
                     MiniLMv2, arXiv 2012.15828, eq. 1 and 2)
    logits           softened class probabilities, when the teacher is a classifier (Hinton et al. 2015)

`weights/minibert-tiny` was made by this command. Next: `parity/`, where others' code is checked.
"""

import hashlib
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from .batch import Examples, bucketed_batches, sorted_batches
from .data import TASKS, load_task, numbered_lines
from .files import Parser, UserError, number, read_json, run_command, write_json
from .head import Classifier, holds_classifier, pool, read_classifier, save_classifier
from .load import find_checkpoint, load_encoder, save_encoder
from .model import additive_mask
from .optim import AdamW, clip_divisor, linear_warmup, parameter_groups
from .student import choose_vocabulary, cut_tokenizer, neuron_activity, new_student, new_student_head
from .tokenizer import CHUNK, Sequence, check_vocabulary, load_tokenizer
from .train import (
    CHECKPOINT_EVERY,
    ESTIMATE_AFTER,
    EVALUATION_TOKENS,
    PRECISIONS,
    Log,
    Progress,
    announce_length,
    autocast,
    load_state,
    read_update,
    resolve_device,
    resolve_precision,
    save_state,
    to_device,
)

LOSSES = ("hidden", "relations", "logits")
HELD_OUT_EVERY = 100  # of the sequences, one in this many is never trained on
WATCHED_SEQUENCES = 512  # at most so many sequences show which neurons are busiest
LOG_EVERY = 50  # updates


@dataclass(frozen=True)
class DistillSettings:
    """Everything that decides what a distillation computes."""

    layers: int
    intermediate_size: int
    vocab_size: int
    initialization: str = "teacher"  # or "random"
    losses: str = "hidden,relations"
    temperature: float = 2.0
    epochs: int = 3
    batch_size: int = 32
    max_length: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    max_norm: float = 1.0
    precision: str = "fp32"
    seed: int = 0
    text: str = ""  # a hash of teacher, vocabulary and texts, so that --resume never goes on with others


# ---- what the student should match


def hidden_loss(student, teacher, attention_mask):
    """Squared distance of hidden states, relative to the teacher's squared length, mean over the layers.

    student, teacher: lists of [B, T, E], paired. 0 is a perfect match, 1 is what answering 0 everywhere scores.
    Padding is left out.
    """
    real = attention_mask.unsqueeze(-1).float()  # [B, T, 1]
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        theirs = theirs.float()
        losses.append(((ours.float() - theirs).square() * real).sum() / (theirs.square() * real).sum())
    return torch.stack(losses).mean()


def relation_loss(student, teacher, attention_mask, num_heads):
    """KL divergence (in nats) between two models' relations, mean over real tokens, heads and kinds of relation.

    student, teacher: lists of [B, T, E], paired (queries, keys, values). A relation is softmax(X X^T / sqrt(D)),
    taken within each head: what a token resembles, as a distribution over the other tokens. MiniLMv2, eq. 1.
    """
    mask = additive_mask(attention_mask, torch.float32)  # [B, 1, 1, T], or None
    real = attention_mask[:, None, :].float()  # [B, 1, T]
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        ours, theirs = log_relation(ours, mask, num_heads), log_relation(theirs, mask, num_heads)  # [B, H, T, T]
        divergence = (theirs.exp() * (theirs - ours)).sum(-1)  # [B, H, T]
        losses.append((divergence * real).sum() / (real.sum() * num_heads))
    return torch.stack(losses).mean()


def log_relation(x, mask, num_heads):
    x = x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # [B, T, E] -> [B, H, T, D]
    scores = (x / math.sqrt(x.shape[-1])) @ x.transpose(-1, -2)  # [B, H, T, T]
    return (scores.float() if mask is None else scores + mask).log_softmax(dim=-1)


def logit_loss(student, teacher, temperature):
    """KL divergence between softened class probabilities [B, C], times temperature^2 (Hinton et al. 2015, section 2).

    The factor keeps the gradient's size when the temperature changes.
    """
    ours = (student.float() / temperature).log_softmax(-1)
    theirs = (teacher.float() / temperature).log_softmax(-1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


class Watched:
    """A model, and everything of its forward pass that a distillation compares. `model`: Encoder or Classifier."""

    def __init__(self, model):
        self.model = model
        self.encoder = model.encoder if isinstance(model, Classifier) else model
        self.relations = {}
        attention = self.encoder.layers[-1].attention
        for name in ("query", "key", "value"):
            getattr(attention, name).register_forward_hook(self.keep(name))

    def keep(self, name):
        def hook(module, inputs, output):
            self.relations[name] = output

        return hook

    def __call__(self, input_ids, attention_mask, token_type_ids=None):
        """(every hidden state [B, T, E], embeddings first; query, key and value of the last layer; logits or None)"""
        states = self.encoder(input_ids, attention_mask, token_type_ids, return_all=True)
        logits = None
        if isinstance(self.model, Classifier):
            pooled = pool(states[-1], attention_mask, self.model.pooling, self.encoder.pooler)
            logits = self.model.head(pooled)
        relations = [self.relations.pop(name) for name in ("query", "key", "value")]
        return states, relations, logits


class Distillation:
    """Teacher and student on the same tokens: `losses(batch)` is a dict of scalar tensors, one for each of `names`."""

    def __init__(self, teacher, student, layers, kept, settings, device):
        self.teacher, self.student = Watched(teacher.to(device)), Watched(student.to(device))
        self.layers, self.settings, self.device = layers, settings, device
        self.kept = torch.tensor(kept, device=device)
        self.names = settings.losses.split(",")

    def losses(self, batch):
        ids, mask, types = to_device(batch, self.device)
        with autocast(self.device, self.settings.precision):
            with torch.no_grad():
                states, relations, logits = self.teacher(self.kept[ids], mask, types)
            student_states, student_relations, student_logits = self.student(ids, mask)
            losses = {}
            if "hidden" in self.names:
                targets = [states[layer + 1] for layer in self.layers]
                losses["hidden"] = hidden_loss(student_states[1:], targets, mask)
            if "relations" in self.names:
                heads = self.student.encoder.config.num_attention_heads
                losses["relations"] = relation_loss(student_relations, relations, mask, heads)
            if "logits" in self.names:
                losses["logits"] = logit_loss(student_logits, logits, self.settings.temperature)
        return losses

    @torch.inference_mode()
    def evaluate(self, examples):
        """Mean losses on texts that are not trained on, a dict of floats."""
        sums = Counter()
        for batch in sorted_batches(examples.lengths, EVALUATION_TOKENS[self.device.type]):
            for name, loss in self.losses(examples.inputs(batch)).items():
                sums[name] += loss.item() * len(batch)
        return {name: sums[name] / len(examples) for name in self.names}


def distill(distillation, examples, held_out, settings, checkpoint=None, resume=False, log=None, quiet=False):
    """Train the student in place; returns `Progress`. The loop of `train.py` with other losses.

    Dropout stays off (eval mode): the target is exact, and the noise would only blur it.
    """
    model, device = distillation.student.model.eval(), distillation.device
    distillation.teacher.model.eval().requires_grad_(False)
    optimizer = AdamW(parameter_groups(model, settings.lr, settings.weight_decay), fused=True)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    total_updates = -(-len(examples) // settings.batch_size) * settings.epochs
    warmup_updates = round(settings.warmup * total_updates)
    progress = Progress()
    if resume and checkpoint is not None and Path(checkpoint).is_file():
        progress, _ = load_state(checkpoint, model, optimizer, scaler, settings, len(examples), device)
    saved = time.monotonic()
    started = saved - progress.seconds
    done = progress.epoch * len(examples) + progress.batch * settings.batch_size
    recent = Counter()

    def judge():
        losses = distillation.evaluate(held_out)
        record = {"epoch": progress.epoch, "update": progress.update, "seconds": round(time.monotonic() - started, 1)}
        if log:
            log(record | {f"held_out_{name}": round(loss, 6) for name, loss in losses.items()})
        if not quiet:
            what = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            tqdm.write(f"  after epoch {progress.epoch}: held-out {what}")

    if progress.update == 0:
        judge()
    begun, first = time.monotonic(), progress.update
    total = settings.epochs * len(examples)
    with tqdm(total=total, initial=done, desc="distilling", unit=" texts", disable=quiet or None) as bar:
        while progress.epoch < settings.epochs:
            batches = bucketed_batches(examples.lengths, settings.batch_size, settings.seed, progress.epoch)
            while progress.batch < len(batches):
                scale = linear_warmup(progress.update, warmup_updates, total_updates)
                for group in optimizer.param_groups:
                    group["lr"] = settings.lr * scale
                losses = distillation.losses(examples.inputs(batches[progress.batch]))
                scaler.scale(sum(losses.values())).backward()
                scaler.unscale_(optimizer)
                divisor, _ = clip_divisor(parameters, settings.max_norm)
                scaler.step(optimizer, divisor=divisor)
                scaler.update()
                optimizer.zero_grad()

                progress.batch += 1
                progress.update += 1
                bar.update(len(batches[progress.batch - 1]))
                recent.update({name: loss.detach() for name, loss in losses.items()} | {"updates": 1})
                if progress.update % LOG_EVERY == 0 or progress.batch == len(batches):
                    means = {name: float(recent[name]) / recent["updates"] for name in losses}
                    recent.clear()
                    if not all(math.isfinite(mean) for mean in means.values()):
                        raise UserError(f"the loss is no longer finite at update {progress.update}; try a smaller --lr")
                    bar.set_postfix({name: f"{mean:.4f}" for name, mean in means.items()}, refresh=False)
                    if log:
                        record = {"epoch": progress.epoch + 1, "update": progress.update}
                        record |= {"learning_rate": settings.lr * scale}
                        log(record | {name: round(mean, 6) for name, mean in means.items()})
                    now = time.monotonic()
                    if checkpoint is not None and now - saved > CHECKPOINT_EVERY:
                        saved, progress.seconds = now, now - started
                        save_state(checkpoint, model, {}, optimizer, scaler, settings, progress, len(examples))
                if progress.update == ESTIMATE_AFTER and not quiet:
                    pace = (time.monotonic() - begun) / (ESTIMATE_AFTER - first)
                    announce_length(pace * total_updates, device, "--limit 2000")
            progress.epoch, progress.batch = progress.epoch + 1, 0
            progress.seconds = time.monotonic() - started
            judge()
            if checkpoint is not None:
                save_state(checkpoint, model, {}, optimizer, scaler, settings, progress, len(examples))
    return progress


# ---- the texts


def read_texts(text, data=None, limit=None):
    """(texts, second texts or None): the lines of a .txt file, or a task's training and validation texts.

    The labels are not used, and official test texts are never read from. Raises UserError.
    """
    if Path(text).suffix == ".txt":
        if data:
            raise UserError(f"--data goes with a task; {text} is read itself")
        texts = [line for _, line in numbered_lines(text)]
        if not texts:
            raise UserError(f"{text}: is empty; a text a line is wanted")
        return texts[:limit], None
    task = load_task(text, data, limit)
    pairs = None if task.train.pairs is None else task.train.pairs + task.validation.pairs
    return task.train.texts + task.validation.texts, pairs


def cut_up(tokenizer, texts, max_length):
    """`Sequence`s of at most max_length tokens that hold all of every text, one after the other."""
    sequences = []
    for start in range(0, len(texts), CHUNK):
        for ids in tokenizer.pieces(texts[start : start + CHUNK]):
            for first in range(0, max(1, len(ids)), max_length - 2):
                part = [tokenizer.cls_id, *ids[first : first + max_length - 2], tokenizer.sep_id]
                sequences.append(Sequence(np.array(part, dtype=np.int32), len(part)))
    return sequences


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
    tokenizer = load_tokenizer(find_checkpoint(options.teacher))
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


def watched_batches(examples, kept, quiet):
    """Some of the sequences, evenly spread and one at a time, in the teacher's ids."""
    some = range(0, len(examples), -(-len(examples) // WATCHED_SEQUENCES))
    for i in tqdm(some, desc="watching neurons", unit=" texts", leave=False, disable=quiet or None):
        input_ids, attention_mask, token_type_ids = examples.inputs([i])
        yield kept[input_ids], attention_mask, token_type_ids


def load_teacher(model):
    """(Classifier, its `minibert` section) if the checkpoint holds one, else (Encoder, {})."""
    folder = find_checkpoint(model)
    if holds_classifier(read_json(folder / "config.json")):
        return read_classifier(folder)
    return load_encoder(folder), {}


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
