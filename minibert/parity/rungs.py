"""The rungs of the ladder: what each one asks of a learner's file, and how exactly the answer is judged.

A rung is one plain function in the learner's file, called by the rung's name with the arguments listed here, in
this order. Everything is supplied (weights by their Hugging Face names, inputs, masks), so nothing depends on seeds
or initialisation. The same table runs the ladder, prints `--explain` and writes `--template`. Shapes:

    B  texts     T  tokens          E  hidden size = H * D      V  vocabulary     S  steps
    H  heads     D  width of one    F  intermediate size        C  classes        L  layers
"""

from dataclasses import dataclass

IDS = ("input_ids", "[B, T] int64: the tokens; a padded position holds 0")
MASK = ("attention_mask", "[B, T] int64: 1 = a token, 0 = padding, which no token may attend to")
TYPES = ("token_type_ids", "[B, T] int64: 0 = first text, 1 = second text of a pair")
HIDDEN = ("hidden", "[B, T, E] float: a vector per token")
CONFIG = ("config", "dict: the checkpoint's config.json")
LABELS = ("labels", "[N] int64: the true class of each text")
PREDICTIONS = ("predictions", "[N] int64: the predicted class of each text")
LAYER_WEIGHTS = (
    "weights",
    "dict of arrays, one layer's: attention.self.query|key|value.weight [E, E] and .bias [E], "
    "attention.output.dense.*, attention.output.LayerNorm.*, intermediate.dense.weight [F, E], "
    "output.dense.weight [E, F], output.LayerNorm.*. A linear layer computes x @ weight.T + bias",
)
DISTILBERT_LAYER_WEIGHTS = (
    "weights",
    "dict of arrays, one layer's: attention.q_lin|k_lin|v_lin|out_lin.*, sa_layer_norm.*, ffn.lin1.* (E to F), "
    "ffn.lin2.* (F to E), output_layer_norm.*",
)
BERT_WEIGHTS = (
    "weights",
    "dict of arrays: embeddings.word_embeddings.weight, embeddings.position_embeddings.weight, "
    "embeddings.token_type_embeddings.weight, embeddings.LayerNorm.*, and each layer's under encoder.layer.N.",
)
CLASSIFIER_WEIGHTS = (
    "weights",
    "dict of arrays: an encoder's (see bert_encoder), pooler.dense.*, classifier.weight [C, E], classifier.bias [C]",
)
ROBERTA_IDS = ("input_ids", "[B, T] int64: the tokens; a padded position holds pad_token_id, which is 1")
DROPOUT = (
    "dropout",
    "function: array -> array of the same shape. Call it wherever dropout belongs; or use PyTorch's own in train mode, "
    "which is replaced by it meanwhile",
)
TOKENS = ("batch", "token", "feature")


@dataclass(frozen=True)
class Rung:
    """One function of the contract."""

    name: str  # of the function
    title: str
    source: str  # where the mathematics is
    arguments: tuple  # (name, what it is), in order
    returns: str
    axes: tuple = ()  # what the axes of the result are called in a report
    padding: int | None = None  # the axis along which attention_mask says what is padding and is not compared
    tolerance: float = 1e-5  # largest absolute difference in float32
    double: float | None = 1e-10  # the same in float64
    exact: bool = False  # words and whole numbers: equal or not
    twice: bool = False  # called twice with the same input, which has to give the same answer
    places: tuple = ()  # of a rung about dropout: which tensors it belongs on, in the words of known_model.py


RUNGS = (
    Rung(
        "wordpiece", "WordPiece token ids", "Devlin et al. 2019, section 3; Wu et al. 2016, section 4.1",
        (
            ("text", "str"),
            ("pair", "str or None: the second text"),
            ("vocabulary", "list of V str: piece i has id i; a piece inside a word starts with ##"),
            ("max_length", "int: the longest result, special tokens included; the longer text loses its end first"),
        ),
        "(ids, token_type_ids): two lists of int. Uncased: lowercase, accents off, split at spaces and punctuation; "
        "then the longest piece first; a word that cannot be spelled is one [UNK]. [CLS] text [SEP], and pair [SEP]",
        exact=True,
    ),
    Rung(
        "layer_norm", "LayerNorm", "Ba et al. 2016, equation 4",
        (("x", "[B, T, E] float"), ("weight", "[E] float"), ("bias", "[E] float"), ("eps", "float")),
        "[B, T, E]", TOKENS, twice=True,
    ),
    Rung(
        "gelu", "GELU", "Hendrycks and Gimpel 2016, section 2", (("x", "[N] float"),), "[N]", ("element",), twice=True,
    ),
    Rung(
        "bert_embeddings", "embeddings, BERT", "Devlin et al. 2019, figure 2",
        (IDS, TYPES, MASK, ("weights", "dict of arrays: embeddings.word_embeddings.weight [V, E], "
         "embeddings.position_embeddings.weight, embeddings.token_type_embeddings.weight, embeddings.LayerNorm.*"),
         CONFIG),
        "[B, T, E]", TOKENS, 1, twice=True,
    ),
    Rung(
        "distilbert_embeddings", "embeddings, DistilBERT", "Sanh et al. 2019, section 3",
        (IDS, MASK, ("weights", "dict of arrays: as for BERT, without token types"), CONFIG),
        "[B, T, E]", TOKENS, 1, twice=True,
    ),
    Rung(
        "roberta_embeddings", "embeddings, RoBERTa", "Liu et al. 2019; fairseq, make_positions",
        (ROBERTA_IDS, MASK, ("weights", "dict of arrays: as for BERT; all tokens are of the one type, 0"), CONFIG),
        "[B, T, E]: positions count from pad_token_id + 1 and skip padding", TOKENS, 1, twice=True,
    ),
    Rung(
        "attention_probabilities", "attention scores and masking", "Vaswani et al. 2017, equation 1",
        (("query", "[B, H, T, D] float"), ("key", "[B, H, T, D] float"), MASK),
        "[B, H, T, T]: for each query (third axis) its weights on the keys (last axis)",
        ("batch", "head", "query", "key"), 2, twice=True,
    ),
    Rung(
        "multi_head_attention", "multi-head attention", "Vaswani et al. 2017, section 3.2.2",
        (HIDDEN, MASK, LAYER_WEIGHTS, CONFIG),
        "[B, T, E]: after the output projection; no residual, no LayerNorm", TOKENS, 1, twice=True,
    ),
    Rung(
        "feed_forward", "feed-forward", "Vaswani et al. 2017, equation 2, with GELU",
        (HIDDEN, LAYER_WEIGHTS, CONFIG), "[B, T, E]: no residual, no LayerNorm", TOKENS, twice=True,
    ),
    Rung(
        "layer", "one layer", "Vaswani et al. 2017, section 3.1 (post-norm)",
        (HIDDEN, MASK, LAYER_WEIGHTS, CONFIG), "[B, T, E]", TOKENS, 1, twice=True,
    ),
    Rung(
        "distilbert_layer", "one layer, DistilBERT", "Sanh et al. 2019; transformers, DistilBERT",
        (HIDDEN, MASK, DISTILBERT_LAYER_WEIGHTS, CONFIG), "[B, T, E]", TOKENS, 1, twice=True,
    ),
    Rung(
        "bert_encoder", "whole encoder, BERT", "Devlin et al. 2019, section 3",
        (IDS, MASK, TYPES, BERT_WEIGHTS, CONFIG),
        "list of L + 1 arrays [B, T, E]: the embeddings, then each layer's output", TOKENS, 1, twice=True,
    ),
    Rung(
        "distilbert_encoder", "whole encoder, DistilBERT", "Sanh et al. 2019, section 3",
        (IDS, MASK, ("weights", "dict of arrays: embeddings.*, and each layer's under transformer.layer.N. "
         "(see distilbert_layer_dropout)"), CONFIG),
        "list of L + 1 arrays [B, T, E]: the embeddings, then each layer's output", TOKENS, 1, twice=True,
    ),
    Rung(
        "roberta_encoder", "whole encoder, RoBERTa", "Liu et al. 2019, section 2",
        (ROBERTA_IDS, MASK, BERT_WEIGHTS, CONFIG),
        "list of L + 1 arrays [B, T, E]: the embeddings, then each layer's output", TOKENS, 1, twice=True,
    ),
    Rung(
        "pooler", "pooler", "google-research/bert, modeling.py (the paper has its output alone, C in section 3)",
        (HIDDEN, MASK, ("weights", "dict of arrays: pooler.dense.weight [E, E], pooler.dense.bias [E]")),
        "[B, E]", ("batch", "feature"), twice=True,
    ),
    Rung(
        "mean_pooling", "mean pooling", "Reimers and Gurevych 2019, section 3",
        (HIDDEN, MASK), "[B, E]: the mean over real tokens", ("batch", "feature"), twice=True,
    ),
    Rung(
        "bert_head", "classification head, BERT", "Devlin et al. 2019, section 4.1",
        (HIDDEN, MASK, ("weights", "dict of arrays: pooler.dense.*, classifier.weight [C, E], classifier.bias [C]")),
        "[B, C]: logits", ("batch", "class"), twice=True,
    ),
    Rung(
        "distilbert_head", "classification head, DistilBERT", "transformers, DistilBertForSequenceClassification",
        (HIDDEN, MASK, ("weights", "dict of arrays: pre_classifier.*, classifier.*")),
        "[B, C]: logits", ("batch", "class"), twice=True,
    ),
    Rung(
        "roberta_head", "classification head, RoBERTa", "fairseq, RobertaClassificationHead; transformers",
        (HIDDEN, MASK, ("weights", "dict of arrays: classifier.dense.* [E, E], classifier.out_proj.*")),
        "[B, C]: logits; tanh after the first linear layer", ("batch", "class"), twice=True,
    ),
    Rung(
        "loss_and_gradients", "loss and gradients", "Devlin et al. 2019, section 4.1; the chain rule",
        (IDS, MASK, TYPES, ("labels", "[B] int64"), CLASSIFIER_WEIGHTS, CONFIG),
        "(loss, gradients): the mean cross-entropy of BERT with its own head, dropout off; a dict of arrays, "
        "one for each of the weights, under the same name", ("index",) * 2, twice=True,
    ),
    Rung(
        "bert_embeddings_dropout", "dropout in the embeddings", "google-research/bert, modeling.py",
        (IDS, TYPES, MASK, ("weights", "dict of arrays: see bert_embeddings"), CONFIG, DROPOUT),
        "[B, T, E]: the embeddings in train mode", TOKENS, 1, places=("embeddings",),
    ),
    Rung(
        "bert_layer_dropout", "dropout placement, BERT", "google-research/bert, modeling.py",
        (HIDDEN, MASK, LAYER_WEIGHTS, CONFIG, DROPOUT), "[B, T, E]: one layer in train mode", TOKENS, 1,
        places=("probabilities", "attention output", "feed-forward output"),
    ),
    Rung(
        "distilbert_layer_dropout", "dropout placement, DistilBERT", "Sanh et al. 2019; transformers, DistilBERT",
        (HIDDEN, MASK, DISTILBERT_LAYER_WEIGHTS, CONFIG, DROPOUT), "[B, T, E]: one layer in train mode", TOKENS, 1,
        places=("probabilities", "feed-forward output"),
    ),
    Rung(
        "bert_head_dropout", "dropout in BERT's head", "google-research/bert, run_classifier.py",
        (HIDDEN, MASK, ("weights", "dict of arrays: see bert_head"), DROPOUT), "[B, C]: logits in train mode",
        ("batch", "class"), places=("pooled vector",),
    ),
    Rung(
        "distilbert_head_dropout", "dropout in DistilBERT's head", "transformers, DistilBertForSequenceClassification",
        (HIDDEN, MASK, ("weights", "dict of arrays: see distilbert_head"), DROPOUT), "[B, C]: logits in train mode",
        ("batch", "class"), places=("head's hidden vector",),
    ),
    Rung(
        "roberta_head_dropout", "dropout in RoBERTa's head", "fairseq, RobertaClassificationHead; transformers",
        (HIDDEN, MASK, ("weights", "dict of arrays: see roberta_head"), DROPOUT), "[B, C]: logits in train mode",
        ("batch", "class"), places=("first token", "head's hidden vector"),
    ),
    Rung(
        "parameter_groups", "parameter groups", "google-research/bert, optimization.py",
        (("names", "list of str: a classifier's parameters, as Hugging Face names them, BERT's or DistilBERT's"),),
        "(decayed, not_decayed): two lists of names, each name in one of them", exact=True,
    ),
    Rung(
        "adamw", "AdamW", "Loshchilov and Hutter 2019, algorithm 2",
        (("parameter", "[N] float: the start"), ("gradients", "[S, N] float: one step's gradient a row"),
         ("lr", "float"), ("beta1", "float"), ("beta2", "float"), ("eps", "float"), ("weight_decay", "float")),
        "[S, N]: the parameter after each step", ("step", "element"),
    ),
    Rung(
        "adamw_several", "AdamW with several parameters", "Loshchilov and Hutter 2019, algorithm 2",
        (("parameters", "list of arrays of different shapes: the start"),
         ("gradients", "list of S lists: each step's gradients, None for a parameter that has none and stays as it is"),
         ("lr", "float"), ("beta1", "float"), ("beta2", "float"), ("eps", "float"), ("weight_decay", "float")),
        "list of arrays [S, ...]: for each parameter, what it is after each step", ("step", "row", "column"),
    ),
    Rung(
        "warmup_schedule", "warmup schedule", "Devlin et al. 2019, appendix A.2",
        (("step", "int: updates done so far, 0 before the first"), ("warmup_steps", "int"), ("total_steps", "int")),
        "float: what the peak learning rate is multiplied with; 0 at step 0, 1 at warmup_steps, 0 at total_steps",
        double=1e-12, tolerance=1e-6,
    ),
    Rung(
        "clip_gradients", "gradient clipping", "Pascanu et al. 2013, algorithm 1",
        (("gradients", "list of arrays"), ("max_norm", "float: the largest norm of all of them together")),
        "list of arrays", ("index",) * 2, double=1e-6,
    ),
    Rung(
        "accuracy", "accuracy", "scikit-learn's accuracy_score", (LABELS, PREDICTIONS), "float in [0, 1]",
        tolerance=1e-6, double=1e-12,
    ),
    Rung(
        "confusion_matrix", "confusion matrix", "scikit-learn's convention",
        (LABELS, PREDICTIONS, ("num_labels", "int: C")), "[C, C]: rows true, columns predicted",
        ("true", "predicted"), tolerance=1e-6, double=1e-12,
    ),
    Rung(
        "precision_recall_f1", "precision, recall, F1", "van Rijsbergen 1979, chapter 7",
        (LABELS, PREDICTIONS, ("num_labels", "int: C"), ("average", "str: macro (classes weigh the same) or weighted "
         "(by their number of texts)")),
        "(precision, recall, f1): three floats; 0 where a denominator is 0; the average f1 is the average of the "
        "classes' f1", tolerance=1e-6, double=1e-12,
    ),
    Rung(
        "roc_auc", "AUROC", "Hanley and McNeil 1982; Fawcett 2006, section 7",
        (("labels", "[N] int64: 0 or 1"), ("scores", "[N] float: higher means rather 1; ties count half")), "float",
        tolerance=1e-6, double=1e-12,
    ),
    Rung(
        "map_weight_names", "weight names", "google-research/bert and transformers checkpoints",
        (("names", "list of str: the tensors of BERT and DistilBERT checkpoints, old and new"),),
        "list of the same length: the tensor's name in BERT's words, without prefix (encoder.layer.0.attention.self."
        "query.weight; DistilBERT's pre_classifier is pooler.dense), or None for what an encoder with its "
        "classification head has no use for", exact=True,
    ),
    Rung(
        "train", "twenty steps of training", "Devlin et al. 2019, section 4 and appendix A.2",
        (("batches", "list of 20 dicts: input_ids, attention_mask, token_type_ids, labels"), CLASSIFIER_WEIGHTS, CONFIG,
         ("lr", "float: the peak"), ("warmup_steps", "int"), ("weight_decay", "float"), ("max_norm", "float")),
        "[20]: the loss of each batch before its update, dropout off. Per batch: gradients of the mean loss, clipping, "
        "learning rate of this step, AdamW (betas 0.9 and 0.999, eps 1e-8) with decay where parameter_groups says",
        ("step",), tolerance=1e-4, double=1e-6,
    ),
)  # fmt: skip
