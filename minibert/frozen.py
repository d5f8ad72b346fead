"""The frozen experiment: encode every text once, keep the vectors, and fit heads on them.

A frozen encoder gives the same vector for a text in every epoch, so running it again would be waste. Vectors are kept
in the cache under a hash of all that decides them: weights, token ids (hence text, tokenizer, length and truncation),
precision, device and code. Heads then take seconds, and every choice is made on validation.
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .baselines import by_validation_accuracy, fit_logistic, score_of_setting
from .evaluate import compute_all, predict
from .head import HEADS, LinearHead, average_windows, pool
from .metrics import softmax
from .plumbing import processes
from .plumbing.checkpoint import read_safetensors, weights_hash, write_safetensors
from .plumbing.files import UserError, cache_folder
from .train import TrainSettings, train

L2_STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
CPU = torch.device("cpu")  # where heads are fitted: the features are small
CODE = ("model.py", "head.py", "frozen.py", "fast/*.py")  # what decides the features besides weights and texts
MLP_SETTINGS = TrainSettings(epochs=40, batch_size=128, lr=5e-4, weight_decay=0.1, warmup=0.05, patience=4)


class Features:
    """Stored vectors [N, E] with their labels, as the training loop takes them."""

    def __init__(self, vectors, labels):
        self.vectors = vectors
        self.labels = torch.as_tensor(labels)
        self.lengths = np.ones(len(vectors), dtype=int)

    def __len__(self):
        return len(self.vectors)

    def inputs(self, indices):
        return (self.vectors[indices],)


def encode(encoder, examples, poolings, device, precision="fp32", quiet=False, name="encoding"):
    """({pooling: float32 tensor [N, E]}, number of texts encoded: 0 when all were in the cache).

    Each text passes through the encoder once, in eval mode, for all poolings together.
    """
    poolings = sorted(poolings)

    def pooled(input_ids, attention_mask, token_type_ids, windows=None):
        hidden = encoder(input_ids, attention_mask, token_type_ids)
        vectors = [pool(hidden, attention_mask, pooling, encoder.pooler) for pooling in poolings]
        return vectors if windows is None else [average_windows(vector, windows) for vector in vectors]

    return encode_as(poolings, pooled, encoder, examples, device, precision, quiet, name)


def encode_as(names, vectors_of, encoder, examples, device, precision, quiet, name):
    """The same for vectors of any kind: `vectors_of(*inputs)` gives a list of [B, E], one for each of `names`.

    The cache knows them by these names, which therefore say what they are. The tensors are mapped from its file: the
    system reads what is used, when it is used, and can drop it again. Where the cache cannot be written, a line says
    so, and the tensors stay in memory.
    """
    key = fingerprint(encoder, examples, names, device, precision)
    path = cache_folder() / "features" / f"{key}.safetensors"
    shape = (len(examples), encoder.config.hidden_size)
    known = read_features(path, names, shape) if processes.is_first() else None
    if processes.tell(known is not None):
        return known, 0
    encoder.to(device).eval()
    vectors = compute_all(vectors_of, examples, device, precision, quiet, name)
    vectors = dict(zip(names, vectors, strict=True))
    if not processes.is_first():
        return vectors, len(examples)
    try:
        write_safetensors(path, vectors, {"checksum": checksum(vectors)})
    except UserError as error:
        tqdm.write(f"  features are not kept: {error}")
        return vectors, len(examples)
    return read_features(path, names, shape) or vectors, len(examples)


def read_features(path, names, shape):
    """{name: float32 tensor of that shape} from a file of the cache; None when it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        vectors, metadata = read_safetensors(path)
    except UserError:
        return None
    expected = {name: (shape, torch.float32) for name in names}
    if {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in vectors.items()} != expected:
        return None
    return vectors if metadata.get("checksum") == checksum(vectors) else None


def checksum(vectors):
    """A hash of all the numbers."""
    digest = hashlib.sha256()
    for name in sorted(vectors):
        digest.update(vectors[name].contiguous().numpy())
    return digest.hexdigest()


def fingerprint(encoder, examples, names, device, precision):
    """A hash of everything that decides the features, the code that computes them included."""
    decides = [asdict(encoder.config), weights_hash(encoder), names, device.type, precision, torch.__version__]
    digest = hashlib.sha256(json.dumps(decides).encode())
    for path in sorted(path for pattern in CODE for path in Path(__file__).parent.glob(pattern)):
        digest.update(path.read_bytes())
    digest.update(np.asarray(examples.lengths, dtype="<i8").tobytes())  # which windows are one text
    for sequence in examples.sequences:
        digest.update(len(sequence.ids).to_bytes(4, "little") + sequence.first_length.to_bytes(4, "little"))
        digest.update(sequence.ids.tobytes())
    return digest.hexdigest()


def fit_heads(train_features, validation_features, train_labels, validation_labels, num_labels, heads,
              class_weights=None, seed=0, quiet=False):  # fmt: skip
    """Fit every (pooling, head) and keep the best on validation.

    The features are dicts pooling -> [N, E]; heads are among HEADS. Returns (pooling, head's name,
    fitted head, what was tried: a list of dicts with validation accuracy and loss, best first).
    """
    tried = []
    for pooling, vectors in train_features.items():
        # Standardised features make one L2 strength and one learning rate fit all; folded into the head below.
        mean, spread = vectors.mean(0), vectors.std(0).clamp(min=1e-6)
        train_set = Features((vectors - mean) / spread, train_labels)
        validation_set = Features((validation_features[pooling] - mean) / spread, validation_labels)
        fitted = fit_candidates(train_set, validation_set, num_labels, heads, class_weights, seed)
        rows = []
        for name, setting, head in fitted:
            probabilities = softmax(predict(head, validation_set, CPU))
            row = {"pooling": pooling, "head": name} | score_of_setting(setting, validation_labels, probabilities)
            rows.append((row, unstandardise(head, mean, spread)))
        if not quiet:
            best = max((row for row, _ in rows), key=by_validation_accuracy)
            what = f"{best['head']}, {best['setting']}"
            tqdm.write(f"  {pooling}: best {what}: validation accuracy {best['accuracy']:.4f}")
        tried += rows
    tried.sort(key=lambda candidate: by_validation_accuracy(candidate[0]), reverse=True)
    best, head = tried[0]
    return best["pooling"], best["head"], head, [row for row, _ in tried]


def fit_candidates(train_set, validation_set, num_labels, heads, class_weights, seed):
    """[(head's name, setting in words, fitted head)]: a linear head for each L2 strength, and the trained ones."""
    width, candidates = train_set.vectors.shape[1], []
    if "linear" in heads:
        for l2 in L2_STRENGTHS:
            head = LinearHead(width, num_labels)
            weight, bias = fit_logistic(train_set.vectors, train_set.labels, num_labels, l2, class_weights)
            head.load_state_dict({"output.weight": weight, "output.bias": bias})
            candidates.append(("linear", f"L2 {l2:g}", head))
    for name in [name for name in heads if name != "linear"]:
        torch.manual_seed(seed)
        head = HEADS[name](width, num_labels, dropout=0.2)
        settings = replace(MLP_SETTINGS, seed=seed)
        progress = train(head, train_set, validation_set, settings, CPU, class_weights, quiet=True)
        candidates.append((name, f"{progress.best_epoch + 1} epochs", head))
    return candidates


@torch.no_grad()
def unstandardise(head, mean, spread):
    """The same head for raw features: W ((x - mean) / spread) + b = (W / spread) x + (b - (W / spread) mean)."""
    first = head.output if isinstance(head, LinearHead) else head.dense
    first.weight /= spread
    first.bias -= first.weight @ mean
    return head
