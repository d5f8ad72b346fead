"""Text in, probabilities out: a trained classifier together with its tokenizer and its limits on length.

What `predict` answers with, `serve` shows on a page, and a program gets from `minibert.load_classifier`.
"""

from pathlib import Path

from .plumbing.files import UserError

PARTS = {"finetuned": "Fine-tuned", "frozen": "Frozen"}  # the classifiers in a run's folder


class TextClassifier:
    """A trained classifier with its tokenizer and its limits on length."""

    def __init__(self, classifier, tokenizer, extra=None, device="cpu", precision="fp32"):
        from .fast import quantize  # late, as all here: --help need not wait
        from .plumbing.device import resolve_device, resolve_precision

        extra = extra or {}
        self.classifier = classifier
        self.tokenizer = tokenizer
        self.label_names = classifier.label_names
        longest = min(tokenizer.max_length, classifier.encoder.config.longest)
        self.max_length = extra.get("max_length", longest)
        self.truncation = extra.get("truncation", "head")
        self.windows = extra.get("windows", 1)
        self.reads_pairs = extra.get("pairs", False)
        self.device = resolve_device(device)
        self.precision, _ = resolve_precision(precision, self.device)
        self.classifier.to(self.device)
        if self.precision == "int8":
            quantize(self.classifier)

    def probabilities(self, texts, pairs=None, quiet=True):
        """float64 NumPy [N, C], a row per text, in the order of `label_names`. ValueError for half a pair."""
        import numpy as np

        from .evaluate import predict
        from .metrics import softmax

        if not len(texts):
            return np.zeros((0, len(self.label_names)))
        self.check_pairs(pairs)
        labels = [0] * len(texts)
        examples = self.tokenizer.examples(texts, pairs, labels, self.max_length, self.truncation, self.windows)
        return softmax(predict(self.classifier, examples, self.device, self.precision, quiet=quiet))

    def check_pairs(self, pairs):
        if self.reads_pairs and pairs is None:
            raise ValueError("this classifier was trained on pairs; give it the second texts, too")

    def predict(self, texts, pairs=None):
        """The most probable label's name for each text (or pair)."""
        return [self.label_names[best] for best in self.probabilities(texts, pairs).argmax(1)]

    def explain(self, texts, pairs=None, labels=None):
        """Which words decided: a record for each text (or pair), as `explain.explain` makes it."""
        from .explain import explain

        self.check_pairs(pairs)
        limits = (self.max_length, self.truncation, self.windows)
        return explain(self.classifier.eval(), self.tokenizer, texts, pairs, labels, *limits)

    @property
    def one_cut(self):
        """What is kept where a text is read in one piece: of several windows, the first."""
        return self.truncation if self.windows == 1 else "head"

    def attention(self, text, pair, layer, head):
        """Where a head looks: {"layer", "head", "tokens": [T], "weights": [T][T]}. UserError when it is not there.

        Of a text in several windows, in the first one.
        """
        from .explain import attention_weights

        batch = self.tokenizer([text], None if pair is None else [pair], self.max_length, self.one_cut)
        try:
            weights = attention_weights(self.classifier.eval(), batch.to(self.device), layer, head)
        except ValueError as error:
            raise UserError(f"--attention {layer},{head}: {error}") from None
        tokens = [self.tokenizer.backend.id_to_token(token) for token in batch.input_ids[0].tolist()]
        return {"layer": layer, "head": head, "tokens": tokens, "weights": weights.tolist()}


def load_classifier(model, fast=True, device="cpu", precision="fp32"):
    """A `TextClassifier` from a run's folder, a classifier's folder, or a Hub id. Raises UserError.

    precision: among those of the command line; the weights on the disk stay as they are.
    """
    from .load import read_classifier, read_tokenizer
    from .tokenizer import check_vocabulary

    folder = find_folder(model)
    classifier, extra = read_classifier(folder, fast)
    tokenizer = read_tokenizer(folder)
    check_vocabulary(tokenizer, classifier.encoder.config, folder)
    return TextClassifier(classifier, tokenizer, extra, device, precision)


def find_folder(model):
    """The folder of a checkpoint: of a run's folder the fine-tuned classifier's, else the frozen one's."""
    from .plumbing.checkpoint import find_checkpoint

    folder = find_checkpoint(next(iter(parts_of(model).values()), model))
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no run and no checkpoint lies here (it has no config.json)")
    return folder


def parts_of(run):
    """{part: folder} of the classifiers in a run's folder, in the order of PARTS; {} where it is none."""
    folders = {part: Path(run) / part for part in PARTS}
    return {part: folder for part, folder in folders.items() if (folder / "config.json").is_file()}
