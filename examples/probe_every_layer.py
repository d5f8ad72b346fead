# %% [markdown]
# # A probe on every layer, before and after fine-tuning
#
# Where in an encoder does it stand whether a review is positive? Ask every layer. A *probe* is a small classifier,
# here logistic regression, that reads one layer's vectors while the encoder stays as it is. How often it is right on
# test texts says how easily the answer can be read off there. We ask before and after fine-tuning: which layers change?
#
# A probe alone proves little (Hewitt and Liang 2019, "Designing and interpreting probes with control tasks", arXiv
# 1909.03368): it can learn the task by itself, from any vectors that tell words apart. So two controls stand beside it.
# The same probe on an *untrained* encoder of the same shape: only what is above that did pretraining put there. And the
# same probe on *random labels*: what it gets right there, it learned by heart.
#
# Also: Alain and Bengio 2016 (arXiv 1610.01644), where linear probes come from; Merchant et al. 2020, "What happens to
# BERT embeddings during fine-tuning?" (arXiv 2004.14448).

# %%
import statistics

import torch
from drawing import save

import minibert
from minibert.baselines import fit_logistic
from minibert.data import load_task
from minibert.evaluate import compute_all, predict
from minibert.head import pool
from minibert.load import build_encoder, put_head
from minibert.metrics import accuracy
from minibert.model import initialize
from minibert.plumbing.device import resolve_precision
from minibert.report.pictures import lines
from minibert.train import TrainSettings, train

CPU = torch.device("cpu")
precision, why = resolve_precision("auto", CPU)
task, tokenizer = load_task("reviews"), minibert.load_tokenizer("minibert-tiny")
# 32 tokens, so that the lesson takes a minute: the mean review has 50.
parts = [task.train, task.validation, task.test]
train_set, validation_set, test_set = (tokenizer.examples(p.texts, None, p.labels, max_length=32) for p in parts)
print(f"{len(train_set):,} reviews to learn from, {len(test_set)} to test; {precision}: {why}")

# %% [markdown]
# ## Every layer's vectors
#
# A text's vector at a layer is the mean over its tokens. State 0 is the embeddings, before any layer: there a token
# knows its word and its place, and nothing of its neighbours.


# %%
def states(encoder, examples):
    """[layers + 1] tensors [N, E]: each state's vector of every text."""
    encoder.eval()

    def vectors(ids, mask, types):
        return [pool(hidden, mask, "mean") for hidden in encoder(ids, mask, types, return_all=True)]

    return compute_all(vectors, examples, CPU, precision, quiet=True, name="")


# %% [markdown]
# ## The probe
#
# Every state gets the same one: features brought to mean 0 and spread 1 on the training texts (so that one strength of
# L2 suits all), and one strength, fixed beforehand. Nothing is chosen, so nothing can be chosen on the test set.


# %%
def probe(train_vectors, labels, test_vectors):
    """(accuracy in % on the training texts, on the test texts)."""
    mean, spread = train_vectors.mean(0), train_vectors.std(0).clamp(min=1e-6)
    known, asked = ((vectors - mean) / spread for vectors in (train_vectors, test_vectors))
    weight, bias = fit_logistic(known, labels, 2, l2=0.03)
    return [
        100 * accuracy(gold, (vectors @ weight.T + bias).argmax(1))
        for gold, vectors in ((labels, known), (test_set.labels, asked))
    ]


def probe_every_state(encoder, labels):
    """[layers + 1] test accuracies, and the training accuracies."""
    pairs = zip(states(encoder, train_set), states(encoder, test_set), strict=True)
    scores = [probe(known, labels, asked) for known, asked in pairs]
    return [test for _, test in scores], [known for known, _ in scores]


# %% [markdown]
# ## Before, and the controls

# %%
encoder = minibert.load_encoder("minibert-tiny")
untrained = build_encoder(encoder.config)
torch.manual_seed(0)
initialize(untrained, encoder.config.initializer_range)
random_labels = train_set.labels[torch.randperm(len(train_set), generator=torch.Generator().manual_seed(0))]

curves = {"untrained": probe_every_state(untrained, train_set.labels)[0]}
curves["before"], _ = probe_every_state(encoder, train_set.labels)
by_chance, by_heart = probe_every_state(encoder, random_labels)
curves["random labels"] = by_chance

# %% [markdown]
# ## Fine-tuning, and after
#
# Three epochs, all weights. The head reads only the last layer; so the loss pulls there, and each layer below changes
# as far as that helps.

# %%
classifier = put_head(encoder, task.train.label_names, "mean", "linear", seed=0)
settings = TrainSettings(epochs=3, batch_size=16, lr=2e-4, head_lr=1e-3, precision=precision, seed=0)
train(classifier, train_set, validation_set, settings, CPU, quiet=True)
curves["after"], _ = probe_every_state(classifier.encoder, train_set.labels)
head = 100 * accuracy(test_set.labels, predict(classifier, test_set, CPU, precision).argmax(1))

print(f"\nprobe's accuracy on {len(test_set)} test texts, in % (standard error about 2)")
print(f"{'':16}{'embeddings':>11}" + "".join(f"{f'layer {n}':>9}" for n in range(1, len(by_chance))))
for name in ("random labels", "untrained", "before", "after"):
    print(f"{name:16}{curves[name][0]:11.1f}" + "".join(f"{score:9.1f}" for score in curves[name][1:]))
print(f"the fine-tuned classifier's own head: {head:.1f}")
print("random labels, on the texts that the probe learned from:", ", ".join(f"{score:.0f}" for score in by_heart))

numbers = list(range(len(by_chance)))
save("probe_every_layer", lines(
    "How often a probe on each layer is right",
    f"Four curves over the layers. After fine-tuning the curve rises to {curves['after'][-1]:.0f}% at the last layer; "
    f"before, it ends at {curves['before'][-1]:.0f}%. The controls: an untrained encoder, and random labels at about "
    "50%.",
    [{"name": name, "colour": colour, "x": numbers, "y": curves[name], "dots": True, "dashed": dashed}
     for name, colour, dashed in (("after", "c-tuned", False), ("before", "c-frozen", False),
                                  ("untrained", "c-untrained", True), ("random labels", "c-majority", True))],
    "layer (0: embeddings)", "accuracy, %",
))  # fmt: skip

# %% [markdown]
# How to read it. Random labels are learned by heart and are worth nothing on new texts: a probe's accuracy on its own
# texts says nothing. An untrained encoder is above 50, because a mean of random word vectors is still a bag of words.
# Pretraining adds a few points, most in the middle layers. Fine-tuning lifts all layers, the last one most: now the
# answer stands where the head reads. That need not be new knowledge. A part of it may have stood there before and was
# only harder to read, and a linear probe cannot tell the two apart.

# %%
before, after, bare = curves["before"], curves["after"], curves["untrained"]
middle, middle_after = (statistics.mean(curve[3:]) for curve in (before, after))
claims = {
    f"a probe learns random labels by heart ({statistics.mean(by_heart):.0f}% of its own texts), and knows nothing of "
    f"new ones ({statistics.mean(by_chance):.0f}%)": min(by_heart) > 60 and 45 < statistics.mean(by_chance) < 55,
    f"pretraining put something there: at best {max(before):.1f}% before fine-tuning, {max(bare):.1f}% untrained":
        max(before) > max(bare) + 1,
    "before fine-tuning the best layer is not the last": max(before[1:-1]) > before[-1],
    f"fine-tuning lifts the last layer by {after[-1] - before[-1]:.1f} points": after[-1] > before[-1] + 3,
    f"and layers 3 to 5 by {middle_after - middle:.1f} on average": middle_after > middle + 2,
    f"the embeddings change less: by {after[0] - before[0]:+.1f}": after[0] - before[0] < after[-1] - before[-1],
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
