"""minibert as a contestant on its own ladder: each rung, answered by the module that the other files use.

This is what an adapter may look like when your code has another shape than the ladder's functions: put the given
weights in, call your module, hand back arrays. `FAST` chooses fast layers or plain ones, `TRAIN` the mode (with every
dropout probability at 0, so that train mode has to give the same numbers).
"""

import re
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from .. import metrics, optim
from ..config import EncoderConfig
from ..fast import accelerate
from ..head import NATIVE, Classifier, LinearHead, MLPHead, TanhHead, pool
from ..load import read_model
from ..model import ACTIVATIONS, Attention, Embeddings, Encoder, FeedForward, Layer, Pooler, additive_mask
from ..names import COLUMNS, NAMES, NATIVE_COLUMNS, NATIVE_NAMES, encoder_names, normalize_names, translate
from ..tokenizer import Tokenizer, from_vocabulary

FAST = True
TRAIN = False

NUMBER = r"(?<=\.)\d+(?=\.)"  # of a layer


def shape(config):
    """An `EncoderConfig` without dropout."""
    return replace(
        EncoderConfig.from_dict(config),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0,
    )


def filled(module, weights, family="bert", ours="", theirs="", fast=True):
    """The module with the given weights in it. `ours` and `theirs`: what its names begin with in the name tables."""
    state = {}
    for name in module.state_dict():
        state[name] = weights[in_checkpoint(ours + name, family).removeprefix(theirs)]
    module.load_state_dict(state, assign=True)
    return (made_fast(module) if fast else module).train(TRAIN)


def made_fast(module):
    return accelerate(module) if FAST else module


def in_checkpoint(parameter, family="bert"):
    """A parameter's name (ours) in the family's words, through the tables of names.py."""
    head = {row[0]: row[NATIVE_COLUMNS[family]] for row in NATIVE_NAMES}
    return translate(parameter.removeprefix("encoder."), encoder_names(family) | head)


# ---- text and small functions


def wordpiece(text, pair, vocabulary, max_length):
    tokenizer = Tokenizer(from_vocabulary(vocabulary, {}))
    (sequence,) = tokenizer.encode([text], None if pair is None else [pair], max_length)
    second = len(sequence.ids) - sequence.first_length
    return sequence.ids.tolist(), [0] * sequence.first_length + [1] * second


def layer_norm(x, weight, bias, eps):
    norm = nn.LayerNorm(len(weight), eps)
    norm.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return norm(x)


def gelu(x):
    return ACTIVATIONS["gelu"](x)


# ---- the encoder and its parts


def bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config):
    module = filled(Embeddings(shape(config)), weights, "bert", "embeddings.")
    return module(input_ids, token_type_ids)


def distilbert_embeddings(input_ids, attention_mask, weights, config):
    return filled(Embeddings(shape(config)), weights, "distilbert", "embeddings.")(input_ids)


def roberta_embeddings(input_ids, attention_mask, weights, config):
    return filled(Embeddings(shape(config)), weights, "roberta", "embeddings.")(input_ids)


class Given(nn.Module):
    """Stands where a projection was, and answers with what it was given: [B, H, D', T] heads joined to [B, T, E]."""

    def __init__(self, heads):
        super().__init__()
        self.joined = heads.transpose(1, 2).flatten(2)

    def forward(self, hidden):
        return self.joined


def attention_probabilities(query, key, attention_mask):
    batch, heads, length, width = query.shape
    config = EncoderConfig("bert", 1, heads * width, 1, heads, 1, length, attention_probs_dropout_prob=0.0)
    attention = made_fast(Attention(config)).train(TRAIN)
    attention.query, attention.key, attention.output = Given(query), Given(key), nn.Identity()
    mask = additive_mask(attention_mask, query.dtype)
    # The fused path never shows its probabilities: unit vectors as values bring them out, some columns at a time.
    columns = []
    for start in range(0, length, width):
        units = torch.eye(length, dtype=query.dtype)[:, start : start + width]
        units = functional.pad(units, (0, width - units.shape[1]))
        attention.value = Given(units.expand(batch, heads, length, width))
        columns.append(attention(key.new_zeros(batch, length, 1), mask)[0].unflatten(-1, (heads, width)))
    return torch.cat(columns, dim=-1)[..., :length].transpose(1, 2)  # [B, T, H, T] -> [B, H, T, T]


def multi_head_attention(hidden, attention_mask, weights, config):
    module = filled(Attention(shape(config)), weights, "bert", "layers.0.attention.", "encoder.layer.0.")
    return module(hidden, additive_mask(attention_mask, hidden.dtype))[0]


def feed_forward(hidden, weights, config):
    return filled(FeedForward(shape(config)), weights, "bert", "layers.0.feed_forward.", "encoder.layer.0.")(hidden)


def layer(hidden, attention_mask, weights, config):
    module = filled(Layer(shape(config)), weights, "bert", "layers.0.", "encoder.layer.0.")
    return module(hidden, additive_mask(attention_mask, hidden.dtype))[0]


def distilbert_layer(hidden, attention_mask, weights, config):
    module = filled(Layer(shape(config)), weights, "distilbert", "layers.0.", "transformer.layer.0.")
    return module(hidden, additive_mask(attention_mask, hidden.dtype))[0]


def bert_encoder(input_ids, attention_mask, token_type_ids, weights, config):
    module = filled(Encoder(shape(config), has_pooler=False), weights, "bert")
    return module(input_ids, attention_mask, token_type_ids, return_all=True)


def distilbert_encoder(input_ids, attention_mask, weights, config):
    module = filled(Encoder(shape(config)), weights, "distilbert")
    return module(input_ids, attention_mask, return_all=True)


def roberta_encoder(input_ids, attention_mask, weights, config):
    module = filled(Encoder(shape(config), has_pooler=False), weights, "roberta")
    return module(input_ids, attention_mask, return_all=True)


# ---- pooling and heads


def width_only(hidden):
    """A configuration for modules that only need to know how wide a vector is."""
    return EncoderConfig("bert", 1, hidden.shape[-1], 1, 1, 1, 1, classifier_dropout=0.0)


def pooler(hidden, attention_mask, weights):
    return filled(Pooler(width_only(hidden)), weights, "bert", "pooler.")(hidden)


def mean_pooling(hidden, attention_mask):
    return pool(hidden, attention_mask, "mean")


def bert_head(hidden, attention_mask, weights):
    head = filled(LinearHead(hidden.shape[-1], len(weights["classifier.bias"])), weights, "bert", "head.")
    return head(pooler(hidden, attention_mask, weights))


def distilbert_head(hidden, attention_mask, weights):
    head = filled(MLPHead(hidden.shape[-1], len(weights["classifier.bias"])), weights, "distilbert", "head.")
    return head(pool(hidden, attention_mask, "cls"))


def roberta_head(hidden, attention_mask, weights):
    head = filled(TanhHead(hidden.shape[-1], len(weights["classifier.out_proj.bias"])), weights, "roberta", "head.")
    return head(pool(hidden, attention_mask, "cls"))


# ---- training


def classifier(weights, config):
    labels = [str(i) for i in range(len(weights["classifier.bias"]))]
    model = Classifier(Encoder(shape(config)), labels, *NATIVE["bert"])
    return filled(model, {name: weight.clone() for name, weight in weights.items()})


def loss_and_gradients(input_ids, attention_mask, token_type_ids, labels, weights, config):
    model = classifier(weights, config)
    loss = functional.cross_entropy(model(input_ids, attention_mask, token_type_ids), labels)
    loss.backward()
    names = {name: parameter.grad for name, parameter in model.named_parameters()}
    return loss, {in_checkpoint(name): gradient for name, gradient in names.items()}


def bert_embeddings_dropout(input_ids, token_type_ids, attention_mask, weights, config, dropout):
    """The ladder puts its own dropout in the place of nn.Dropout's, so that train mode is all that is needed."""
    module = filled(Embeddings(EncoderConfig.from_dict(config)), weights, "bert", "embeddings.", fast=False)
    return module.train()(input_ids, token_type_ids)


def layer_in_training(hidden, attention_mask, weights, config, family, theirs):
    module = Layer(EncoderConfig.from_dict(config))
    module = filled(module, weights, family, "layers.0.", theirs, fast=False)
    return module.train()(hidden, additive_mask(attention_mask, hidden.dtype))[0]


def bert_layer_dropout(hidden, attention_mask, weights, config, dropout):
    return layer_in_training(hidden, attention_mask, weights, config, "bert", "encoder.layer.0.")


def distilbert_layer_dropout(hidden, attention_mask, weights, config, dropout):
    return layer_in_training(hidden, attention_mask, weights, config, "distilbert", "transformer.layer.0.")


def bert_head_dropout(hidden, attention_mask, weights, dropout):
    head = LinearHead(hidden.shape[-1], len(weights["classifier.bias"]), 0.1)
    head = filled(head, weights, "bert", "head.", fast=False)
    return head.train()(pooler(hidden, attention_mask, weights))


def distilbert_head_dropout(hidden, attention_mask, weights, dropout):
    head = MLPHead(hidden.shape[-1], len(weights["classifier.bias"]), 0.2)
    head = filled(head, weights, "distilbert", "head.", fast=False)
    return head.train()(pool(hidden, attention_mask, "cls"))


def roberta_head_dropout(hidden, attention_mask, weights, dropout):
    head = TanhHead(hidden.shape[-1], len(weights["classifier.out_proj.bias"]), 0.1)
    head = filled(head, weights, "roberta", "head.", fast=False)
    return head.train()(pool(hidden, attention_mask, "cls"))


def parameter_groups(names):
    family = "distilbert" if any("pre_classifier" in name for name in names) else "bert"
    layers = len({name for name in names if name.endswith(("self.query.weight", "q_lin.weight"))})
    encoder = Encoder(EncoderConfig(family, 1, 1, layers, 1, 1, 1, type_vocab_size=2 if family == "bert" else 0))
    model = Classifier(encoder, ["0", "1"], *NATIVE[family])
    decays = {}
    groups = {
        id(p): group["weight_decay"] for group in optim.parameter_groups(model, 1.0, 1.0) for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        decays[in_checkpoint(name, family)] = groups[id(parameter)] > 0
    normal = {name: name.removeprefix("bert.").removeprefix("distilbert.") for name in names}
    return [n for n in names if decays[normal[n]]], [n for n in names if not decays[normal[n]]]


def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
    parameter = nn.Parameter(parameter.clone())
    optimizer = optim.AdamW([parameter], lr, (beta1, beta2), eps, weight_decay)
    steps = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        steps.append(parameter.detach().clone())
    return torch.stack(steps)


def adamw_several(parameters, gradients, lr, beta1, beta2, eps, weight_decay):
    parameters = [nn.Parameter(parameter.clone()) for parameter in parameters]
    optimizer = optim.AdamW(parameters, lr, (beta1, beta2), eps, weight_decay)
    histories = [[] for _ in parameters]
    for given in gradients:
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        optimizer.step()
        for history, parameter in zip(histories, parameters, strict=True):
            history.append(parameter.detach().clone())
    return [torch.stack(history) for history in histories]


def warmup_schedule(step, warmup_steps, total_steps):
    return optim.linear_warmup(step, warmup_steps, total_steps)


def clip_gradients(gradients, max_norm):
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    optim.clip_gradients(parameters, max_norm)
    return [parameter.grad for parameter in parameters]


def train(batches, weights, config, lr, warmup_steps, weight_decay, max_norm):
    model = classifier(weights, config)
    optimizer = optim.AdamW(optim.parameter_groups(model, lr, weight_decay))
    losses = []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr * optim.linear_warmup(step, warmup_steps, len(batches))
        logits = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        loss = functional.cross_entropy(logits, batch["labels"])
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optim.clip_gradients(list(model.parameters()), max_norm)
        optimizer.step()
    return torch.stack(losses)


# ---- metrics and names


def accuracy(labels, predictions):
    return metrics.accuracy(labels.numpy(), predictions.numpy())


def confusion_matrix(labels, predictions, num_labels):
    return metrics.confusion_matrix(labels.numpy(), predictions.numpy(), num_labels)


def precision_recall_f1(labels, predictions, num_labels, average):
    return metrics.precision_recall_f1(labels.numpy(), predictions.numpy(), average, num_labels)[:3]


def roc_auc(labels, scores):
    return metrics.roc_auc(labels.numpy(), scores.numpy())


def map_weight_names(names):
    bert_names = {}
    for family in ("bert", "distilbert"):
        for row in (*NAMES, *NATIVE_NAMES):
            ours, bert, theirs = row[0], row[1], row[COLUMNS[family]]
            bert_names[theirs] = {"head.dense": "pooler.dense"}.get(ours, bert)  # DistilBERT's dense is BERT's pooler
    result = []
    for name in names:
        (normal,) = normalize_names({name: None})[0]
        part, kind = normal.rsplit(".", 1)
        number = re.search(NUMBER, part)
        found = bert_names.get(re.sub(NUMBER, "#", part))
        result.append(f"{found.replace('#', number[0] if number else '')}.{kind}" if found else None)
    return result


# ---- a whole checkpoint, as the judge of its conversions


def answer_of(folder, input_ids, attention_mask, token_type_ids):
    """What minibert's model of a checkpoint's folder gives, in float64: logits [B, C], or hidden states [B, T, E]."""
    model, _ = read_model(folder, fast=False)
    model = model.double().eval()
    ids, mask, types = (torch.from_numpy(array) for array in (input_ids, attention_mask, token_type_ids))
    encoder = getattr(model, "encoder", model)
    with torch.no_grad():
        given = (ids, mask, types) if encoder.config.type_vocab_size > 1 else (ids, mask)
        return model(*given).numpy()
