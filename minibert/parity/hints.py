"""`--hint 1|2|3 RUNG`: what to look at, the line of the paper, and the fix; each says more than the one before.

The first asks a question that can be answered at the keyboard. The second gives the mathematics and where it stands. The
third is the code. {rung: (look, paper, fix)}
"""

HINTS = {
    "wordpiece": (
        "Print the pieces, not the ids, of `unaffable`, `caf\u00e9` and `don't`. Which rule breaks first: lower case, accents, "
        "punctuation, or the pieces? Then a pair that is too long: which text loses a piece, and is the last [SEP] still there?",
        "Wu et al. 2016, section 4.1, cut words into pieces; BERT's own tokenizer (tokenization.py) is greedy: from the left, "
        "the longest piece in the vocabulary, pieces inside a word with ## in front. If the rest of a word has no piece, the "
        "whole word is one [UNK].",
        "Lower case, then `unicodedata.normalize('NFD', text)` without category Mn, a space around each punctuation mark and "
        "each Chinese character, then `split()`. For each word: `end = len(word)`, shorten `end` until `word[start:end]` is in "
        "the vocabulary, go on from `end`. Cut the longer text one piece at a time before adding [CLS] and [SEP].",
    ),
    "layer_norm": (
        "Take one row of x. After normalising, before weight and bias, what are its mean and its standard deviation? And with a "
        "row that is nearly constant, is it still right? That row shows where eps stands.",
        "Ba et al. 2016, equation 4, with H the number of features: mu = 1/H sum x, sigma^2 = 1/H sum (x - mu)^2. The sum is "
        "divided by H, not by H - 1; in BERT eps joins the variance, under the root.",
        "`mean = x.mean(-1, keepdim=True)`; `variance = ((x - mean) ** 2).mean(-1, keepdim=True)`; "
        "`(x - mean) / (variance + eps).sqrt() * weight + bias`. Not `x.std()`: it divides by H - 1.",
    ),
    "gelu": (
        "What is your function at x = 1 and at x = -1? 0.8413 and -0.1587 are right; 0.8412 and -0.1588 are the tanh "
        "approximation.",
        "Hendrycks and Gimpel 2016, section 2: GELU(x) = x P(X <= x) = x Phi(x) for a standard normal X. Phi is the error "
        "function in disguise: Phi(x) = (1 + erf(x / sqrt 2)) / 2. The paper's tanh formula is an approximation of it.",
        "`0.5 * x * (1 + torch.erf(x / math.sqrt(2)))`; in PyTorch `F.gelu(x)` without `approximate`.",
    ),
    "bert_embeddings": (
        "How many tables are added up, and what happens to the sum? Set two of the tables to 0 in turn and see which part is off.",
        "Devlin et al. 2019, figure 2: the input is the sum of three embeddings, of token, segment and position. The paper does "
        "not mention it, the code does (modeling.py, embedding_postprocessor): LayerNorm follows the sum, then dropout.",
        "`words[input_ids] + positions[torch.arange(T)] + types[token_type_ids]`, then LayerNorm over the features. Positions "
        "are 0, 1, 2, ... in every row, wherever padding is; nothing is multiplied by sqrt(E).",
    ),
    "distilbert_embeddings": (
        "What does BERT add that DistilBERT does not have weights for?",
        "Sanh et al. 2019, section 3: token-type embeddings and the pooler are removed. What is left is as in BERT.",
        "`words[input_ids] + positions[torch.arange(T)]`, then LayerNorm with eps 1e-12 (the configuration does not give it).",
    ),
    "roberta_embeddings": (
        "Which position does the first token have in a text without padding? Not 0. And does padding count?",
        "fairseq, make_positions: padding gets the position padding_idx, real tokens count up from padding_idx + 1. The table "
        "has padding_idx + 1 rows more than a text may have tokens.",
        "`real = input_ids.ne(pad)`; `positions = real.cumsum(1) * real + pad`. All token types are 0, but that row is added.",
    ),
    "attention_probabilities": (
        "Sum your result over its last axis: is every row 1? Is the weight on padded keys 0? Then one head, two tokens, by "
        "hand (--tiny): is the score divided by the right number?",
        "Vaswani et al. 2017, equation 1: softmax(Q K^T / sqrt(d_k)) V, where d_k is the width of one head (section 3.2.2: "
        "d_k = d_model / h). A mask sets scores to minus infinity before the softmax (section 3.2.3).",
        "`scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])`; "
        "`scores = scores.masked_fill(attention_mask[:, None, None, :] == 0, -1e4)`; `scores.softmax(dim=-1)`.",
    ),
    "multi_head_attention": (
        "attention_probabilities is right and this is not? Then look at the way in and out: what are the shapes after the "
        "heads are split, which axis do they sit on, and in which order are they put side by side again?",
        "Vaswani et al. 2017, section 3.2.2: MultiHead = Concat(head_1, ..., head_h) W^O, with head_i = Attention(Q W_i^Q, "
        "K W_i^K, V W_i^V). One [E, E] matrix holds all W_i^Q side by side: features 0 to D - 1 are head 0.",
        "In: `x.view(B, T, H, D).transpose(1, 2)`. Out: `context.transpose(1, 2).reshape(B, T, E)`, then the output projection. "
        "Each linear layer is `x @ weight.T + bias`.",
    ),
    "feed_forward": (
        "What is the last axis of your array after the first linear layer, F or E? Between the two layers stands one function; "
        "is it right by itself (the rung `gelu`)? And after the second layer: is anything left that belongs to `layer`?",
        "Vaswani et al. 2017, equation 2: FFN(x) = max(0, x W1 + b1) W2 + b2. Devlin et al. 2019, appendix A.2: BERT puts GELU "
        "where the ReLU is.",
        "`gelu(x @ W1.T + b1) @ W2.T + b2`, with W1 = intermediate.dense [F, E] and W2 = output.dense [E, F].",
    ),
    "layer": (
        "If attention and feed-forward pass, four things are left: two sums and two LayerNorms. Write down the order in which "
        "your code does them, and what each sum adds to what.",
        "Vaswani et al. 2017, section 3.1: the output of each sub-layer is LayerNorm(x + Sublayer(x)), where x is what that "
        "sub-layer has read. This is post-norm; GPT-2 and most later models normalise first.",
        "`a = norm1(x + attention(x))`; `norm2(a + feed_forward(a))`. norm1 is attention.output.LayerNorm, norm2 is "
        "output.LayerNorm; the second sum adds a, not x.",
    ),
    "distilbert_layer": (
        "The layer is BERT's. Are the names translated rightly: which LayerNorm is sa_layer_norm, which way is lin1?",
        "Sanh et al. 2019, section 3: the architecture of a layer is unchanged. transformers, modeling_distilbert.py: "
        "sa_layer_norm follows self-attention, output_layer_norm the feed-forward.",
        "`a = sa_layer_norm(x + out_lin(attention))`; `output_layer_norm(a + lin2(gelu(lin1(a))))`, eps 1e-12.",
    ),
    "bert_encoder": (
        "The note names the first layer that differs. Are the embeddings right, and the rung `layer`? Then: which layer's "
        "weights are used where, and what does each layer read?",
        "Devlin et al. 2019, section 3: L identical layers, each with weights of its own; each reads what the one before gives.",
        "`states = [embeddings]`; for n in range(L): `states.append(layer(states[-1], mask, weights of encoder.layer.n))`; "
        "return all L + 1.",
    ),
    "distilbert_encoder": (
        "As bert_encoder: which part differs first? The number of layers is called n_layers here.",
        "Sanh et al. 2019, section 3: BERT with half as many layers, without token types and pooler.",
        "The embeddings, then `transformer.layer.0` to `transformer.layer.{n_layers - 1}` in order, each on the one before.",
    ),
    "roberta_encoder": (
        "Do the embeddings pass? Their positions are RoBERTa's only oddity. Is eps the configuration's, 1e-5?",
        "Liu et al. 2019, section 2: the architecture is BERT's. fairseq's positions count from padding_idx + 1.",
        "roberta_embeddings, then BERT's layers with `config['layer_norm_eps']`.",
    ),
    "pooler": (
        "Which token does it read, and what bounds its output? Is any of your numbers larger than 1?",
        "google-research/bert, modeling.py, pooler: the first token's vector, a dense layer, tanh.",
        "`torch.tanh(hidden[:, 0] @ weight.T + bias)`.",
    ),
    "mean_pooling": (
        "A text of two tokens and a thousand of padding: what should the mean be, and what does your code give?",
        "Reimers and Gurevych 2019, section 3: the mean of all output vectors. A padded position is no token: it belongs neither in "
        "the sum nor in the count, (sum of mask * hidden) / (sum of mask).",
        "`mask = attention_mask.unsqueeze(-1)`; `(hidden * mask).sum(1) / mask.sum(1)`.",
    ),
    "bert_head": (
        "How many matrices lie between the last hidden state and the logits, one or two? Does the rung `pooler` pass? And do your "
        "logits sum to 1? They should not.",
        "Devlin et al. 2019, section 4.1: the vector C of [CLS] times W; in the code C is the pooler's output, tanh included.",
        "`pooled @ classifier.weight.T + classifier.bias`; no softmax: the loss wants logits.",
    ),
    "distilbert_head": (
        "Print what lies between its two matrices: is any number negative? BERT's pooler gives some; here there should be none.",
        "transformers, DistilBertForSequenceClassification: pre_classifier, ReLU, dropout, classifier, on the first token.",
        "`relu(hidden[:, 0] @ pre_classifier.weight.T + pre_classifier.bias)`, then classifier.",
    ),
    "roberta_head": (
        "Two matrices on the first token. What is the largest number between them: can it exceed 1, can it be negative? That "
        "tells which activation you have.",
        "fairseq, RobertaClassificationHead: dropout, dense, tanh, dropout, out_proj.",
        "`torch.tanh(hidden[:, 0] @ dense.weight.T + dense.bias)`, then out_proj.",
    ),
    "loss_and_gradients": (
        "Is the loss right? If so, which gradient is off that lies nearest to the loss (classifier, pooler, last layer ...)? Check "
        "one of its numbers: move that weight by 1e-4 both ways and divide the change of the loss by 2e-4.",
        "Mean cross-entropy: its gradient in the logits is (softmax - one-hot) / B. Backwards through y = x W^T + b: dx = dy W, "
        "dW = dy^T x, db = the sum of dy over all tokens. Softmax: dx = p (dp - sum p dp). LayerNorm: both mean and variance "
        "depend on x. A sum hands its gradient to both terms; an embedding adds up the rows of repeated tokens.",
        "With autograd: leaves with requires_grad, `F.cross_entropy(logits, labels)`, `.backward()`, and no `.detach()`, `.data` "
        "or `torch.tensor(x)` on the way. By hand, LayerNorm: `(d - d.mean(-1) - n * (d * n).mean(-1)) / deviation`, with n the "
        "normalised row and d = dy * weight; embeddings: `np.add.at(d_table, ids, d_rows)`.",
    ),
    "bert_embeddings_dropout": (
        "The note says what your code drops. Is it the sum of the tables, or what LayerNorm makes of it? And is it dropped once?",
        "google-research/bert, modeling.py, embedding_postprocessor: layer_norm_and_dropout, in this order.",
        "`dropout(layer_norm(sum))`, once.",
    ),
    "bert_layer_dropout": (
        "The note says what your code drops. BERT drops in three places; name them before you look.",
        "google-research/bert, modeling.py: the attention probabilities, after the softmax; attention's output, after its dense "
        "layer and before it is added; the feed-forward's output, likewise.",
        "`probabilities = dropout(scores.softmax(-1))`; `norm1(x + dropout(attention_output))`; "
        "`norm2(a + dropout(feed_forward_output))`. Nothing between the feed-forward's two matrices.",
    ),
    "distilbert_layer_dropout": (
        "DistilBERT drops in two places of a layer. Which of BERT's three is missing?",
        "transformers, modeling_distilbert.py: the probabilities, and the feed-forward's output (FFN ends in dropout). The "
        "attention's output is added as it is.",
        "`probabilities = dropout(softmax)`; `sa_layer_norm(x + attention)`; `output_layer_norm(a + dropout(feed_forward))`.",
    ),
    "bert_head_dropout": (
        "The note says what your code drops. One place is right: is it before the pooler, or between the pooler and the last "
        "matrix?",
        "google-research/bert, run_classifier.py, create_model: while training, dropout is applied to output_layer, which is the "
        "pooled vector, tanh included; then comes the product with the classifier's weights.",
        "`dropout(pooled) @ classifier.weight.T + classifier.bias`.",
    ),
    "distilbert_head_dropout": (
        "One place. Which of these is it: the first token's vector, what the first matrix makes of it, or what the activation makes "
        "of that? The note says what your code drops.",
        "transformers, DistilBertForSequenceClassification: pre_classifier, ReLU, dropout (seq_classif_dropout), classifier. Dropout "
        "stands right before the last matrix.",
        "`dropout(relu(pre_classifier(first)))`, then classifier.",
    ),
    "roberta_head_dropout": (
        "BERT's head drops once. RoBERTa has no pretrained pooler, so its head has two matrices of its own: how often does it drop? "
        "The note says what your code drops.",
        "fairseq, RobertaClassificationHead.forward: dropout stands before each of the two matrices, on the first token's vector "
        "and on what tanh gives.",
        "`x = dropout(hidden[:, 0])`; `x = dropout(tanh(dense(x)))`; `out_proj(x)`.",
    ),
    "parameter_groups": (
        "For which parameters is 0 a sensible place to be pulled to? What is a LayerNorm's weight when it does nothing?",
        "google-research/bert, optimization.py: exclude_from_weight_decay = LayerNorm, layer_norm, bias.",
        "Decay a name unless it ends in `.bias` or holds `LayerNorm` or `layer_norm`. DistilBERT says sa_layer_norm.",
    ),
    "adamw": (
        "Follow one number through two steps (--tiny adamw). After the first step, how far has it moved? With bias correction "
        "and a small eps that is nearly lr, whatever the gradient is.",
        "Loshchilov and Hutter 2019, algorithm 2, lines 6 to 12: m and v, then m / (1 - beta1^t) and v / (1 - beta2^t), with t "
        "counted from 1; decay is a term of its own beside the quotient, and never enters the gradient.",
        "`p = p - lr * weight_decay * p`; `m = b1 * m + (1 - b1) * g`; `v = b2 * v + (1 - b2) * g * g`; "
        "`p = p - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)`.",
    ),
    "adamw_several": (
        "One parameter is right, several are not: what is kept once that each should have for itself? And what happens to a "
        "parameter without a gradient in some step?",
        "Loshchilov and Hutter 2019, algorithm 2, is for one vector: m, v and t belong to it. torch.optim keeps them in "
        "`self.state[p]`; a parameter whose grad is None is left out, its own t too.",
        "For each p: `state = self.state[p]`, with step, m and v made at its first gradient; `if p.grad is None: continue` (not "
        "return). Compute the corrected rate into a new name: `lr *= ...` would grow from parameter to parameter.",
    ),
    "warmup_schedule": (
        "Write down the factor at step 0, at warmup_steps, and at total_steps. 0, 1 and 0 are right.",
        "Devlin et al. 2019, appendix A.2: warmup, then linear decay of the learning rate. transformers, "
        "get_linear_schedule_with_warmup: the decay starts where the warmup ends.",
        "`step / warmup_steps` below warmup_steps, else `max(0, (total_steps - step) / (total_steps - warmup_steps))`.",
    ),
    "clip_gradients": (
        "Three gradients with norms 3, 4 and 12, a limit of 1.3: how large is each afterwards? (Their joint norm is 13.) And what "
        "happens to gradients that are small already?",
        "Pascanu et al. 2013, algorithm 1: if the norm of the whole gradient exceeds the threshold, scale it to the threshold.",
        "`total = sqrt(sum of (g ** 2).sum())`; `factor = min(1, max_norm / total)`; every gradient times that one factor.",
    ),
    "accuracy": (
        "Three right answers out of four: what does your function return? 0.75 is right; 75, 3 and 0 (a division of whole numbers) "
        "are not.",
        "The mean over texts of a number that is 1 where prediction and label agree, and else 0: right predictions / predictions.",
        "`(labels == predictions).mean()` (in PyTorch `.float()` or `.double()` first).",
    ),
    "confusion_matrix": (
        "A text of class 0 that was taken for class 2: in which cell does it count?",
        "scikit-learn's convention: C[i, j] counts the texts of class i that were predicted to be j.",
        "`matrix = zeros(C, C)`; for each pair `matrix[label, prediction] += 1`, for classes that do not occur, too.",
    ),
    "precision_recall_f1": (
        "Work out both figures for one class on paper: which of them divides by how often the class was predicted? Then the "
        "average: of the classes' own F1, or an F1 of averages?",
        "van Rijsbergen 1979, chapter 7: precision = hits / predicted, recall = hits / true, F1 their harmonic mean; macro: the "
        "plain mean over all num_labels classes; weighted: by the number of true texts. 0 where a denominator is 0.",
        "`precision = diag / matrix.sum(0)`; `recall = diag / matrix.sum(1)`; `f1 = 2 * diag / (matrix.sum(0) + matrix.sum(1))`; "
        "0 where a denominator is 0; then average each of the three.",
    ),
    "roc_auc": (
        "Two positives with scores .9 and .4, two negatives with .4 and .1: of the four pairs, how many are in order? (3, and one "
        "tie: 3.5 / 4.)",
        "Hanley and McNeil 1982: the area is the probability that a random positive scores above a random negative; a tie counts "
        "one half. Fawcett 2006, section 7: equal scores are one step of the curve, a slanted one.",
        "With the scores of the positives in `ones` and of the negatives in `zeros`: `(ones[:, None] > zeros[None, :]).mean() + 0.5 * "
        "(ones[:, None] == zeros[None, :]).mean()` (in PyTorch `.double()` first). From scores, never from predicted classes.",
    ),
    "map_weight_names": (
        "Which kinds of name are in the list: prefixes, gamma and beta, DistilBERT's words, heads of pretraining? Which of them "
        "does your code not change?",
        "google-research/bert calls LayerNorm's weight gamma and its bias beta. DistilBERT: q_lin, k_lin, v_lin, out_lin, lin1, "
        "lin2, sa_layer_norm, output_layer_norm, pre_classifier.",
        "Strip `bert.` and `distilbert.`; gamma is weight, beta is bias; replace DistilBERT's words by BERT's; None for cls.*, "
        "vocab_*, qa_outputs.* and position_ids.",
    ),
    "train": (
        "Which loss is the first that is off? The first one: the model. The second: gradients, clipping or the first update. Later "
        "ones: what is remembered from step to step.",
        "Devlin et al. 2019, appendix A.2, and optimization.py: loss, gradients, clipping by the joint norm, this step's learning "
        "rate, AdamW with decay for matrices only.",
        "Per batch: the rate is `lr * warmup_schedule(step, ...)` with step counted from 0; clip; one AdamW step with t = step + 1, "
        "m and v kept between batches; decay only where parameter_groups says so.",
    ),
}  # fmt: skip


def hint(rung, level):
    """Level 1 to 3 of a rung's hints: (its heading, the text)."""
    headings = ("what to look at", "where it stands", "the fix")
    return headings[level - 1], HINTS[rung.name][level - 1]
