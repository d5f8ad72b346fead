"""What a pretrained encoder has to beat: always the biggest class, and a bag of words.

Accuracy alone flatters: on SMS spam, always saying "ham" is right 87 times in 100. And tf-idf with logistic
regression, a method of the 1990s, beats many a frozen encoder on long reviews. So both rows stand in every table.
"""

import math
import re
import unicodedata
import warnings
from collections import Counter

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from . import metrics
from .metrics import softmax

L2_STRENGTHS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
MOST_WORDS = 200  # of each class: the report looks for shortcuts among those that weigh most
MIN_TEXTS = 2  # a word or pair of words seen in fewer training texts teaches nothing that generalises
# Scripts that put no space between words (Thai to Myanmar, Khmer, kana, Chinese characters), and emoji: here each
# character counts as a word, so that pairs of neighbours are the character bigrams that search engines use for them.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u2600-\u27bf\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
# Vowel signs and accents that stand on the letter before them, as in Hindi, Tamil, pointed Hebrew and Arabic.
MARKS = "".join(chr(i) for i in range(0x300, 0x1C00) if unicodedata.category(chr(i)) in ("Mn", "Mc"))
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}](?:[^\W{UNSPACED}]|[{MARKS}])*")


def majority(labels, num_labels, count):
    """Probabilities [count, C]: for every text the shares that the classes have among the training labels."""
    shares = np.bincount(labels, minlength=num_labels) / len(labels)
    return np.tile(shares, (count, 1))


class BagOfWords:
    """Tf-idf of words and of pairs of neighbouring words, from training texts.

    A word that occurs in fewer than MIN_TEXTS of them is left out. A weight is
    (1 + log count) * (log((1 + N) / (1 + texts with the word)) + 1), and each text is scaled to length 1 (Salton and
    Buckley 1988, with scikit-learn's smoothing).
    """

    def __init__(self, texts, quiet=False):
        seen_in = Counter()
        for text in tqdm(texts, desc="counting words", unit=" texts", disable=quiet or None, leave=False):
            seen_in.update(set(words_and_pairs(text)))
        kept = sorted(word for word, count in seen_in.items() if count >= MIN_TEXTS)
        self.columns = {word: column for column, word in enumerate(kept)}
        self.idf = [math.log((1 + len(texts)) / (1 + seen_in[word])) + 1 for word in kept]

    def __call__(self, texts, quiet=False):
        """A sparse CSR tensor [N, V] for N texts, V words and pairs. A text without a known word is all zeros."""
        starts, columns, values = [0], [], []
        for text in tqdm(texts, desc="weighing words", unit=" texts", disable=quiet or None, leave=False):
            counts = Counter(self.columns[word] for word in words_and_pairs(text) if word in self.columns)
            counts = sorted(counts.items())
            weights = [(1 + math.log(count)) * self.idf[column] for column, count in counts]
            length = math.sqrt(sum(weight * weight for weight in weights)) or 1.0
            columns += [column for column, _ in counts]
            values += [weight / length for weight in weights]
            starts.append(len(columns))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.tensor(starts), torch.tensor(columns, dtype=torch.int64),  # the type is said: a list may be empty
                torch.tensor(values, dtype=torch.float32), (len(texts), len(self.columns)), check_invariants=True,
            )  # fmt: skip


def words_and_pairs(text):
    """The words of a text in lower case, and each two neighbours as one string with a space between them."""
    words = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    return words + [f"{first} {second}" for first, second in zip(words, words[1:], strict=False)]


def bag_of_words(task, class_weights=None, quiet=False):
    """Fit on train, choose on validation: (probabilities [N, C] on test, number of parameters, what was tried).

    What was tried is a list of {"setting", "accuracy", "loss"} on validation, best first; the best one also has
    "words", those that weigh most. Where no word occurs in two training texts there is nothing to fit: the answer is
    the majority's.
    """
    num_labels = len(task.train.label_names)
    to_vectors = BagOfWords(one_text_each(task.train), quiet)
    if not to_vectors.columns:
        guess, test_guess = (
            majority(task.train.labels, num_labels, len(dataset)) for dataset in (task.validation, task.test)
        )
        return test_guess, num_labels, [score_of_setting("no word in two texts", task.validation.labels, guess)]
    train, validation, test = (
        to_vectors(one_text_each(dataset), quiet) for dataset in (task.train, task.validation, task.test)
    )
    labels, train_t = torch.tensor(task.train.labels), train.t().to_sparse_csr()
    best, tried = None, []
    for l2 in L2_STRENGTHS:
        weight, bias = fit_logistic(train, labels, num_labels, l2, class_weights, train_t)
        guess = softmax((validation @ weight.t() + bias).numpy())
        row = score_of_setting(f"L2 {l2:g}", task.validation.labels, guess)
        tried.append(row)
        if best is None or by_validation_accuracy(row) > by_validation_accuracy(best[0]):
            best = row, weight, bias
    row, weight, bias = best
    row["words"] = heaviest_words(weight, to_vectors.columns)
    probabilities = softmax((test @ weight.t() + bias).numpy())
    return probabilities, weight.numel() + bias.numel(), sorted(tried, key=by_validation_accuracy, reverse=True)


def heaviest_words(weight, columns):
    """The MOST_WORDS words of each class with most weight, all together, in alphabetical order. weight: [C, V]."""
    names = list(columns)
    best = weight.topk(min(MOST_WORDS, len(names)), dim=1).indices
    return sorted({names[column] for column in best.flatten().tolist()})


def score_of_setting(setting, labels, probabilities):
    """{"setting", "accuracy", "loss"} of the probabilities [N, C] for the validation texts, whose labels are [N]."""
    return {
        "setting": setting,
        "accuracy": metrics.accuracy(labels, probabilities.argmax(1)),
        "loss": metrics.log_loss(labels, probabilities),
    }


def by_validation_accuracy(row):
    """The key to sort by when the best on validation is wanted: higher accuracy first, then lower loss."""
    return row["accuracy"], -row["loss"]


def one_text_each(dataset):
    """[N] texts of a `Dataset`; a pair is one bag of words, so its two texts are joined."""
    if dataset.pairs is None:
        return dataset.texts
    return [f"{first}\n{second}" for first, second in zip(dataset.texts, dataset.pairs, strict=True)]


def fit_logistic(features, labels, num_labels, l2, class_weights=None, features_t=None):
    """Multinomial logistic regression to convergence: (weight [C, E], bias [C]).

    Minimises mean cross-entropy + l2 / 2 * |weight|^2, a convex problem with one answer, by L-BFGS; scikit-learn's
    C is 1 / (l2 * N), or twice that for its one-column form of two classes.
    features: [N, E], dense or sparse CSR; features_t: its transpose, which a sparse one needs.
    """
    features_t = features.t() if features_t is None else features_t
    weight = torch.zeros(features.shape[1], num_labels, requires_grad=True)  # [E, C]
    bias = torch.zeros(num_labels, requires_grad=True)
    targets = functional.one_hot(labels, num_labels).float()  # [N, C]
    per_text = torch.ones(len(labels)) if class_weights is None else torch.as_tensor(class_weights).float()[labels]
    per_text = (per_text / per_text.sum()).unsqueeze(1)  # [N, 1]
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=1000, tolerance_grad=1e-5, tolerance_change=1e-9,
                                  history_size=20, line_search_fn="strong_wolfe")  # fmt: skip

    @torch.no_grad()
    def loss_and_gradient():
        log_probabilities = (features @ weight + bias).log_softmax(1)  # [N, C]
        error = (log_probabilities.exp() - targets) * per_text  # d loss / d logits
        weight.grad = features_t @ error + l2 * weight
        bias.grad = error.sum(0)
        return -(log_probabilities * targets * per_text).sum() + l2 / 2 * weight.square().sum()

    optimizer.step(loss_and_gradient)
    return weight.detach().t(), bias.detach()
