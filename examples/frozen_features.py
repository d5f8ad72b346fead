"""How far does a frozen encoder go? Every layer, mixtures of layers, and what to take from a text's tokens.

    python examples/frozen_features.py reviews
    python examples/frozen_features.py imdb --model FOLDER --truncation head+tail --test

The frozen row of `finetune` reads the last layer, as tutorials do: its mean, its first token, or the pooler. But the
last layer was made for what the encoder was trained on, and an encoder leaves more behind: a state after each layer.
Here each text is encoded once, and of each state three vectors are kept: the mean of its tokens, their maximum, and
[CLS]. What can be read off them is then a matter of seconds, so many ways are tried:

* each layer by itself;
* a mixture of all layers, whose shares are learned with the head (Peters et al. 2018, "Deep contextualized word
  representations", arXiv 1802.05365, equation 1);
* all layers side by side, under one regression that takes from each what it needs.

The head is linear, so whatever is gained stood in the vectors. All is chosen on validation, and with `--test` the best
one is looked at on test, once.
"""

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from minibert import frozen, metrics
from minibert.baselines import by_validation_accuracy, fit_logistic
from minibert.data import load_task
from minibert.evaluate import compute_all, predict
from minibert.head import LinearHead, average_windows
from minibert.load import load_encoder, load_tokenizer
from minibert.metrics import softmax
from minibert.plumbing.checkpoint import write_safetensors
from minibert.plumbing.command import Parser, number, run_command
from minibert.plumbing.device import resolve_device, resolve_precision
from minibert.plumbing.files import cache_folder
from minibert.train import TrainSettings, train

STATISTICS = ("mean", "max", "cls")  # of the tokens of one state
L2_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1)  # thousands of features want strong ones
# The shares are a handful of numbers, which have far to go: their rate (lr) is the head's fiftyfold.
MIXTURE = TrainSettings(epochs=40, batch_size=128, lr=5e-2, head_lr=1e-3, weight_decay=0.1, warmup=0.05, patience=4)
CPU = torch.device("cpu")


# ---- vectors


def encode_states(encoder, examples, device, precision, part):
    """[N, S, 3, E]: each text's STATISTICS of each of the S states, the embeddings being the first.

    They are kept in the cache under all that decides them, for a long encoding should not be lost to a mistake later.
    """
    names = [f"state {state} {name}" for state in range(encoder.config.num_hidden_layers + 1) for name in STATISTICS]
    key = frozen.fingerprint(encoder, examples, names, device, precision)
    path = cache_folder() / "features" / f"{key}.safetensors"
    known = frozen.read_features(path, names, (len(examples), encoder.config.hidden_size))
    if known is None:
        vectors = compute_all(
            lambda *inputs: statistics_of(encoder, *inputs), examples, device, precision, False, f"encoding {part}"
        )
        known = dict(zip(names, vectors, strict=True))
        write_safetensors(path, known, {"checksum": frozen.checksum(known)})
    return torch.stack([known[name] for name in names], dim=1).unflatten(1, (-1, len(STATISTICS)))


def statistics_of(encoder, input_ids, attention_mask, token_type_ids, windows=None):
    """The STATISTICS of every state, one after another: S * 3 tensors [B, E]. windows: as in `Classifier.forward`."""
    real = attention_mask.unsqueeze(-1).bool()  # [B, T, 1]
    vectors = []
    for hidden in encoder(input_ids, attention_mask, token_type_ids, return_all=True):  # [B, T, E]
        mean = hidden.masked_fill(~real, 0).sum(1) / real.sum(1)
        vectors += [mean, hidden.masked_fill(~real, -torch.inf).amax(1), hidden[:, 0]]
    return vectors if windows is None else [average_windows(vector.float(), windows) for vector in vectors]


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


def fit_linear(vectors, parts, num_labels):
    """Of one regression for each strength of L2 the best on validation: a row with a function vectors -> logits.

    vectors: {part: [N, K]}; parts: {part: labels}.
    """
    rows = []
    for l2 in L2_STRENGTHS:
        weight, bias = fit_logistic(vectors["train"], parts["train"], num_labels, l2)
        rows.append(
            scored(f"L2 {l2:g}", lambda some, weight=weight, bias=bias: some @ weight.t() + bias, vectors, parts)
        )
    return max(rows, key=by_validation_accuracy)


def fit_mixture(vectors, parts, num_labels, seed):
    """The same for a learned mixture. vectors: {part: [N, S, K]}."""
    torch.manual_seed(seed)
    sets = {part: frozen.Features(of_part, parts[part]) for part, of_part in vectors.items()}
    mixture = Mixture(*vectors["train"].shape[1:], num_labels)
    train(mixture, sets["train"], sets["validation"], MIXTURE, CPU, quiet=True)

    def logits(some):
        return torch.from_numpy(predict(mixture, frozen.Features(some, torch.zeros(len(some))), CPU))

    return scored("shares " + " ".join(f"{share:.2f}" for share in mixture.shares().tolist()), logits, vectors, parts)


def scored(setting, head, vectors, parts):
    """{"setting", "head", "accuracy", "loss"} on validation."""
    with torch.no_grad():
        probabilities = softmax(head(vectors["validation"]).numpy())
    labels = np.asarray(parts["validation"])
    accuracy, loss = metrics.accuracy(labels, probabilities.argmax(1)), metrics.log_loss(labels, probabilities)
    return {"setting": setting, "head": head, "accuracy": accuracy, "loss": loss}


# ---- what is tried


def ways(states):
    """[(name, function [N, S, 3, E] -> what its head reads)]: [N, K] for a regression, [N, S, K] for a mixture."""
    last = states - 1
    tried = [(f"{layer_name(state)}, mean", lambda all_, s=state: all_[:, s, 0]) for state in range(states)]
    tried += [(f"{layer_name(last)}, {name}", lambda all_, p=p: all_[:, last, p]) for p, name in enumerate(STATISTICS)][
        1:
    ]
    tried += [
        (f"{layer_name(last)}, mean + max + cls", lambda all_: all_[:, last].flatten(1)),
        ("mixture of layers, mean", lambda all_: all_[:, :, 0]),
        ("mixture of layers, mean + max + cls", lambda all_: all_.flatten(2)),
        ("all layers side by side, mean", lambda all_: all_[:, :, 0].flatten(1)),
        ("all layers side by side, mean + max + cls", lambda all_: all_.flatten(1)),
    ]
    return tried


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
            row = fit_linear(chosen, parts, num_labels)
        rows.append(row | {"name": name, "read": read})
        tqdm.write(f"{100 * row['accuracy']:10.2f}  {name} ({row['setting']})")
    best = max(rows, key=by_validation_accuracy)
    print(f"\nbest on validation: {best['name']} ({best['setting']}), {100 * best['accuracy']:.2f}")
    if options.test:
        probabilities = softmax(best["head"](best["read"](vectors["test"])).detach().numpy())
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
    add(
        "--precision", choices=["auto", "fp32", "bf16"], default="auto", help="of encoding; auto: bf16 where it is fast"
    )
    add("--seed", type=number(int, 0), default=0, help="of the mixtures' heads and the order of texts")
    add("--test", action="store_true", help="score what validation chose on the test texts, too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
