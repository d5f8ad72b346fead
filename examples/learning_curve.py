# %% [markdown]
# # How many labels does fine-tuning need?
#
# Labels cost money, so the question comes first in every project: with what I have, is it worth fine-tuning, or do
# frozen features do, or even a bag of words? A *learning curve* answers it: train with few labels, with more, with all,
# and look where the curves cross.
#
# Three ways to go wrong are avoided here. Every label that a method looks at is counted: with 60 labels there are no
# other 362 to choose an epoch or a strength by, so nothing is chosen, and the last weights are taken. The subsets are
# nested and balanced, and the same for all methods. And few labels mean *many* epochs: all sizes get at least as many
# updates as a classifier needs to leave chance level.
#
# Run as it is, it takes three sizes and one seed, in a minute or so. `--full` takes six sizes and three seeds, some six
# times as long, and says where the curves cross with less doubt.
#
# Sources: Howard and Ruder 2018 (ULMFiT, arXiv 1801.06146), section 5, for such curves on IMDb; Dodge et al. 2020
# (arXiv 2002.06305) for how much seeds change with few labels.

# %%
import math
import statistics
import sys

import torch
from drawing import save

import minibert
from minibert.baselines import BagOfWords, fit_logistic
from minibert.data import load_task
from minibert.evaluate import compute_all, predict
from minibert.head import pool
from minibert.load import put_head
from minibert.plumbing.device import resolve_precision
from minibert.report.pictures import lines
from minibert.train import TrainSettings, Unvalidated, train

FULL = "--full" in sys.argv
SIZES = (60, 120, 240, 480, 960, 1440) if FULL else (60, 240, 1440)
SEEDS = range(3) if FULL else range(1)
LENGTH, END = 48, "tail"  # tokens (head_and_tail.py says why the tail); the bag of words reads whole texts
CPU = torch.device("cpu")
precision, why = resolve_precision("auto", CPU)
task, tokenizer = load_task("reviews"), minibert.load_tokenizer("minibert-tiny")
test_set = tokenizer.examples(task.test.texts, None, task.test.labels, LENGTH, END)
gold = test_set.labels
print(f"sizes {', '.join(f'{size:,}' for size in SIZES)}, seeds {len(SEEDS)}, {precision}: {why}", flush=True)


def subset(size, seed):
    """`size` training texts, half of each class; a larger subset of the same seed holds every smaller one."""
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed)).tolist()
    by_class = [[i for i in order if task.train.labels[i] == label][: size // 2] for label in (0, 1)]
    return task.train.select(sorted(by_class[0] + by_class[1]))


# %% [markdown]
# ## The three methods
#
# Each is a function of labelled texts and a seed, and gives its answers for the test texts. The strengths of L2, the
# rate and the number of epochs are fixed beforehand, from runs with all labels; so the smallest sizes could perhaps do
# a little better.


# %%
def bag_of_words(labelled, seed):
    bag = BagOfWords(labelled.texts, quiet=True)
    known = bag(labelled.texts, quiet=True)
    weight, bias = fit_logistic(known, torch.tensor(labelled.labels), 2, l2=1e-4, features_t=known.t().to_sparse_csr())
    return (bag(task.test.texts, quiet=True) @ weight.T + bias).argmax(1)


def vectors(texts):
    """{text: its vector [E]}: the mean over the frozen encoder's last states. Every text is encoded once."""
    examples = tokenizer.examples(texts, None, [0] * len(texts), LENGTH, END)
    found = compute_all(lambda ids, mask, types: [pool(encoder(ids, mask, types), mask, "mean")], examples, CPU,
                        precision, quiet=True, name="")[0]  # fmt: skip
    return dict(zip(texts, found, strict=True))


encoder = minibert.load_encoder("minibert-tiny")
frozen_vectors = vectors(list(dict.fromkeys(subset(max(SIZES), 0).texts + task.test.texts)))


def frozen(labelled, seed):
    parts = (labelled.texts, task.test.texts)
    known, asked = (torch.stack([frozen_vectors[text] for text in texts]) for texts in parts)
    mean, spread = known.mean(0), known.std(0).clamp(min=1e-6)
    weight, bias = fit_logistic((known - mean) / spread, torch.tensor(labelled.labels), 2, l2=0.03)
    return ((asked - mean) / spread @ weight.T + bias).argmax(1)


def fine_tuned(labelled, seed):
    classifier = put_head(minibert.load_encoder("minibert-tiny"), labelled.label_names, "mean", "linear", seed)
    examples = tokenizer.examples(labelled.texts, None, labelled.labels, LENGTH, END)
    epochs = max(3, math.ceil(60 * 16 / len(labelled)))  # 60 updates at least
    settings = TrainSettings(epochs=epochs, batch_size=16, lr=2e-4, head_lr=1e-3, precision=precision, seed=seed)
    last_epoch = Unvalidated(examples, None, settings, CPU)
    train(classifier, examples, None, settings, CPU, quiet=True, objective=last_epoch)
    return torch.from_numpy(predict(classifier, test_set, CPU, precision)).argmax(1)


# %% [markdown]
# ## The curve

# %%
METHODS = {"bag of words": bag_of_words, "frozen": frozen, "fine-tuned": fine_tuned}
answers = {}  # (method, size, seed): class numbers [598]
print(f"\naccuracy on {len(gold)} test texts, in %\n{'labels':>8}" + "".join(f"{name:>18}" for name in METHODS))
for size in SIZES:
    cells = []
    for name, method in METHODS.items():
        for seed in SEEDS:
            answers[name, size, seed] = method(subset(size, seed), seed)
        right = [100 * (answers[name, size, seed] == gold).float().mean().item() for seed in SEEDS]
        spread = f" ± {statistics.stdev(right):.1f}" if len(right) > 1 else ""
        cells.append(f"{statistics.mean(right):.1f}{spread}")
    print(f"{size:8,}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def mean_accuracy(name, size):
    return statistics.mean(100 * (answers[name, size, seed] == gold).float().mean().item() for seed in SEEDS)


# %% [markdown]
# ## Where do the curves cross?
#
# A difference on 598 texts is uncertain by about 4 points. So "ahead" is said only where the difference is more than
# two standard errors: of the texts (paired: both methods answer the same ones), and of the seeds, if there are several.
# The crossing lies between the last size where fine-tuning is not ahead and the first from which on it is. That range
# is the honest answer, not a point.


# %%
def difference(name, other, size):
    """(points by which `name` beats `other`, two standard errors)."""
    right = [torch.stack([(answers[method, size, seed] == gold).float() for seed in SEEDS]) for method in (name, other)]
    gains = 100 * (right[0] - right[1])  # [seeds, texts]
    variance = gains.mean(0).var() / gains.shape[1]
    if len(SEEDS) > 1:
        variance += gains.mean(1).var() / len(SEEDS)
    return gains.mean().item(), 2 * variance.sqrt().item()


found = {}
for other in ("frozen", "bag of words"):
    print(f"\nfine-tuned minus {other}, in points")
    for size in SIZES:
        gain, error = found[other, size] = difference("fine-tuned", other, size)
        says = "ahead" if gain > error else "behind" if gain < -error else "cannot be told"
        print(f"{size:8,} labels: {gain:+5.1f} ± {error:.1f}  {says}")
    clear = {size: found[other, size][0] > found[other, size][1] for size in SIZES}
    leads = [size for size in SIZES if all(clear[larger] for larger in SIZES if larger >= size)]
    below = max((size for size in SIZES if size not in leads), default=None)
    print(f"   to be ahead it needs {f'more than {below:,}' if below else 'few'} labels" +
          (f", and no more than {min(leads):,}" if below and leads else ""))  # fmt: skip

save("learning_curve", lines(
    "Accuracy by the number of labels",
    "Three curves over the logarithm of the number of labels. The numbers are in the lesson's output.",
    [{"name": name, "colour": colour, "x": [math.log10(size) for size in SIZES], "dots": True,
      "y": [mean_accuracy(name, size) for size in SIZES]}
     for name, colour in (("fine-tuned", "c-tuned"), ("bag of words", "c-bag"), ("frozen", "c-frozen"))],
    "labels, as a power of 10 (2: 100, 3: 1,000)", "accuracy on test texts, %",
))  # fmt: skip

# %%
most, fewest = max(SIZES), min(SIZES)
over_frozen, over_bag = found["frozen", most], found["bag of words", most]
gains = {name: mean_accuracy(name, most) - mean_accuracy(name, fewest) for name in METHODS}
others = min(gains["bag of words"], gains["fine-tuned"])
best = max(mean_accuracy(name, fewest) for name in METHODS)
claims = {
    f"with {most:,} labels fine-tuning beats frozen features, by {over_frozen[0]:.1f} ± {over_frozen[1]:.1f} points":
        over_frozen[0] > over_frozen[1],
    f"and it is ahead of a bag of words, by {over_bag[0]:.1f} ± {over_bag[1]:.1f}": over_bag[0] > 0,
    f"with {fewest} labels none of the three is any good: {best:.1f}% at best": best < 64,
    f"frozen features gain least from more labels: {gains['frozen']:.1f} points, the others {others:.1f} or more":
        gains["frozen"] < others / 2,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
