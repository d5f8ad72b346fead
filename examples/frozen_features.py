"""How far does a frozen encoder go? Every layer, mixtures of layers, and what to take from a text's tokens.

    python examples/frozen_features.py reviews
    python examples/frozen_features.py imdb --model FOLDER --truncation head+tail --test

The frozen row of `finetune` reads the last layer, as tutorials do: its mean, its first token, or the pooler. But the
last layer was made for what the encoder was trained on, and an encoder leaves more behind: a state after each layer.
Here each text is encoded once, and of each state three vectors are kept: the mean of its tokens, their maximum, and
[CLS]. Then no text is read again, however many ways of using them are tried:

* each layer by itself;
* a mixture of all layers, whose shares are learned with the head (Peters et al. 2018, "Deep contextualized word
  representations", arXiv 1802.05365, equation 1);
* all layers side by side, under one regression that takes from each what it needs.

The head is linear, so whatever is gained stood in the vectors. All is chosen on validation, and with `--test` the best
one is looked at on test, once.
"""

import functools

import torch
from torch import nn
from tqdm import tqdm

from minibert import frozen, metrics
from minibert.baselines import by_validation_accuracy, fit_logistic, score_of_setting
from minibert.data import load_task
from minibert.head import LinearHead, average_windows, pool
from minibert.load import load_encoder, load_tokenizer
from minibert.metrics import softmax
from minibert.plumbing.command import Parser, number, run_command
from minibert.plumbing.device import resolve_device, resolve_precision
from minibert.train import TrainSettings, train

STATISTICS = ("mean", "max", "cls")  # of the tokens of one state
L2_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1)  # thousands of features want strong ones
# The shares are a handful of numbers, which have far to go: their rate (lr) is the head's fiftyfold.
MIXTURE = TrainSettings(epochs=40, batch_size=128, lr=5e-2, head_lr=1e-3, weight_decay=0.1, warmup=0.05, patience=4)


# ---- vectors


def encode_states(encoder, examples, device, precision, part):
    """[N, S, 3, E]: each text's STATISTICS of each of the S states, the embeddings being the first.

    They are kept in the cache under all that decides them, for a long encoding should not be lost to a mistake later.
    """
    names = [f"state {state} {name}" for state in range(encoder.config.num_hidden_layers + 1) for name in STATISTICS]

    def vectors_of(*inputs):
        return statistics_of(encoder, *inputs)

    found, _ = frozen.encode_as(names, vectors_of, encoder, examples, device, precision, False, f"encoding {part}")
    return torch.stack([found[name] for name in names], dim=1).unflatten(1, (-1, len(STATISTICS)))


def statistics_of(encoder, input_ids, attention_mask, token_type_ids, windows=None):
    """The STATISTICS of every state, one after another: S * 3 tensors [B, E]. windows: as in `Classifier.forward`."""
    padding = attention_mask.unsqueeze(-1) == 0  # [B, T, 1]
    vectors = []
    for hidden in encoder(input_ids, attention_mask, token_type_ids, return_all=True):  # [B, T, E]
        largest = hidden.masked_fill(padding, -torch.inf).amax(1)
        vectors += [pool(hidden, attention_mask, "mean"), largest, pool(hidden, attention_mask, "cls")]
    return vectors if windows is None else [average_windows(vector, windows) for vector in vectors]


# ---- heads


class Mixture(nn.Module):
    """Shares of the states, learned with a linear head: [B, S, K] -> logits [B, C]. It starts with equal shares."""

    def __init__(self, states, width, num_labels):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(states))
        self.head = LinearHead(width, num_labels, dropout=0.2)

    def shares(self):
        return self.weights.softmax(0)

    def forward(self, vectors):
        return self.head((vectors * self.shares().unsqueeze(1)).sum(1))


def fit_linear(vectors, parts, num_labels, strengths):
    """Of one regression for each strength of L2 the best on validation: its score, and "head", vectors -> logits.

    vectors: {part: [N, K]}; parts: {part: labels}.
    """
    rows = []
    for l2 in strengths:
        weight, bias = fit_logistic(vectors["train"], parts["train"], num_labels, l2)
        head = functools.partial(nn.functional.linear, weight=weight, bias=bias)
        rows.append(scored(f"L2 {l2:g}", head, vectors, parts))
    return max(rows, key=by_validation_accuracy)


def fit_mixture(vectors, parts, num_labels, seed):
    """The same for a learned mixture. vectors: {part: [N, S, K]}."""
    torch.manual_seed(seed)
    sets = {part: frozen.Features(of_part, parts[part]) for part, of_part in vectors.items()}
    mixture = Mixture(*vectors["train"].shape[1:], num_labels)
    train(mixture, sets["train"], sets["validation"], MIXTURE, frozen.CPU, quiet=True)
    shares = " ".join(f"{share:.2f}" for share in mixture.shares().tolist())
    return scored(f"shares {shares}", mixture.eval().requires_grad_(False), vectors, parts)


def scored(setting, head, vectors, parts):
    """A setting's score on validation, with its head."""
    probabilities = answers(head, vectors["validation"])
    return score_of_setting(setting, parts["validation"].numpy(), probabilities) | {"head": head}


def answers(head, vectors):
    """Probabilities [N, C]."""
    return softmax(head(vectors).numpy())


# ---- what is tried


def ways(states):
    """[(name, function [N, S, 3, E] -> what its head reads)]: [N, K] for a regression, [N, S, K] for a mixture."""
    last = layer_name(states - 1)
    return [
        *((f"{layer_name(i)}, mean", lambda vectors, i=i: vectors[:, i, 0]) for i in range(states)),
        (f"{last}, max", lambda vectors: vectors[:, -1, 1]),
        (f"{last}, cls", lambda vectors: vectors[:, -1, 2]),
        (f"{last}, mean + max + cls", lambda vectors: vectors[:, -1].flatten(1)),
        ("mixture of layers, mean", lambda vectors: vectors[:, :, 0]),
        ("mixture of layers, mean + max + cls", lambda vectors: vectors.flatten(2)),
        ("all layers side by side, mean", lambda vectors: vectors[:, :, 0].flatten(1)),
        ("all layers side by side, mean + max + cls", lambda vectors: vectors.flatten(1)),
    ]


def layer_name(state):
    return f"layer {state}" if state else "embeddings"


def main(argv=None):
    options = parse(argv)
    device = resolve_device("auto")
    precision, why = resolve_precision(options.precision, device)
    print(f"{precision}: {why}")
    task = load_task(options.task, options.data, options.limit, options.test_limit, sample=options.sample)
    tokenizer, encoder = load_tokenizer(options.model), load_encoder(options.model).to(device).eval()
    vectors, parts = {}, {}
    for part in ("train", "validation", "test") if options.test else ("train", "validation"):
        texts = getattr(task, part)
        examples = tokenizer.examples(
            texts.texts, texts.pairs, texts.labels, options.max_length, options.truncation, options.windows
        )
        vectors[part], parts[part] = encode_states(encoder, examples, device, precision, part), examples.labels
    # Features of one spread make one strength of L2 fit all.
    mean, spread = vectors["train"].mean(0), vectors["train"].std(0).clamp(min=1e-6)
    for of_part in vectors.values():
        of_part.sub_(mean).div_(spread)

    num_labels, rows = len(task.train.label_names), []
    print(f"\n{'validation':>10}  what the head reads")
    for name, read in tqdm(ways(vectors["train"].shape[1]), unit=" ways", leave=False, disable=None):
        chosen = {part: read(of_part) for part, of_part in vectors.items()}
        if chosen["train"].dim() == 3:
            row = fit_mixture(chosen, parts, num_labels, options.seed)
        else:
            row = fit_linear(chosen, parts, num_labels, options.l2)
        rows.append(row | {"name": name, "read": read})
        tqdm.write(f"{100 * row['accuracy']:10.2f}  {name} ({row['setting']})")
    best = max(rows, key=by_validation_accuracy)
    print(f"\nbest on validation: {best['name']} ({best['setting']}), {100 * best['accuracy']:.2f}")
    if options.test:
        probabilities = answers(best["head"], best["read"](vectors["test"]))
        score = metrics.score(parts["test"].numpy(), probabilities, task.train.label_names)
        print(f"on test: accuracy {100 * score['accuracy']:.2f}, AUROC {score['auroc']:.4f}")


def parse(argv):
    parser = Parser(prog="python examples/frozen_features.py", description="How far does a frozen encoder go?")
    add = parser.add_argument
    add("task", help="as finetune takes it")
    add("--model", default="minibert-tiny", help="a pretrained encoder: a folder, Hub id or minibert-tiny")
    add("--data", help="local copy of the task's data")
    add("--sample", action="store_true", help="--data is a part of the published data set on purpose")
    add("--limit", type=number(int, 1), help="use only so many texts for training and validation together")
    add("--test-limit", type=number(int, 1), help="use only so many test texts")
    add("--max-length", type=number(int, 5), default=256, help="tokens of a text, or of a window")
    add("--truncation", choices=["head", "tail", "head+tail"], default="head", help="part of a longer text to keep")
    add("--windows", type=number(int, 1), default=1, help="read a longer text as up to so many windows")
    add("--l2", type=number(float, 0), nargs="+", default=L2_STRENGTHS, metavar="X",
        help="strengths that regressions try; weak ones take long with thousands of features")  # fmt: skip
    add("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="auto: bf16 where it is fast")
    add("--seed", type=number(int, 0), default=0, help="of the mixtures' heads and the order of texts")
    add("--test", action="store_true", help="score what validation chose on the test texts, too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
