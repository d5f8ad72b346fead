"""Does it help to train on texts with words left out or swapped? Measured, at equal cost.

    python examples/augmentation.py                         the bundled reviews and minibert-tiny, no network
    python examples/augmentation.py imdb --model distilbert-base-uncased --sizes 200,1000,20000

"Easy data augmentation" (Wei and Zou 2019, arXiv 1901.11196) makes new training texts of old ones: random deletion
leaves each word out with a small probability, random swap exchanges a few pairs of words. It helps networks that start
from nothing. For pretrained transformers Longpre et al. 2020 (findings-emnlp.394) found no gain, even with few texts:
to have read billions of words is to have seen most of what deletion and swap could show.

How the comparison is kept fair, which is where such results usually go wrong:

* All three see the same number of texts and updates: every training text twice, the second time changed or, in the
  control, as it was. Otherwise augmentation gets twice the training and wins by that.
* The same texts, seeds and fresh heads for all three, so the differences can be paired.
* Epochs are chosen on validation texts, which are never changed; the test set is looked at once.
"""

import itertools
import random
import statistics

from tqdm import tqdm

from minibert.data import load_task
from minibert.evaluate import predict
from minibert.load import load_encoder, load_tokenizer, put_head
from minibert.metrics import accuracy, student_t
from minibert.plumbing.command import Parser, number, run_command
from minibert.plumbing.device import resolve_device, resolve_precision
from minibert.plumbing.files import UserError
from minibert.train import TrainSettings, train

RATE = 0.1  # of the words; what Wei and Zou recommend


def deletion(words, generator):
    """The words without about a tenth of them; never none."""
    kept = [word for word in words if generator.random() >= RATE]
    return kept or [generator.choice(words)]


def swap(words, generator):
    """The words after about as many swaps of two as a tenth of them makes, at least one."""
    words = list(words)
    for _ in range(max(1, round(RATE * len(words)))):
        i, j = generator.randrange(len(words)), generator.randrange(len(words))
        words[i], words[j] = words[j], words[i]
    return words


def nothing(words, generator):
    """The control."""
    return words


CHANGES = {"nothing": nothing, "deletion": deletion, "swap": swap}


def changed(text, change, generator):
    """A text with its words changed; only blanks separate words, so marks stay with the word before them."""
    return " ".join(change(text.split(), generator))


def sample(dataset, size, seed):
    """`size` of the texts, classes in their shares as chance has it."""
    indices = list(range(len(dataset)))
    random.Random(seed).shuffle(indices)
    return dataset.select(sorted(indices[:size]))


def measure(task, tokenizer, options, size, name, seed, device, precision):
    """Test accuracy after training on `size` texts and as many changed ones."""
    texts = sample(task.train, size, seed)
    generator = random.Random(seed)
    copies = [changed(text, CHANGES[name], generator) for text in texts.texts]
    parts = [(texts.texts + copies, texts.labels * 2)]
    parts += [(part.texts, part.labels) for part in (task.validation, task.test)]
    train_set, validation, test = (
        tokenizer.examples(list(some), None, list(labels), options.max_length) for some, labels in parts
    )
    classifier = put_head(load_encoder(options.model), task.train.label_names, "mean", "linear", seed)
    # Few texts are seen more often.
    epochs = max(options.epochs, -(-options.updates * options.batch_size // (2 * size)))
    settings = TrainSettings(
        epochs=epochs, batch_size=options.batch_size, lr=options.lr, head_lr=5e-4, precision=precision,
        seed=seed,
    )  # fmt: skip
    train(classifier, train_set, validation, settings, device, quiet=True)
    logits = predict(classifier, test, device, precision)
    return accuracy(task.test.labels, logits.argmax(1))


def verdict(size, name, gains):
    """What the paired differences of all seeds say, in a sentence. gains: points of accuracy."""
    mean = statistics.mean(gains)
    if len(gains) < 2:
        return f"{size:,} texts, {name}: {mean:+.2f} points with one seed, which says nothing"
    half = student_t(len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
    says = "helps" if mean > half else "hurts" if mean < -half else "cannot be told from doing nothing"
    return f"{size:,} texts, {name}: {mean:+.2f} points, 95% interval {mean - half:+.2f} to {mean + half:+.2f}: {says}"


def sizes_of(text):
    """An argparse type: "200,all" -> [200, "all"]."""
    return [word if word == "all" else number(int, 1)(word) for word in text.split(",")]


def main(argv=None):
    parser = Parser(prog="python examples/augmentation.py", description="Does augmentation help, at equal cost?")
    add = parser.add_argument
    add("task", nargs="?", default="reviews", help="as finetune takes it")
    add("--data", help="local copy of the task's data")
    add("--model", default="minibert-tiny", help="ID or folder of a pretrained encoder")
    add("--sizes", type=sizes_of, default="200,1000,all", help="numbers of training texts")
    add("--seeds", type=number(int, 1), default=5, help="how many")
    add("--epochs", type=number(int, 1), default=3, help="over every text and its copy, at least")
    add("--updates", type=number(int, 1), default=150,
        help="at least: a classifier still at chance level shows no differences")  # fmt: skip
    add("--batch-size", type=number(int, 1), default=32, help="texts in an update")
    add("--lr", type=number(float, 0, 1, low_open=True), default=1e-4, help="peak learning rate")
    add("--max-length", type=number(int, 5), default=256, help="tokens of a text")
    options = parser.parse_args(argv)

    device = resolve_device("auto")
    precision, _ = resolve_precision("auto", device)
    task, tokenizer = load_task(options.task, options.data), load_tokenizer(options.model)
    if task.train.pairs is not None:
        raise UserError("this is about single texts; choose a task without pairs")
    sizes = [len(task.train) if size == "all" else min(size, len(task.train)) for size in options.sizes]
    print(f"{options.task}, {options.model}: test accuracy in %, by training texts and what was done to their copies")
    print(f"{'texts':>8}" + "".join(f"{name:>18}" for name in CHANGES))
    sizes, sentences = list(dict.fromkeys(sizes)), []
    bar = tqdm(total=len(sizes) * len(CHANGES) * options.seeds, unit=" trainings", disable=None)
    for size in sizes:
        found = {name: [] for name in CHANGES}
        for name, seed in itertools.product(CHANGES, range(options.seeds)):
            found[name].append(100 * measure(task, tokenizer, options, size, name, seed, device, precision))
            bar.update()
        cells = (
            f"{statistics.mean(values):.2f} ± {statistics.stdev(values) if len(values) > 1 else 0:.2f}"
            for values in found.values()
        )
        tqdm.write(f"{size:>8,}" + "".join(f"{cell:>18}" for cell in cells))
        for name in ("deletion", "swap"):
            gains = [a - b for a, b in zip(found[name], found["nothing"], strict=True)]
            sentences.append(verdict(size, name, gains))
    bar.close()
    print("", *sentences, sep="\n")


if __name__ == "__main__":
    run_command(main)
