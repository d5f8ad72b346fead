"""Where a learner drops is heard and said, in right layers and wrong ones, whatever they are written with; and each
function of the forward pass gives the same answer twice."""

import ladder_torch
import pytest
import torch
from ladder_tools import DTYPES, check, command, written
from torch import nn
from torch.nn import functional

from minibert.parity import adapter

# ---- layers as people write them: nn.Module with nn.Dropout, in train mode


class SelfAttention(nn.Module):
    """The course's skeleton: query, key, value, dropout on the probabilities."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden, mask):
        batch, length, width = hidden.shape
        query, key, value = (
            layer(hidden).view(batch, length, self.heads, self.head_width).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / self.head_width**0.5
        return self.gather(scores + mask, value).transpose(1, 2).reshape(batch, length, width)

    def gather(self, scores, value):
        return self.dropout(scores.softmax(-1)) @ value


class DroppedScores(SelfAttention):
    def gather(self, scores, value):
        return self.dropout(scores).softmax(-1) @ value


class NothingDropped(SelfAttention):
    def gather(self, scores, value):
        return scores.softmax(-1) @ value


class FlatHeads(SelfAttention):
    """Heads and batch in one axis, heads first: the numbers lie in another order than BERT's own code has them."""

    def gather(self, scores, value):
        batch, heads, length, _ = scores.shape
        flat = scores.transpose(0, 1).reshape(heads * batch, length, length).softmax(-1)
        dropped = self.dropout(flat).view(heads, batch, length, length).transpose(0, 1)
        return dropped @ value


class ByFunction(SelfAttention):
    def gather(self, scores, value):
        return functional.dropout(scores.softmax(-1), 0.1, self.training) @ value


class ByTorchsFunction(SelfAttention):
    def gather(self, scores, value):
        return torch.dropout(scores.softmax(-1), p=0.1, train=self.training) @ value


class Fused(SelfAttention):
    def forward(self, hidden, mask):
        batch, length, width = hidden.shape
        three = (
            layer(hidden).view(batch, length, self.heads, self.head_width).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        context = functional.scaled_dot_product_attention(*three, mask, dropout_p=0.1 if self.training else 0.0)
        return context.transpose(1, 2).reshape(batch, length, width)


class BertLayer(nn.Module):
    def __init__(self, config, attention):
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.self_attention = attention(width, config["num_attention_heads"])
        self.attention_dense, self.attention_norm = nn.Linear(width, width), nn.LayerNorm(width, 1e-12)
        self.interm_dense, self.out_dense = nn.Linear(width, inner), nn.Linear(inner, width)
        self.out_norm = nn.LayerNorm(width, 1e-12)
        self.dropout = nn.Dropout(0.1)

    def add_norm(self, old, new, dense, norm):
        return norm(old + self.dropout(dense(new)))

    def activate(self, x):
        return functional.gelu(self.interm_dense(x))

    def forward(self, hidden, mask):
        attended = self.self_attention(hidden, mask)
        middle = self.add_norm(hidden, attended, self.attention_dense, self.attention_norm)
        return self.add_norm(middle, self.activate(middle), self.out_dense, self.out_norm)


class BeforeDense(BertLayer):
    def add_norm(self, old, new, dense, norm):
        return norm(old + dense(self.dropout(new)))


class OnSum(BertLayer):
    def add_norm(self, old, new, dense, norm):
        return norm(self.dropout(old + dense(new)))


class AfterNorm(BertLayer):
    def add_norm(self, old, new, dense, norm):
        return self.dropout(norm(old + dense(new)))


class Unused(BertLayer):
    def add_norm(self, old, new, dense, norm):
        self.dropout(dense(new))
        return norm(old + dense(new))


class TanhGelu(BeforeDense):
    def activate(self, x):
        return functional.gelu(self.interm_dense(x), approximate="tanh")


PARTS = {
    "self_attention.query": "attention.self.query", "self_attention.key": "attention.self.key",
    "self_attention.value": "attention.self.value", "attention_dense": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm", "interm_dense": "intermediate.dense", "out_dense": "output.dense",
    "out_norm": "output.LayerNorm",
}  # fmt: skip


def in_training(layer, attention=SelfAttention, training=True):
    """A function for the rung from a class of layers. It has no use for the `dropout` that it is given."""

    def bert_layer_dropout(hidden, attention_mask, weights, config, dropout):
        module = layer(config, attention).to(hidden.dtype)
        kinds = ("weight", "bias")
        module.load_state_dict({f"{a}.{kind}": weights[f"{b}.{kind}"] for a, b in PARTS.items() for kind in kinds})
        mask = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * -1e4
        return module.train(training)(hidden, mask)

    return bert_layer_dropout


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("attention", [SelfAttention, FlatHeads, ByFunction, ByTorchsFunction, Fused])
def test_right_layers_pass_whatever_drops_in_them(attention, dtype):
    result = check("bert_layer_dropout", in_training(BertLayer, attention), dtype=dtype)
    assert result.status == "OK", result


def test_a_dropout_that_the_file_imported_by_name_is_heard_too(tmp_path, capsys):
    text = (
        "import torch\nfrom torch.nn.functional import dropout, linear, layer_norm\n\n"
        "def bert_embeddings_dropout(input_ids, token_type_ids, attention_mask, weights, config, drop):\n"
        "    w = {name.split('.', 1)[1]: array for name, array in weights.items()}\n"
        "    x = w['word_embeddings.weight'][input_ids] + w['token_type_embeddings.weight'][token_type_ids]\n"
        "    x = x + w['position_embeddings.weight'][: input_ids.shape[1]]\n"
        "    return dropout(layer_norm(x, x.shape[-1:], w['LayerNorm.weight'], w['LayerNorm.bias'], 1e-12), 0.1)\n"
    )
    code, out, _ = command(capsys, written(tmp_path / "mine.py", text), "--rungs", "bert_embeddings_dropout")
    assert code == 0 and "1 of 1 rungs checked, 1 passed" in out


def multi_head(hidden, attention_mask, weights, config, dropout):
    """The layer with nn.MultiheadAttention."""
    width = config["hidden_size"]
    attention = nn.MultiheadAttention(width, config["num_attention_heads"], 0.1, batch_first=True).to(hidden.dtype)
    names = [f"attention.self.{name}" for name in ("query", "key", "value")]
    attention.load_state_dict({
        "in_proj_weight": torch.cat([weights[f"{name}.weight"] for name in names]),
        "in_proj_bias": torch.cat([weights[f"{name}.bias"] for name in names]),
        "out_proj.weight": weights["attention.output.dense.weight"],
        "out_proj.bias": weights["attention.output.dense.bias"],
    })  # fmt: skip
    attended, _ = attention.train()(
        hidden, hidden, hidden, key_padding_mask=attention_mask == 0, need_weights=multi_head.need_weights
    )

    def norm(x, name):
        return functional.layer_norm(x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    hidden = norm(hidden + functional.dropout(attended), "attention.output.LayerNorm")
    worked = linear(functional.gelu(linear(hidden, "intermediate.dense")), "output.dense")
    return norm(hidden + functional.dropout(worked), "output.LayerNorm")


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_passes(need_weights):
    multi_head.need_weights = need_weights
    result = check("bert_layer_dropout", multi_head)
    assert result.status == "OK", result


@pytest.mark.parametrize(
    "layer, attention, names, heard",
    [
        (BertLayer, DroppedScores, ["dropout-on-masked-scores"], "drops: masked scores; attention output"),
        (BertLayer, NothingDropped, ["no-dropout-on-probabilities"], "nothing on: probabilities"),
        (BeforeDense, SelfAttention, ["dropout-before-dense + dropout-inside-feed-forward"], "context; inside"),
        (OnSum, SelfAttention, ["dropout-on-sum"], "probabilities; first sum; second sum"),
        (AfterNorm, SelfAttention, ["dropout-after-layer-norm"], "after the first LayerNorm; after the second"),
        (Unused, SelfAttention, ["dropout-result-unused"], "probabilities; attention output"),
        (OnSum, DroppedScores, ["dropout-on-masked-scores + dropout-on-sum"], "masked scores; first sum; second sum"),
        (TanhGelu, SelfAttention, ["gelu-tanh + dropout-before-dense + dropout-inside-feed-forward"], "context"),
    ],
)
def test_where_a_wrong_layer_drops_is_said_in_words(layer, attention, names, heard):
    result = check("bert_layer_dropout", in_training(layer, attention))
    assert (result.status, result.mistakes) == ("DIFF", names), result
    assert heard in result.note


def test_right_dropout_in_a_layer_that_is_wrong_in_a_way_of_its_own_is_not_blamed():
    class Louder(BertLayer):
        def forward(self, hidden, mask):
            return super().forward(1.1 * hidden, mask)

    result = check("bert_layer_dropout", in_training(Louder))
    assert (result.status, result.mistakes, result.note) == ("DIFF", [], "wrong without dropout, too")
    result = check("bert_layer_dropout", in_training(Louder, training=False))
    assert result.mistakes == ["no-dropout-at-all"] and "drops: nothing at all" in result.note


def test_a_layer_in_evaluation_mode_drops_nothing_and_is_told_so():
    result = check("bert_layer_dropout", in_training(BertLayer, training=False))
    assert (result.status, result.mistakes) == ("DIFF", ["no-dropout-at-all"])
    assert "drops: nothing at all" in result.note


def test_dropout_by_random_numbers_of_ones_own_cannot_be_followed_and_is_told_so():
    class Own(SelfAttention):
        def gather(self, scores, value):
            probabilities = scores.softmax(-1)
            return probabilities * (torch.rand_like(probabilities) > 0.1) / 0.9 @ value

    class Layer(BertLayer):
        def add_norm(self, old, new, dense, norm):
            return norm(old + dense(new))

    result = check("bert_layer_dropout", in_training(Layer, Own))
    assert result.status == "DIFF" and "drops at random in its own way" in result.note


LAYER = (
    "no-dropout-on-probabilities", "no-dropout-after-feed-forward", "no-dropout-at-all", "dropout-before-softmax",
    "dropout-on-masked-scores", "dropout-inside-feed-forward", "dropout-on-projections", "dropout-on-layer-input",
    "dropout-after-layer-norm", "dropout-on-sum", "dropout-before-dense", "dropout-twice",
)  # fmt: skip
MISPLACED = {  # rung: what may be wrong there, as `ladder_torch.py` makes it
    "bert_embeddings_dropout": (
        "no-dropout-after-embeddings", "dropout-before-layer-norm", "dropout-on-word-vectors", "dropout-twice",
    ),
    "bert_layer_dropout": (*LAYER, "no-dropout-after-attention"),
    "distilbert_layer_dropout": (*LAYER, "dropout-after-attention"),
    "bert_head_dropout": (
        "no-dropout-in-head", "dropout-before-activation", "dropout-on-first-token", "dropout-on-logits",
    ),
    "distilbert_head_dropout": (
        "no-dropout-in-head", "dropout-before-activation", "dropout-on-first-token", "dropout-on-logits",
    ),
    "roberta_head_dropout": (
        "no-dropout-in-head", "no-dropout-on-first-token", "no-dropout-at-all", "dropout-before-activation",
        "dropout-on-logits",
    ),
}  # fmt: skip
ALSO_WRONG = ("gelu-tanh", "no-mask", "pre-norm")


def made_in_torch(rung, name):
    ladder_torch.WRONG = name
    try:
        return check(rung, getattr(ladder_torch, rung))
    finally:
        ladder_torch.WRONG = None


@pytest.mark.parametrize("rung, name", [(rung, name) for rung, names in MISPLACED.items() for name in names])
def test_each_misplaced_dropout_in_torch_is_named_alone(rung, name):
    result = made_in_torch(rung, name)
    assert (result.status, result.mistakes) == ("DIFF", [name]), result


@pytest.mark.parametrize("rung", ["bert_layer_dropout", "distilbert_layer_dropout"])
@pytest.mark.parametrize("other", ALSO_WRONG)
def test_in_a_layer_that_is_wrong_in_another_way_too_both_are_named(rung, other):
    places = (*MISPLACED[rung], "")
    found = [
        (name, made_in_torch(rung, f"{other} + {name}" if name else other).mistakes)
        for name in places
        if not (other == "pre-norm" and name in ("dropout-after-layer-norm", "dropout-on-sum"))  # never reached
    ]
    missed = [(name, got) for name, got in found if got != [f"{other} + {name}" if name else other]]
    assert len(missed) <= 1, missed


# ---- called twice


def head_with(dropout):
    def bert_head(hidden, attention_mask, weights):
        pooled = (hidden[:, 0] @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"]).tanh()
        return dropout(pooled) @ weights["classifier.weight"].T + weights["classifier.bias"]

    return bert_head


def test_dropout_that_is_on_in_evaluation_is_named():
    result = check("bert_head", head_with(nn.Dropout(0.1)))  # a new module is in train mode
    assert (result.status, result.mistakes) == ("DIFF", ["dropout-in-evaluation"])
    assert result.note == "two calls with the same input give different answers"
    assert check("bert_head", head_with(nn.Dropout(0.1).eval())).status == "OK"


def test_dropout_that_is_on_while_gradients_are_asked_for_is_named():
    def loss_and_gradients(*arguments):
        loss, gradients = adapter.loss_and_gradients(*arguments)
        return loss * functional.dropout(torch.ones(1001), 0.1).mean(), gradients

    result = check("loss_and_gradients", loss_and_gradients)
    assert (result.status, result.mistakes) == ("DIFF", ["dropout-in-evaluation"])


def test_attention_that_drops_in_evaluation_is_named():
    def attention(share):
        def multi_head_attention(hidden, attention_mask, weights, config):
            def linear(x, name):
                return functional.linear(x, weights[f"attention.{name}.weight"], weights[f"attention.{name}.bias"])

            heads, names = (config["num_attention_heads"], -1), ("self.query", "self.key", "self.value")
            three = (linear(hidden, name).unflatten(-1, heads).transpose(1, 2) for name in names)
            mask = attention_mask[:, None, None, :].bool()
            context = functional.scaled_dot_product_attention(*three, mask, dropout_p=share)
            return linear(context.transpose(1, 2).flatten(2), "output.dense")

        return multi_head_attention

    assert check("multi_head_attention", attention(0.1)).mistakes == ["dropout-in-evaluation"]
    assert check("multi_head_attention", attention(0.0)).status == "OK"


def test_a_layer_made_inside_forward_is_named():
    result = check("feed_forward", lambda hidden, weights, config: nn.Linear(20, 20)(hidden))
    assert (result.status, result.mistakes) == ("DIFF", ["different-each-time"])
    torch.manual_seed(0)
    fixed = nn.Linear(20, 20)
    result = check("feed_forward", lambda hidden, weights, config: fixed(hidden))
    assert (result.status, result.mistakes) == ("DIFF", [])
