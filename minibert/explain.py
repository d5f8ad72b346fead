"""Which words decided: integrated gradients, by hand.

A gradient says how the answer would change if a word's vector moved a little. That is not yet how much the word did: a
classifier that is sure of itself is flat, and there even the decisive word has next to no gradient. Sundararajan et al.
(2017, arXiv 1703.01365) walk instead, in a straight line from a text that says nothing, x', to the text, x, and add up
the gradients on the way (equation 1):

    share of x_i  =  (x_i - x'_i)  *  integral over a from 0 to 1 of  dF/dx_i (x' + a (x - x'))

By the fundamental theorem of calculus the shares add up to F(x) - F(x'), all that the words changed ("completeness",
proposition 1). So the result can be checked: what is missing in the sum is the error of the integral, and more steps
mend it.

What is chosen here, and why:

- F is the logit of one class. Its probability is squeezed between 0 and 1, so that a word would get a small share only
  because the others had settled the matter before.
- x' is the same text with [PAD] in the place of every word: a token that stands for nothing. A vector of zeros is no
  token at all, and the classifier has never seen it. [CLS] and [SEP] stay: replacing them breaks what the classifier
  reads off, and they would take most of the shares. As they stand on both sides, their own shares are exactly 0.
- Only the words' vectors move. Positions, token types and the mask stay those of the text, at the baseline, too; a
  RoBERTa that counts its positions by padding would otherwise lose them all.
- The integral is a mean over midpoints. Where F is smooth, twice the steps leave a quarter of the error. DistilBERT's
  head has a ReLU, whose gradient jumps on the way: there the error falls unevenly, so the best attempt counts.
- float32: in bf16 the rounding alone can exceed the error that is allowed.

`explain` is the door: texts in, records of plain numbers out.
"""

import re
import unicodedata

import torch

from .batch import Batch
from .evaluate import EVALUATION_TOKENS

FIRST_STEPS = 16
MOST_STEPS = 512
TOLERANCE = 0.01  # of F(x) - F(x')
SMALLEST = 1e-3  # a difference below this counts as this: float32 cannot add up a hundredth of less


def explain(classifier, tokenizer, texts, pairs=None, labels=None, max_length=None, truncation="head", windows=1,
            most_steps=MOST_STEPS):  # fmt: skip
    """Which words decided, for each text: a list of records, which hold what JSON can.

    classifier: a `head.Classifier`, fast or plain, in eval mode; labels: the class to explain for each text, a name or
    None for the predicted one (None: predicted everywhere). max_length, truncation, windows: how much of a text is
    read. The steps double until the error is below TOLERANCE, or until one more doubling would exceed most_steps.

        label           the class whose logit is explained
        logit           its logit, F(x);  baseline_logit   the same for the baseline, F(x')
        padding         what stands in the baseline for every word, such as [PAD]
        steps           taken for the integral;  error   what the shares miss of F(x) - F(x'), as a share of it
        special         [[token, share]] of [CLS], [SEP] and their like
        words           [[word, share, start, end]] of the words that were read: text[start:end]; a share above 0 speaks
                        for the label
        pair_words      the same for the pair, or None
    """
    labels = [None] * len(texts) if labels is None else labels
    pairs = [None] * len(texts) if pairs is None else pairs
    return [
        explain_text(classifier, tokenizer, text, pair, label, (max_length, truncation, windows), most_steps)
        for text, pair, label in zip(texts, pairs, labels, strict=True)
    ]


def explain_text(classifier, tokenizer, text, pair, label, limits, most_steps):
    """The record of one text. ValueError when the classifier has no such label."""
    names = classifier.label_names
    if label is not None and label not in names:
        raise ValueError(f"there is no label {label!r}; choose from {', '.join(names)}")
    rows = tokenizer.locate(text, pair, *limits)
    inputs = tokenizer.examples([text], None if pair is None else [pair], [0], *limits).inputs([0])
    batch = Batch(*inputs[:3]).to(next(classifier.parameters()).device)  # [R, T]: a row, or one for each window
    is_word = torch.zeros_like(batch.input_ids, dtype=torch.bool)
    for row, places in enumerate(rows):
        is_word[row, : len(places)] = torch.tensor([place is not None for place in places])
    word = classifier.encoder.embeddings.word
    with torch.no_grad():
        x, baseline = word(batch.input_ids), word(batch.input_ids.masked_fill(is_word, tokenizer.pad_id))
        logits = logits_at(classifier, batch, torch.stack([x, baseline])).tolist()
    target = logits[0].index(max(logits[0])) if label is None else names.index(label)
    difference = logits[0][target] - logits[1][target]
    shares, steps, error = attribute(classifier, batch, x, baseline, target, difference, most_steps)
    tokens = []  # (its place in the text or None, its id, its share), padding left out: it has no place
    for places, ids, of_row in zip(rows, batch.input_ids.tolist(), shares, strict=True):
        tokens += zip(places, ids, of_row, strict=False)
    parts = [[(*place[1:], share) for place, _, share in tokens if place and place[0] == part] for part in (0, 1)]
    return {
        "label": names[target],
        "logit": logits[0][target],
        "baseline_logit": logits[1][target],
        "padding": tokenizer.backend.id_to_token(tokenizer.pad_id),
        "steps": steps,
        "error": error,
        "special": [[tokenizer.backend.id_to_token(number), share] for place, number, share in tokens if not place],
        "words": merge(text, parts[0]),
        "pair_words": None if pair is None else merge(pair, parts[1]),
    }


# ---- the integral


def attribute(classifier, batch, x, baseline, target, difference, most_steps=MOST_STEPS):
    """(shares, [R, T] in lists; steps taken; error), with as many steps as the error asks for.

    x, baseline: [R, T, E] word vectors; difference: F(x) - F(x'), to which the shares should add up.
    """
    steps, best = FIRST_STEPS, None
    while True:
        shares = integrated_gradients(classifier, batch, x, baseline, target, steps)
        error = abs(shares.sum().item() - difference) / max(abs(difference), SMALLEST)
        if best is None or error < best[2]:
            best = shares.tolist(), steps, error
        if error < TOLERANCE or 2 * steps > most_steps:
            return best
        steps *= 2


def integrated_gradients(classifier, batch, x, baseline, target, steps):
    """Equation 1 for every token, summed over its vector's numbers: float64 [R, T].

    batch: a `Batch` of one text [R, T], where R is 1, or the number of windows in which it is read; x, baseline: its
    word vectors and the baseline's, [R, T, E]; target: a class. The integral is a mean of `steps` gradients, each from
    the middle of its piece of the way (midpoint rule).
    """
    middles = (torch.arange(steps, device=x.device) + 0.5) / steps
    total = torch.zeros_like(x, dtype=torch.float64)
    for some in middles.split(max(1, EVALUATION_TOKENS[x.device.type] // batch.input_ids.numel())):
        points = baseline + some[:, None, None, None] * (x - baseline)  # [S, R, T, E]
        points.requires_grad_()
        # Each logit depends on its own point alone, so the gradient of their sum is each one's own.
        (gradients,) = torch.autograd.grad(logits_at(classifier, batch, points)[:, target].sum(), points)
        total += gradients.sum(dim=0)
    return ((x - baseline) * total / steps).sum(dim=-1)


def logits_at(classifier, batch, vectors):
    """The logits [S, C] of a text with other vectors [S, R, T, E] in its words' places. batch: the text, [R, T]."""
    count, rows = vectors.shape[:2]
    windows = torch.full([count], rows, device=vectors.device) if rows > 1 else None
    # A hook's answer takes the place of the layer's: the encoder need not know that it is being asked.
    hook = classifier.encoder.embeddings.word.register_forward_hook(lambda *_: vectors.flatten(0, 1))
    try:
        return classifier(*(tensor.repeat(count, 1) for tensor in batch), windows=windows)
    finally:
        hook.remove()


# ---- from pieces to words


def merge(text, pieces):
    """The pieces' shares, added up by word: [[word, share, start, end]], in the text's order.

    pieces: (start, end, share). A piece that covers several words makes one of them; a piece of white space (RoBERTa
    has such) goes with the word that follows it. Words of which no piece was read are left out.
    """
    words = [[start, end, 0.0, False] for start, end in split_words(text)]  # ..., share, whether it was read
    if not words:
        return []
    for start, end, share in pieces:
        piece = text[start:end]
        start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
        first = next((i for i, word in enumerate(words) if word[1] > start), len(words) - 1)
        last = first
        while last + 1 < len(words) and words[last + 1][0] < end:
            last += 1
        before = words[first : last + 1]
        words[first : last + 1] = [[before[0][0], before[-1][1], sum(word[2] for word in before) + share, True]]
    return [[text[start:end], share, start, end] for start, end, share, was_read in words if was_read]


# Scripts that set no space between words: each of their characters stands alone, as in BERT's own tokenizer.
ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
RUNS = re.compile(f"[{ALONE}]|[^\\s{ALONE}]+")


def split_words(text):
    """(start, end) of a person's words: runs without white space, and the punctuation at their ends by itself.

    What stands inside a word belongs to it, as in "don't", "well-made" and "7/10".
    """
    for run in RUNS.finditer(text):
        marks = [unicodedata.category(character)[0] in "PS" for character in run[0]]
        if all(marks):
            yield run.span()
            continue
        first = run.start() + marks.index(False)
        last = run.end() - marks[::-1].index(False)
        if run.start() < first:
            yield run.start(), first
        yield first, last
        if last < run.end():
            yield last, run.end()


# ---- where a head looks


def attention_weights(classifier, batch, layer, head):
    """How much each token takes from each other one: [T, T], a row for each taking token, each row's sum 1.

    batch: a `Batch` of one text; layer, head: counted from 1. Attention says where a head looks, not what decides:
    other weights can give the same answer (Jain and Wallace 2019). ValueError when there is no such head, and for fast
    layers, which never form these numbers: load the classifier with fast=False.
    """
    config = classifier.encoder.config
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    if not (1 <= layer <= layers and 1 <= head <= heads):
        raise ValueError(f"no layer {layer} with a head {head}: the model has {layers} layers of {heads} heads each")
    with torch.no_grad():
        _, attentions = classifier.encoder(*batch, return_attention=True)
    return attentions[layer - 1][0, head - 1]
