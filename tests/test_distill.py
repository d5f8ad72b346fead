"""A small student from a big teacher: the vocabulary, the losses, the loop, and the command end to end.

First the parts, against figures worked out by hand and slow loops; then runs of a few hundred short texts, on models
of a few thousand parameters.
"""

import json
import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
import torch
from conftest import REFERENCES
from safetensors.torch import load_file
from torch.nn import functional

from minibert import EncoderConfig, distill, load_classifier, load_encoder, load_tokenizer, save_encoder
from minibert.batch import Examples, bucketed_batches
from minibert.distill.loop import Distillation, DistillSettings, Watched
from minibert.distill.losses import hidden_loss, logit_loss, relation_loss
from minibert.distill.student import busiest, neuron_activity, new_student, new_student_head
from minibert.distill.texts import cut_up, read_texts
from minibert.distill.vocabulary import choose_vocabulary, cut_tokenizer
from minibert.head import Classifier
from minibert.load import read_classifier, save_classifier
from minibert.model import Encoder, FeedForward, additive_mask
from minibert.plumbing.files import UserError, read_json
from minibert.plumbing.resume import Progress
from minibert.tokenizer import Tokenizer, from_vocabulary

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).parent.parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
#                     5    6    7      8      9     10      11     12     13
LETTERS = [*SPECIAL, "a", "b", "##a", "##b", "ab", "##ab", "aba", "bab", "[unused0]"]
FULL = (REFERENCES / "vocab.txt").read_text(encoding="utf-8").split()
SMALLEST = len({*SPECIAL, *(token for token in FULL if len(token.removeprefix("##")) == 1)})
WORDS = "the film was fine dull good bad not very play act movie story one is it and of hello world review".split()
LABELS = ["no", "maybe", "yes"]
ALL = range(len(FULL))


def lines(count, seed=0, shortest=3, longest=9):
    """Texts of whole words of the tiny models."""
    choice = random.Random(seed)
    return [" ".join(choice.choices(WORDS, k=choice.randint(shortest, longest))) for _ in range(count)]


def write_lines(path, texts):
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def wordpiece(vocabulary=LETTERS, max_length=64, cls="[CLS]", sep="[SEP]", pad="[PAD]", **config):
    return Tokenizer(from_vocabulary(vocabulary, config), max_length, cls, sep, pad)


def tokens(tokenizer, text):
    return [tokenizer.backend.id_to_token(i) for i in tokenizer.pieces([text])[0]]


def spread(module, seed=0, std=0.4):
    """Random numbers in every parameter, biases and LayerNorm's included: no copy can be forgotten unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, std, generator=generator)
    return module.eval()


def tiny(model_type="distilbert", layers=2, seed=0, **more):
    """An encoder for the reference vocabulary, width 12, with dropout that must never act."""
    types = 2 if model_type == "bert" else 0
    shape = dict(intermediate_size=20, max_position_embeddings=32, type_vocab_size=types, hidden_dropout_prob=0.5)
    return spread(Encoder(EncoderConfig(model_type, len(FULL), 12, layers, 3, **(shape | more))), seed)


def classifier(encoder, pooling, head, seed=5):
    return spread(Classifier(encoder, LABELS, pooling, head), seed, 0.6)


def batch_of(texts=("the film was fine", "dull", "a very very good story"), pairs=None):
    return wordpiece(FULL)(list(texts), pairs)


def save_teacher(model, folder, tokenizer=None, extra=None):
    if isinstance(model, Classifier):
        save_classifier(model, folder, extra)
    else:
        save_encoder(model, folder)
    (tokenizer or wordpiece(FULL)).save(folder)
    return folder


def bare(folder, output):
    """The encoder of a classifier's folder, in a folder of its own."""
    return save_teacher(load_encoder(folder), output, load_tokenizer(folder))


def arguments(teacher, text, output, *more):
    return [
        str(teacher), str(text), "--output", str(output), "--batch-size", "16", "--lr", "3e-3", "--device", "cpu",
        "--precision", "fp32", "--quiet", *map(str, more),
    ]  # fmt: skip


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


# Which pieces stay


@pytest.mark.parametrize(
    "size, added, coverage",
    [(9, [], 1 / 4), (10, [12], 3 / 4), (11, [9, 12], 1.0), (12, [9, 10, 12], 1.0), (13, [9, 10, 11, 12], 1.0)],
)
def test_special_tokens_and_characters_stay_and_the_rest_by_frequency_then_by_id(size, added, coverage):
    texts = ["bab bab ab", "a"]  # bab twice, ab and a once
    assert choose_vocabulary(wordpiece(), texts, size) == ([*range(9), *added], coverage)


@pytest.mark.parametrize("size", [None, 14, 15])
def test_a_size_that_everything_fits_in_keeps_everything(size):
    assert choose_vocabulary(wordpiece(), ["bab"], size) == (list(range(14)), 1.0)


def test_a_size_that_is_too_small_names_the_smallest():
    with pytest.raises(UserError, match="--vocab-size 8: .* are 9$"):
        choose_vocabulary(wordpiece(), ["bab"], 8)


def test_every_text_is_counted_however_many_there_are(monkeypatch):
    monkeypatch.setattr("minibert.distill.vocabulary.CHUNK", 2)
    kept, coverage = choose_vocabulary(wordpiece(), ["aba", "ab", "aba", "bab", "bab", "bab", "bab"], 10)
    assert (kept, coverage) == ([*range(9), 12], 4 / 7)


def test_no_text_at_all_is_no_division_by_zero():
    assert choose_vocabulary(wordpiece(), [], 9) == (list(range(9)), 0.0)


@pytest.mark.parametrize("size", [SMALLEST, SMALLEST + 5, len(FULL) - 1])
def test_nothing_that_the_teacher_can_spell_becomes_unknown(size):
    tokenizer = wordpiece(FULL)
    kept, _ = choose_vocabulary(tokenizer, ["the film was fine"], size)
    cut = cut_tokenizer(tokenizer, kept)
    assert len(kept) == size == cut.backend.get_vocab_size()
    spelled = 0
    for piece in FULL:
        text = "a" + piece[2:] if piece.startswith("##") else piece
        if "[UNK]" not in tokens(tokenizer, text) or piece == "[UNK]":
            assert "[UNK]" not in tokens(cut, text) or piece == "[UNK]", piece
            spelled += 1
    assert spelled > len(FULL) - 10


def test_special_tokens_stay_whatever_they_are_called():
    names = ["ab", "<pad>", "<unk>", "<s>", "</s>", "a", "##b", "b", "##a"]
    tokenizer = wordpiece(names, cls="<s>", sep="</s>", pad="<pad>", unk_token="<unk>")
    kept, _ = choose_vocabulary(tokenizer, ["ab ab"], 8)
    cut = cut_tokenizer(tokenizer, kept)
    assert [cut.backend.id_to_token(i) for i in range(8)] == names[1:]
    assert tokens(cut, "ab ?") == ["a", "##b", "<unk>"]
    assert (cut.pad_id, cut.cls_id, cut.sep_id) == (0, 2, 3)


def test_only_wordpiece_can_be_cut():
    model = tokenizers.models.WordLevel({token: i for i, token in enumerate(LETTERS)}, "[UNK]")
    tokenizer = Tokenizer(tokenizers.Tokenizer(model))
    with pytest.raises(UserError, match="WordPiece.*WordLevel"):
        choose_vocabulary(tokenizer, ["ab"], 10)
    assert choose_vocabulary(tokenizer, ["ab"], 14) == (list(range(14)), 1.0)  # nothing to cut


# The cut tokenizer


@pytest.fixture
def cut():
    """(full tokenizer, kept ids, cut tokenizer): of the longer pieces of the reference vocabulary only WORDS stay."""
    tokenizer = wordpiece(FULL)
    kept, _ = choose_vocabulary(tokenizer, lines(50), SMALLEST + len(WORDS))
    return tokenizer, kept, cut_tokenizer(tokenizer, kept)


def test_pieces_are_renumbered_in_order_and_nothing_else_is_known(cut):
    _, kept, small = cut
    assert small.backend.get_vocab() == {FULL[old]: new for new, old in enumerate(kept)}
    assert "[unused0]" not in small.backend.get_vocab() and kept != list(range(len(kept)))


def test_ids_of_the_cut_tokenizer_are_the_teachers_by_way_of_kept(cut):
    full, kept, small = cut
    texts = ["the film was unaffable", "hello world, naive believable thing", "dull [SEP] ok ??", ""]
    for text, sequence, teachers in zip(texts, small.encode(texts), full.encode(texts), strict=True):
        mapped = [kept[i] for i in sequence.ids]
        assert [FULL[i] for i in mapped] == [small.backend.id_to_token(i) for i in sequence.ids]
        assert (mapped[0], mapped[-1]) == (full.cls_id, full.sep_id)
        spelled, wanted = ("".join(FULL[i] for i in ids).replace("##", "") for ids in (mapped, teachers.ids))
        assert spelled == wanted, text
    assert kept[small.pad_id] == full.pad_id
    assert tokens(small, "the film") == ["the", "film"]  # what stays is used


@pytest.mark.parametrize("token", SPECIAL)
def test_a_special_token_in_the_text_stays_one_token(cut, token):
    full, _, small = cut
    assert tokens(small, f"good{token} bad") == tokens(full, f"good{token} bad") == ["good", token, "bad"]


def test_tokens_added_to_a_vocabulary_later_are_renumbered_too():
    full = wordpiece()
    full.backend.add_special_tokens(["[NEW]"])  # 14
    full.backend.add_tokens(["other", "another"])  # 15, 16
    kept, _ = choose_vocabulary(full, ["ab [NEW] another another"], 12)
    small = cut_tokenizer(full, kept)
    assert kept == [*range(10), 14, 16]
    assert small.pieces(["ab[NEW] another other"])[0][:3] == [9, 10, 11]


@pytest.mark.parametrize("config", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_case_and_accents_are_treated_as_before(config):
    full = wordpiece(FULL, **config)
    small = cut_tokenizer(full, choose_vocabulary(full, ["café"], SMALLEST + 10)[0])
    text = "The CAFÉ 电影"
    assert small.backend.normalizer.normalize_str(text) == full.backend.normalizer.normalize_str(text)


def test_a_cut_tokenizer_saved_and_loaded_is_the_same(cut, tmp_path):
    full, _, small = cut
    small.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.backend.to_str() == small.backend.to_str()
    assert again.max_length == small.max_length == full.max_length == 64
    assert (again.pad_id, again.cls_id, again.sep_id) == (small.pad_id, small.cls_id, small.sep_id)
    assert again.backend.encode("good").tokens == ["[CLS]", "good", "[SEP]"]


# The student


@pytest.mark.parametrize(
    "depth, layers, chosen",
    [(6, 3, [1, 3, 5]), (12, 6, [1, 3, 5, 7, 9, 11]), (6, 4, [0, 2, 3, 5]), (3, 1, [2]), (2, 2, [0, 1])],
)
def test_student_layers_are_copies_of_evenly_spaced_ones_that_end_with_the_last(depth, layers, chosen):
    teacher = tiny(layers=depth)
    student, found = new_student(teacher, layers, ALL)
    assert found == chosen
    assert len(student.layers) == student.config.num_hidden_layers == layers
    for layer, original in zip(student.layers, chosen, strict=True):
        assert same(layer.state_dict(), teacher.layers[original].state_dict())


@pytest.mark.parametrize("layers", [0, 3])
def test_a_student_is_not_deeper_than_its_teacher_nor_empty(layers):
    with pytest.raises(UserError, match=f"--layers {layers}: the teacher has 2"):
        new_student(tiny(), layers, [0, 1])


@pytest.mark.parametrize("neurons", [0, 21])
def test_a_student_has_not_more_neurons_than_its_teacher_nor_none(neurons):
    with pytest.raises(UserError, match=f"--intermediate-size {neurons}: the teacher has 20"):
        new_student(tiny(), 2, ALL, intermediate_size=neurons)


def test_neurons_that_say_the_same_to_every_token_can_go_without_loss():
    """Five of twenty listen to nothing, and are loud; what they say becomes a bias. All others stay, in their order."""
    layer = spread(FeedForward(tiny().config), seed=2)
    deaf = [0, 3, 4, 11, 19]
    with torch.no_grad():
        layer.expand.weight[deaf] = 0
        layer.expand.bias[deaf] = 5.0
    hidden = torch.randn(50, 12, generator=torch.Generator().manual_seed(1))
    activation = layer.activation(layer.expand(hidden)).detach()
    state = busiest(layer, 15, activation.mean(0), activation.var(0, unbiased=False))
    stay = [i for i in range(20) if i not in deaf]
    assert torch.equal(state["expand.weight"], layer.expand.weight[stay])
    assert torch.equal(state["expand.bias"], layer.expand.bias[stay])
    narrow = FeedForward(tiny(intermediate_size=15).config)
    narrow.load_state_dict(state)
    assert torch.allclose(narrow(hidden), layer(hidden), atol=1e-4)
    narrow.contract.bias.data = layer.contract.bias.data
    assert (narrow(hidden) - layer(hidden)).abs().max() > 1


def test_a_neuron_counts_by_what_it_adds_and_not_by_its_activation_alone():
    layer = FeedForward(tiny(intermediate_size=3).config)
    with torch.no_grad():
        layer.contract.weight[:] = torch.tensor([0.1, 3.0, 1.0])
    state = busiest(layer, 1, torch.zeros(3), torch.tensor([100.0, 1.0, 4.0]))  # adds 12 x 1, 9 and 4
    assert torch.equal(state["expand.weight"], layer.expand.weight[1:2])


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_activity_is_taken_over_real_tokens_of_all_batches(model_type):
    encoder = tiny(model_type, layers=3).train()
    batches = [batch_of(), batch_of(["one", "a good film of the hello world"], ["it is", "not"])]
    activity = neuron_activity(encoder, batches)
    assert len(activity) == 3
    for index, (mean, variance) in enumerate(activity):
        each = []
        for batch in batches:
            with torch.no_grad():
                below = encoder(*batch, return_all=True)[index]
                layer, mask = encoder.layers[index], batch.attention_mask
                attended, _ = layer.attention(below, additive_mask(mask, below.dtype))
                expanded = layer.feed_forward.expand(layer.attention_norm(below + attended))
                each.append(functional.gelu(expanded)[mask.bool()])
        assert torch.allclose(mean, torch.cat(each).mean(0), atol=1e-5)
        assert torch.allclose(variance, torch.cat(each).var(0, unbiased=False), rtol=1e-3, atol=1e-5)
    assert not any(layer.feed_forward.expand._forward_hooks for layer in encoder.layers)


def test_a_narrow_student_is_the_teacher_with_fewer_neurons():
    teacher, batches = tiny("bert", layers=3), [batch_of()]
    whole, _ = new_student(teacher, 2, ALL)
    activity = neuron_activity(teacher, batches)
    student, layers = new_student(teacher, 2, ALL, intermediate_size=8, activity=activity)
    assert student.config.intermediate_size == 8 and layers == [0, 2]
    for ours, theirs, original in zip(student.layers, whole.layers, layers, strict=True):
        expected = theirs.state_dict()
        part = busiest(theirs.feed_forward, 8, *activity[original])
        expected |= {f"feed_forward.{name}": tensor for name, tensor in part.items()}
        assert same(ours.state_dict(), expected)
    assert same(student.embeddings.state_dict(), whole.embeddings.state_dict())


def test_a_whole_distilbert_copy_gives_the_very_hidden_states(tiny_distilbert):
    teacher, batch = load_encoder(tiny_distilbert), batch_of()
    student, _ = new_student(teacher, 2, ALL)
    with torch.no_grad():
        pairs = list(zip(student(*batch[:2], return_all=True), teacher(*batch[:2], return_all=True), strict=True))
    assert len(pairs) == 3 and all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_whole_bert_copy_gives_the_hidden_states_of_a_text_on_its_own(tiny_bert):
    """Type 0's vector moves into the positions."""
    teacher, batch = load_encoder(tiny_bert), batch_of()
    student, _ = new_student(teacher, 2, ALL)
    assert student.config.model_type == "distilbert"
    assert student.pooler is None and student.embeddings.token_type is None
    real = batch.attention_mask.bool()
    with torch.no_grad():
        for ours, theirs in zip(student(*batch[:2], return_all=True), teacher(*batch, return_all=True), strict=True):
            assert (ours - theirs)[real].abs().max() <= 1e-6 * theirs.abs().max()


def test_word_vectors_follow_the_kept_pieces():
    teacher, kept = tiny("bert"), [0, 2, 3, 4, 130, 80]
    student, _ = new_student(teacher, 1, kept)
    assert torch.equal(student.embeddings.word.weight, teacher.embeddings.word.weight[kept])
    assert student.config.vocab_size == 6


def test_padding_has_the_students_number_of_it():
    student, _ = new_student(tiny(), 1, [2, 5, 0], pad_id=2)
    assert student.config.pad_token_id == student.embeddings.word.padding_idx == 2


def test_teacher_and_student_share_no_memory():
    teacher = tiny("bert")
    before = copy_of(teacher)
    student, _ = new_student(teacher, 2, ALL)
    spread(student, seed=1)
    assert same(before, teacher.state_dict())


def test_a_random_start_has_nothing_of_the_teacher_but_its_shape():
    teacher = tiny(layers=4)
    torch.manual_seed(3)
    student, layers = new_student(teacher, 2, ALL, "random")
    torch.manual_seed(3)
    again, _ = new_student(teacher, 2, ALL, "random")
    assert layers == [1, 3]
    assert same(student.state_dict(), again.state_dict())
    copied, _ = new_student(teacher, 2, ALL)
    for (name, ours), theirs in zip(student.named_parameters(), copied.parameters(), strict=True):
        assert ours.shape == theirs.shape and not torch.equal(ours, theirs), name
    assert student.embeddings.word.weight.std().item() == pytest.approx(teacher.config.initializer_range, rel=0.1)


def test_a_saved_student_computes_what_it_computed_before(tmp_path):
    """DistilBERT's config.json has no place for a LayerNorm epsilon: it is 1e-12."""
    student, _ = new_student(tiny("bert", layer_norm_eps=1e-2), 1, ALL)
    save_encoder(student, tmp_path)
    batch = batch_of()[:2]
    with torch.no_grad():
        assert torch.equal(load_encoder(tmp_path)(*batch), student.eval()(*batch))


@pytest.mark.parametrize("pooling, head", [("cls", "mlp"), ("cls", "linear"), ("mean", "mlp"), ("mean", "linear")])
def test_a_students_head_is_the_teachers(pooling, head):
    teacher = classifier(tiny(), pooling, head)
    student = new_student_head(teacher, new_student(teacher.encoder, 2, ALL)[0]).eval()
    assert (student.pooling, student.head_name, student.label_names) == (pooling, head, LABELS)
    with torch.no_grad():
        assert torch.equal(student(*batch_of()[:2]), teacher(*batch_of()[:2]))


def test_berts_pooler_becomes_distilberts_dense_layer():
    teacher = classifier(tiny("bert"), "pooler", "linear")
    student = new_student_head(teacher, new_student(teacher.encoder, 2, ALL)[0])
    assert student.is_native and student.label_names == LABELS
    assert same(student.head.dense.state_dict(), teacher.encoder.pooler.dense.state_dict())
    assert same(student.head.output.state_dict(), teacher.head.output.state_dict())


# The losses


def test_hidden_loss_by_hand():
    mask = torch.ones(2, 1)
    ours = torch.tensor([[[1.0]], [[0.0]]])
    theirs = torch.tensor([[[2.0]], [[1.0]]])
    assert hidden_loss([ours], [theirs], mask).item() == pytest.approx(2 / 5)  # (1 + 1) / (4 + 1)
    assert hidden_loss([ours, theirs], [theirs, ours], mask).item() == pytest.approx((2 / 5 + 2 / 1) / 2)


def test_answering_0_everywhere_scores_1():
    theirs = [torch.randn(2, 3, 4) * 10**i for i in range(3)]
    assert hidden_loss([torch.zeros(2, 3, 4)] * 3, theirs, torch.tensor([[1, 1, 1], [1, 0, 0]])).item() == 1.0


def test_relation_loss_by_hand():
    """One head of width 1. Teacher: the second token resembles itself three times as much. Student: all alike."""
    theirs = torch.tensor([[[0.0], [math.log(3) ** 0.5]]])  # relations 1/2 1/2 and 1/4 3/4
    ours, mask = torch.zeros(1, 2, 1), torch.ones(1, 2)
    expected = (0 + 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)) / 2
    assert relation_loss([ours], [theirs], mask, 1).item() == pytest.approx(expected, abs=1e-6)
    assert relation_loss([ours, ours], [theirs, ours], mask, 1).item() == pytest.approx(expected / 2, abs=1e-6)


def slow_relation_loss(student, teacher, lengths, num_heads):
    """MiniLMv2's equation, one token at a time."""
    kinds = []
    for ours, theirs in zip(student, teacher, strict=True):
        width = ours.shape[-1] // num_heads
        total = count = 0
        for text, length in enumerate(lengths):
            for head in range(num_heads):
                for token in range(length):
                    relations = []
                    for x in (ours, theirs):
                        vectors = x[text, :length, head * width : (head + 1) * width].tolist()
                        mine = vectors[token]
                        dots = [sum(a * b for a, b in zip(mine, other, strict=True)) for other in vectors]
                        exps = [math.exp(dot / width**0.5) for dot in dots]
                        relations.append([e / sum(exps) for e in exps])
                    total += sum(p * math.log(p / q) for q, p in zip(*relations, strict=True))
                    count += 1
        kinds.append(total / count)
    return sum(kinds) / len(kinds)


def padded_states(kinds, seed=0):
    """Three texts of 5, 3 and 1 tokens, width 6: (student, teacher, mask)."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        [torch.randn(3, 5, 6, generator=generator, dtype=torch.float64) for _ in range(kinds)] for _ in range(2)
    )
    return student, teacher, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_relation_loss_is_the_papers_equation(num_heads):
    student, teacher, mask = padded_states(3)
    expected = slow_relation_loss(student, teacher, [5, 3, 1], num_heads)
    assert relation_loss(student, teacher, mask, num_heads).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [hidden_loss, lambda *states: relation_loss(*states, 2)], ids=["hidden", "relations"])
def test_padding_does_not_matter(loss):
    student, teacher, mask = padded_states(2)
    expected = loss(student, teacher, mask).item()
    padding = (mask == 0).unsqueeze(-1)
    for ours, theirs in ((7.0, 0.0), (0.0, -7.0), (3.0, 3.0)):
        changed = [x.masked_fill(padding, ours) for x in student], [x.masked_fill(padding, theirs) for x in teacher]
        assert loss(*changed, mask).item() == pytest.approx(expected, rel=1e-9)
    longer = [[functional.pad(x, (0, 0, 0, 4), value=2.0) for x in side] for side in (student, teacher)]
    assert loss(*longer, functional.pad(mask, (0, 4))).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [hidden_loss, lambda *states: relation_loss(*states, 2)], ids=["hidden", "relations"])
def test_equal_states_score_0_and_others_more(loss):
    student, teacher, mask = padded_states(2)
    assert loss(teacher, teacher, mask).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher, mask).item() > 0.1
    assert loss(teacher[:1] + student[1:], teacher, mask).item() > 0.1  # each of them counts


def test_logit_loss_by_hand():
    theirs = torch.tensor([[2 * math.log(3), 0.0], [0.0, 0.0]])  # at temperature 2: 3/4 1/4, and 1/2 1/2
    expected = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5) + 0) / 2 * 4
    assert logit_loss(torch.zeros(2, 2), theirs, 2.0).item() == pytest.approx(expected, abs=1e-6)
    assert logit_loss(theirs, theirs, 2.0).item() == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_logit_loss_is_torchs_kl_div(temperature):
    ours, theirs = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double().split(2)
    expected = functional.kl_div(
        (ours / temperature).log_softmax(1), (theirs / temperature).softmax(1), reduction="batchmean"
    )
    assert logit_loss(ours, theirs, temperature).item() == pytest.approx(expected.item() * temperature**2, rel=1e-6)


def test_losses_of_half_precision_states_are_computed_in_fp32():
    student, teacher, mask = padded_states(1)
    ours, theirs = student[0].bfloat16(), teacher[0].bfloat16()
    assert hidden_loss([ours], [theirs], mask) == hidden_loss([ours.float()], [theirs.float()], mask)
    assert logit_loss(ours[0], theirs[0], 2.0) == logit_loss(ours[0].float(), theirs[0].float(), 2.0)
    alone = relation_loss([ours[:, :3]], [theirs[:, :3]], torch.ones(3, 3), 2)
    padded = relation_loss([ours], [theirs], torch.tensor([[1, 1, 1, 0, 0]] * 3), 2)
    assert alone.dtype == torch.float32 and alone.item() == pytest.approx(padded.item(), rel=1e-5)


# Teacher and student side by side


def test_what_is_watched_is_the_models_own():
    model, batch = classifier(tiny("bert", layers=3), "mean", "linear"), batch_of(pairs=["a film", "it is", "one"])
    with torch.no_grad():
        states, relations, logits = Watched(model)(*batch)
        expected = model.encoder(*batch, return_all=True)
        attention = model.encoder.layers[-1].attention
        for ours, layer in zip(relations, (attention.query, attention.key, attention.value), strict=True):
            assert torch.equal(ours, layer(expected[-2]))
        assert len(states) == 4 and all(map(torch.equal, states, expected))
        assert torch.equal(logits, model(*batch))
        assert Watched(model.encoder)(*batch)[2] is None


def side_by_side(teacher, layers=2, kept=ALL, **settings):
    encoder = teacher.encoder if isinstance(teacher, Classifier) else teacher
    student, chosen = new_student(encoder, layers, kept)
    if isinstance(teacher, Classifier):
        student = new_student_head(teacher, student)
    names = "hidden,relations,logits" if isinstance(teacher, Classifier) else "hidden,relations"
    settings = DistillSettings(layers, 20, len(kept), **({"losses": names} | settings))
    return Distillation(teacher, student.eval(), chosen, kept, settings, CPU)


def test_a_student_that_is_the_teacher_has_nothing_to_learn():
    """With a cut vocabulary, too: the teacher is given its own numbers for the student's pieces."""
    tokenizer = wordpiece(FULL)
    kept, _ = choose_vocabulary(tokenizer, ["the film"], SMALLEST + 5)
    pair = side_by_side(classifier(tiny(), "cls", "mlp"), kept=kept)
    losses = pair.losses(cut_tokenizer(tokenizer, kept)(["the film was fine", "unaffable naive hello, world"]))
    assert list(losses) == ["hidden", "relations", "logits"]
    assert max(loss.item() for loss in losses.values()) < 1e-6
    spread(pair.student.model, seed=9)
    losses = pair.losses(cut_tokenizer(tokenizer, kept)(["the film was fine"]))
    assert min(loss.item() for loss in losses.values()) > 1e-3


def test_the_teacher_is_told_which_text_of_a_pair_a_token_is_in():
    pair = side_by_side(tiny("bert"))
    assert pair.losses(batch_of())["hidden"].item() < 1e-6  # a student knows no types
    assert pair.losses(batch_of(pairs=["a film", "it is", "one"]))["hidden"].item() > 1e-3


def test_each_student_layer_is_held_against_the_layer_it_stands_for():
    teacher, batch = tiny(layers=4), batch_of()
    pair = side_by_side(teacher)
    with torch.no_grad():
        states = teacher(*batch[:2], return_all=True)
        ours = pair.student.model(*batch[:2], return_all=True)
        expected = hidden_loss([ours[1], ours[2]], [states[2], states[4]], batch.attention_mask)
    assert pair.losses(batch)["hidden"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_only_the_losses_that_were_asked_for_are_computed():
    model = classifier(tiny(), "cls", "mlp")
    for names in ("hidden", "relations,hidden", "logits"):
        assert set(side_by_side(model, losses=names).losses(batch_of())) == set(names.split(","))


def test_the_temperature_reaches_the_logits():
    teacher, batch = classifier(tiny(), "cls", "mlp"), batch_of()
    for temperature in (1.0, 4.0):
        pair = side_by_side(teacher, layers=1, temperature=temperature)
        with torch.no_grad():
            expected = logit_loss(pair.student.model(*batch[:2]), teacher(*batch[:2]), temperature)
        assert pair.losses(batch)["logits"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_teacher_gets_no_gradient():
    teacher = tiny()
    sum(side_by_side(teacher, layers=1).losses(batch_of()).values()).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_held_out_losses_are_means_over_texts(monkeypatch):
    pair = side_by_side(tiny(), losses="hidden")
    values = iter([1.0, 4.0])
    monkeypatch.setattr(distill, "EVALUATION_TOKENS", {"cpu": 8})  # batches of two texts and of one
    monkeypatch.setattr(pair, "losses", lambda batch: {"hidden": torch.tensor(next(values))})
    examples = Examples(wordpiece(FULL).encode(["film", "good bad", "dull"]), [0] * 3)
    assert pair.evaluate(examples) == {"hidden": 2.0}  # two texts of 1, one of 4


# The loop


def encoded(texts):
    sequences = wordpiece(FULL).encode(texts)
    return Examples(sequences, [0] * len(sequences))


def test_the_loop_is_torchs_adamw_clipped_and_warmed_up_without_dropout():
    """The same batches through PyTorch's own parts; weights after four epochs, the last batch of each short."""
    examples = encoded(lines(37))
    settings = dict(batch_size=8, epochs=4, lr=1e-2, weight_decay=0.3, warmup=0.2, seed=7)
    pair = side_by_side(tiny(layers=3), layers=1, **settings)
    plain = side_by_side(tiny(layers=3), layers=1, **settings)
    start = copy_of(pair.student.model)
    for model in (pair.teacher.model, pair.student.model):
        model.train()  # whatever mode they come in
    progress = distill.distill(pair, examples, encoded(["film"]), pair.settings, quiet=True)
    assert (progress.epoch, progress.update) == (4, 20)

    model = plain.student.model
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}])
    update, norms = 0, []
    for epoch in range(4):
        for batch in bucketed_batches(examples.lengths, 8, 7, epoch):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (update / 4 if update < 4 else (20 - update) / 16)
            losses = plain.losses(examples.inputs(batch))
            (losses["hidden"] + losses["relations"]).backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            optimizer.zero_grad()
            update += 1
    assert min(norms) < 1 < max(norms)  # some are clipped
    for name, parameter in pair.student.model.named_parameters():
        torch.testing.assert_close(parameter, dict(model.named_parameters())[name], atol=1e-5, rtol=1e-4)
        assert not torch.equal(parameter, start[name]), name


def test_training_leaves_the_teacher_as_it_was():
    teacher = classifier(tiny("bert"), "pooler", "linear")
    before = copy_of(teacher)
    pair = side_by_side(teacher, lr=1e-2, epochs=1, batch_size=8)
    student = copy_of(pair.student.model)
    distill.distill(pair, encoded(lines(20)), encoded(["film"]), pair.settings, quiet=True)
    assert same(before, teacher.state_dict())
    assert not same(student, pair.student.model.state_dict())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_fp32_does(precision, monkeypatch):
    losses, norms, clip = {}, [], distill.clip_divisor

    def clip_and_note(*rest):
        divisor, norm = clip(*rest)
        norms.append(norm.item())
        return divisor, norm

    monkeypatch.setattr(distill, "clip_divisor", clip_and_note)
    for name in ("fp32", precision):
        pair = side_by_side(tiny(layers=3), layers=1, lr=1e-2, epochs=4, batch_size=16, precision=name, losses="hidden")
        log = []
        distill.distill(pair, encoded(lines(120)), encoded(lines(20, 1)), pair.settings, log=log.append, quiet=True)
        losses[name] = [record["held_out_hidden"] for record in log if "held_out_hidden" in record]
    half, full = losses[precision], losses["fp32"]
    assert full[-1] < 0.7 * full[0]
    assert 0 < abs(half[0] - full[0]) < 0.02 * full[0]  # more than 0: the setting reached the forward passes
    assert half[-1] == pytest.approx(full[-1], rel=0.05)
    assert norms[len(norms) // 2] == pytest.approx(norms[0], rel=0.02)  # what is clipped is not scaled


def test_the_log_has_the_mean_loss_since_its_last_line(monkeypatch):
    monkeypatch.setattr(distill, "LOG_EVERY", 2)
    pair = side_by_side(tiny(), layers=1, batch_size=4, epochs=2, losses="hidden")
    seen, log, losses = [], [], pair.losses

    def noting(batch):
        result = losses(batch)
        if torch.is_grad_enabled():
            seen.append(result["hidden"].item())
        return result

    monkeypatch.setattr(pair, "losses", noting)
    distill.distill(pair, encoded(lines(20)), encoded(["film"]), pair.settings, log=log.append, quiet=True)
    logged = [(r["epoch"], r["update"], r["hidden"]) for r in log if "hidden" in r]
    assert [entry[:2] for entry in logged] == [(1, 2), (1, 4), (1, 5), (2, 6), (2, 8), (2, 10)]  # an epoch's end, too
    expected = [sum(seen[a:b]) / (b - a) for a, b in ((0, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 10))]
    assert [entry[2] for entry in logged] == pytest.approx(expected, abs=2e-6)
    rates = [record["learning_rate"] for record in log if "hidden" in record]
    assert rates == pytest.approx([pair.settings.lr * (10 - update) / 10 for update in (1, 3, 4, 5, 7, 9)])
    assert [(r["epoch"], r["update"]) for r in log if "held_out_hidden" in r] == [(0, 0), (1, 5), (2, 10)]


def test_a_loss_that_is_not_finite_stops_the_run(monkeypatch):
    monkeypatch.setattr(distill, "hidden_loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    pair = side_by_side(tiny(), losses="hidden", batch_size=4)
    with pytest.raises(UserError, match="update 5; try a smaller --lr"):
        distill.distill(pair, encoded(lines(20)), encoded(["film"]), pair.settings, quiet=True)


# The texts


def test_a_long_text_is_cut_up_and_nothing_of_it_lost():
    tokenizer = wordpiece()
    sequences = cut_up(tokenizer, ["ab ab bab aba a", "", "ab bab ab bab"], 6)
    assert [sequence.ids.tolist() for sequence in sequences] == [
        [2, 9, 9, 12, 11, 3], [2, 5, 3], [2, 3], [2, 9, 12, 9, 12, 3],
    ]  # fmt: skip
    assert all(sequence.first_length == len(sequence.ids) for sequence in sequences)


def test_texts_beyond_the_first_chunk_are_cut_up_too(monkeypatch):
    monkeypatch.setattr(distill, "CHUNK", 2)
    assert [s.ids[1] for s in cut_up(wordpiece(), ["a", "b", "ab", "aba", "bab"], 5)] == [5, 6, 9, 11, 12]


def test_a_text_file_has_a_text_a_line_and_blank_lines_are_none(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"\xef\xbb\xbfgood film\r\n\n \nbad\xe2\x80\xa8one\n")
    assert read_texts(tmp_path / "texts.txt") == (["good film", "bad\u2028one"], None)
    assert read_texts(tmp_path / "texts.txt", limit=1) == (["good film"], None)


def test_of_a_task_the_training_and_validation_texts_are_read_and_never_the_test_texts(tmp_path):
    for part in ("train", "validation", "test"):
        rows = [f"{part} {i},{part} pair {i},{i % 2}" for i in range(4)]
        write_lines(tmp_path / f"{part}.csv", ["text,text_pair,label", *rows])
    texts, pairs = read_texts(str(tmp_path))
    assert texts == [f"{part} {i}" for part in ("train", "validation") for i in range(4)]
    assert pairs == [f"{part} pair {i}" for part in ("train", "validation") for i in range(4)]
    assert len(read_texts(str(tmp_path), limit=2)[0]) == 2 + 4


# The command, up to the loop


@pytest.fixture
def seen(monkeypatch):
    """What the command hands to the loop, which then does nothing."""
    found = {}

    def loop(distillation, examples, held_out, settings, *rest):
        found.update(pair=distillation, examples=examples, held_out=held_out, settings=settings)
        return Progress()

    monkeypatch.setattr(distill, "distill", loop)
    return found


@pytest.fixture
def teacher(tmp_path):
    return save_teacher(tiny("bert", layers=4), tmp_path / "teacher")


@pytest.fixture
def text(tmp_path):
    return write_lines(tmp_path / "texts.txt", lines(40))


def test_one_text_in_a_hundred_is_held_out_and_not_trained_on(seen, teacher, tmp_path):
    texts = lines(250)
    distill.main(arguments(teacher, write_lines(tmp_path / "texts.txt", texts), tmp_path / "run"))
    everything = [sequence.ids.tolist() for sequence in load_tokenizer(tmp_path / "run").encode(texts)]
    assert [s.ids.tolist() for s in seen["held_out"].sequences] == [everything[i] for i in (0, 100, 200)]
    rest = [ids for i, ids in enumerate(everything) if i % 100]
    assert [s.ids.tolist() for s in seen["examples"].sequences] == rest


def test_a_student_has_half_the_layers_and_all_pieces_unless_told_otherwise(seen, teacher, text, tmp_path):
    distill.main(arguments(teacher, text, tmp_path / "a"))
    assert seen["pair"].layers == [1, 3] and seen["pair"].kept.tolist() == [*ALL]
    distill.main(arguments(teacher, text, tmp_path / "b", "--layers", 3, "--vocab-size", 110))
    assert seen["pair"].layers == [0, 1, 3] and len(seen["pair"].kept) == 110
    assert load_encoder(tmp_path / "b").config.vocab_size == 110


def test_every_flag_reaches_the_loop(seen, teacher, text, tmp_path):
    flags = {
        "layers": 3, "intermediate_size": 7, "vocab_size": 100, "initialization": "random", "losses": "relations",
        "epochs": 7, "batch_size": 5, "max_length": 9, "lr": 0.25, "weight_decay": 0.125, "warmup": 0.5, "seed": 11,
        "precision": "bf16", "temperature": 3.5,
    }  # fmt: skip
    more = [item for name, value in flags.items() for item in (f"--{name.replace('_', '-')}", value)]
    distill.main(arguments(teacher, text, tmp_path / "run", *more))
    settings = seen["settings"]
    assert {name: getattr(settings, name) for name in flags} == flags
    assert read_json(tmp_path / "run" / "settings.json").items() >= flags.items()
    assert seen["examples"].lengths.max() == 9
    copied, _ = new_student(load_encoder(teacher), 3, seen["pair"].kept.tolist())
    ours, theirs = (model.layers[0].attention.state_dict() for model in (seen["pair"].student.model, copied.half()))
    assert not same(ours, theirs)


def test_the_busiest_neurons_are_those_of_the_text_that_is_trained_on(seen, teacher, tmp_path):
    """Of 600 texts, less 6 held out, every second is looked at; the teacher reads them by its own numbers."""
    texts = lines(600)
    more = ["--intermediate-size", 9, "--vocab-size", 110, "--layers", 4, "--full-precision"]
    distill.main(arguments(teacher, write_lines(tmp_path / "texts.txt", texts), tmp_path / "run", *more))
    trained = [text for i, text in enumerate(texts) if i % 100]
    small = load_tokenizer(tmp_path / "run")
    kept = seen["pair"].kept
    batches = [(kept[ids], mask, types) for ids, mask, types in (small([text]) for text in trained[::2])]
    activity = neuron_activity(load_encoder(teacher), batches)
    expected, _ = new_student(load_encoder(teacher), 4, kept.tolist(), intermediate_size=9, activity=activity)
    student = load_encoder(tmp_path / "run")
    assert student.config.intermediate_size == 9
    for (name, ours), theirs in zip(student.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_seeds_give_different_random_starts(seen, teacher, text, tmp_path):
    weights = []
    for i, seed in enumerate((1, 1, 2)):
        distill.main(arguments(teacher, text, tmp_path / str(i), "--initialization", "random", "--seed", seed))
        weights.append(seen["pair"].student.model.embeddings.word.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_random_start_of_a_classifier_has_a_fresh_head(seen, text, tmp_path):
    teacher = save_teacher(classifier(tiny(), "cls", "mlp"), tmp_path / "teacher")
    for start in ("teacher", "random"):
        more = ["--initialization", start, "--full-precision"]
        distill.main(arguments(teacher, text, tmp_path / f"from-{start}", *more))
        ours, theirs = seen["pair"].student.model.head.state_dict(), seen["pair"].teacher.model.head.state_dict()
        assert same(ours, theirs) == (start == "teacher")


def test_a_limit_is_a_number_of_texts(seen, teacher, text, tmp_path):
    distill.main(arguments(teacher, text, tmp_path / "run", "--limit", 10))
    assert len(seen["held_out"]) + len(seen["examples"]) == 10


def test_a_built_in_task_is_read_from_a_local_copy(seen, teacher, tmp_path):
    messages = [f"{'spam' if i % 3 else 'ham'}\t{message}" for i, message in enumerate(lines(60))]
    write_lines(tmp_path / "SMSSpamCollection", messages)
    distill.main(arguments(teacher, "sms-spam", tmp_path / "run", "--data", tmp_path))
    assert 30 < len(seen["held_out"]) + len(seen["examples"]) < 60  # all but the test texts
    assert read_json(tmp_path / "run" / "settings.json")["source"] == "sms-spam"


def test_texts_longer_than_the_model_are_cut_to_its_positions(seen, teacher, tmp_path):
    text = write_lines(tmp_path / "texts.txt", ["good " * 75, "bad"])
    distill.main(arguments(teacher, text, tmp_path / "run"))
    lengths = [*seen["held_out"].lengths, *seen["examples"].lengths]
    assert lengths == [32, 32, 17, 3]  # 30 + 30 + 15 pieces, and one


def test_padding_is_numbered_by_each_vocabulary(seen, text, tmp_path):
    """A teacher that pads with piece 3, in a student's vocabulary that has lost a piece before it."""
    order = ["naive", "[UNK]", "[CLS]", "[PAD]", *(token for token in FULL if token not in ("naive", *SPECIAL[:3]))]
    teacher = save_teacher(tiny(pad_token_id=3), tmp_path / "teacher", wordpiece(order))
    distill.main(arguments(teacher, text, tmp_path / "run", "--vocab-size", 110))
    assert load_encoder(tmp_path / "run").config.pad_token_id == load_tokenizer(tmp_path / "run").pad_id == 2
    assert seen["examples"].pad_id == seen["held_out"].pad_id == 2
    assert seen["pair"].kept[2] == 3


def pairs_file(path, count=12):
    rows = [f"{lines(count)[i]},{lines(count, 1)[i]},{i % 2}" for i in range(count)]
    return write_lines(path, ["text,text_pair,label", *rows])


def test_a_bare_encoder_reads_both_texts_of_a_pair_each_on_its_own(seen, teacher, tmp_path):
    path = pairs_file(tmp_path / "pairs.csv")
    distill.main(arguments(teacher, path, tmp_path / "run"))
    texts, pairs = read_texts(path)
    sequences = [*seen["held_out"].sequences, *seen["examples"].sequences]
    assert len(sequences) == len(texts) + len(pairs) > len(texts)
    assert all(sequence.first_length == len(sequence.ids) for sequence in sequences)


def test_a_classifier_reads_pairs_as_pairs(seen, tiny_bert, tmp_path):
    path = pairs_file(tmp_path / "pairs.csv")
    distill.main(arguments(tiny_bert, path, tmp_path / "run", "--vocab-size", 120))
    texts, pairs = read_texts(path)
    expected = load_tokenizer(tmp_path / "run").encode(texts, pairs)
    sequences = [*seen["held_out"].sequences, *seen["examples"].sequences]
    assert [(s.ids.tolist(), s.first_length) for s in sequences] == [(s.ids.tolist(), s.first_length) for s in expected]


def test_both_texts_of_a_pair_say_which_pieces_stay(seen, tiny_bert, tmp_path):
    path = write_lines(tmp_path / "pairs.csv", ["text,text_pair,label", *(f"film {i},story,{i % 2}" for i in range(9))])
    distill.main(arguments(tiny_bert, path, tmp_path / "run", "--vocab-size", SMALLEST + 2))
    assert {"film", "story"} < load_tokenizer(tmp_path / "run").backend.get_vocab().keys()


def test_a_classifier_sees_as_much_of_a_text_as_it_was_trained_on(seen, tmp_path):
    """The end of it, of one; a bare encoder would read all of it, in parts."""
    model = classifier(tiny("bert"), "mean", "linear")
    teacher = save_teacher(model, tmp_path / "teacher", extra={"max_length": 6, "truncation": "tail", "pairs": False})
    text = write_lines(tmp_path / "texts.txt", ["good " * 9 + "the dull story", "bad"])
    distill.main(arguments(teacher, text, tmp_path / "run"))
    tokenizer = load_tokenizer(tmp_path / "run")
    ids = seen["held_out"].sequences[0].ids
    assert [tokenizer.backend.id_to_token(i) for i in ids] == ["[CLS]", "good", "the", "dull", "story", "[SEP]"]
    student = load_classifier(tmp_path / "run")
    assert (student.max_length, student.truncation) == (6, "tail")


@pytest.mark.parametrize(
    "family, pooling, head",
    [("bert", "pooler", "linear"), ("bert", "cls", "mlp"), ("bert", "mean", "linear"), ("distilbert", "mean", "mlp")],
)
def test_the_student_of_any_classifier_opens_again(seen, family, pooling, head, text, tmp_path):
    extra = {"max_length": 20, "truncation": "head", "seed": 0, "pairs": False}
    teacher = save_teacher(classifier(tiny(family), pooling, head), tmp_path / "teacher", extra=extra)
    distill.main(arguments(teacher, text, tmp_path / "run", "--vocab-size", 110, "--full-precision"))
    student, again = read_classifier(tmp_path / "run")
    assert again.items() >= extra.items()
    assert same(student.state_dict(), seen["pair"].student.model.state_dict())
    assert load_classifier(tmp_path / "run").predict(["good film"])[0] in LABELS


def test_a_run_says_what_it_makes_of_what(teacher, text, tmp_path, capsys):
    options = arguments(teacher, text, tmp_path / "run", "--layers", 1, "--vocab-size", 110, "--epochs", 1)
    options.remove("--quiet")
    distill.main(options)
    printed = capsys.readouterr().out
    size = sum(tensor.numel() for tensor in load_encoder(tmp_path / "run").state_dict().values())
    assert (
        "1 deep, for teacher layers 4; 20 feed-forward neurons in each; "
        f"{size:,} parameters, starting from the teacher" in printed
    )
    assert f"110 of {len(FULL)} pieces" in printed and "40 texts in 40 sequences" in printed
    assert "hidden,relations; computing on cpu in fp32" in printed
    assert "after epoch 0: held-out hidden" in printed and "after epoch 1: held-out hidden" in printed


# The command, end to end


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return {"folder": tmp_path_factory.mktemp("finished")}


@pytest.fixture
def finished(shared, tiny_bert):
    """One complete run with a bare BERT as teacher, made by the first test that asks for it."""
    if "run" not in shared:
        folder = shared["folder"]
        teacher, text = bare(tiny_bert, folder / "teacher"), write_lines(folder / "texts.txt", lines(250))
        distill.main(arguments(teacher, text, folder / "run", "--vocab-size", 115, "--epochs", 6))
        shared |= {"run": folder / "run", "teacher": teacher}
    return shared


def test_the_held_out_losses_fall(finished):
    judged = [record for record in records(finished["run"]) if "held_out_hidden" in record]
    assert [record["epoch"] for record in judged] == list(range(7))
    for name in ("held_out_hidden", "held_out_relations"):
        assert judged[-1][name] < 0.6 * judged[0][name]


def test_the_held_out_loss_is_that_of_the_student_on_disk(finished):
    teacher, student = load_encoder(finished["teacher"]), load_encoder(finished["run"])
    tokenizer, full = load_tokenizer(finished["run"]), load_tokenizer(finished["teacher"])
    batch = tokenizer([lines(250)[i] for i in (0, 100, 200)])
    ids = batch.input_ids.apply_(lambda i: full.backend.token_to_id(tokenizer.backend.id_to_token(i)))
    with torch.no_grad():
        theirs = teacher(ids, batch.attention_mask)
        ours = student(tokenizer([lines(250)[i] for i in (0, 100, 200)]).input_ids, batch.attention_mask)
    logged = records(finished["run"])[-1]["held_out_hidden"]
    assert hidden_loss([ours], [theirs], batch.attention_mask).item() == pytest.approx(logged, rel=0.02)


def test_a_run_leaves_a_distilbert_in_fp16_and_no_state(finished):
    names = {path.name for path in finished["run"].iterdir()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "settings.json", "log.jsonl",
    }  # fmt: skip
    assert {tensor.dtype for tensor in load_file(finished["run"] / "model.safetensors").values()} == {torch.float16}
    config = read_json(finished["run"] / "config.json")
    assert (config["model_type"], config["architectures"]) == ("distilbert", ["DistilBertModel"])
    assert (config["n_layers"], config["vocab_size"]) == (1, 115)
    assert load_tokenizer(finished["run"]).backend.get_vocab_size() == 115
    settings = read_json(finished["run"] / "settings.json")
    assert settings["teacher"] == str(finished["teacher"]) and settings["losses"] == "hidden,relations"


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A classifier that tells its texts apart, and the student that watched it: two folders."""
    folder = tmp_path_factory.mktemp("taught")
    model = spread(classifier(tiny(layers=3), "cls", "mlp"), std=0.1)
    spread(model.encoder.embeddings.word, std=1.0)
    with torch.no_grad():
        logits, output = model(*batch_of(lines(300))[:2]), model.head.output
        scale = 2 / logits.std(0)  # to a mean of 0 and a spread of 2: all classes are used
        output.weight *= scale[:, None]
        output.bias.sub_(logits.mean(0)).mul_(scale)
    teacher = save_teacher(model, folder / "teacher")
    text = write_lines(folder / "texts.txt", lines(300))
    distill.main(arguments(teacher, text, folder / "run", "--epochs", 8, "--lr", "1e-2", "--full-precision"))
    return teacher, folder / "run"


def test_a_student_of_a_classifier_answers_as_the_teacher_does(taught):
    teacher, run = taught
    theirs, ours = (load_classifier(folder).predict(lines(300)) for folder in (teacher, run))
    common = max(theirs.count(label) for label in LABELS) / 300
    agreed = sum(a == b for a, b in zip(ours, theirs, strict=True)) / 300
    assert common < 0.6 and agreed > 0.8


def test_a_student_of_a_classifier_learns_from_its_logits(taught):
    _, run = taught
    judged = [record for record in records(run) if "held_out_logits" in record]
    assert judged[-1]["held_out_logits"] < 0.5 * judged[0]["held_out_logits"]
    assert read_json(run / "settings.json")["losses"] == "hidden,relations,logits"
    assert read_json(run / "config.json")["architectures"] == ["DistilBertForSequenceClassification"]
    assert {tensor.dtype for tensor in load_file(run / "model.safetensors").values()} == {torch.float32}


def test_a_student_learns_pairs_from_a_bert_that_classifies_them(tiny_bert, tmp_path):
    path = pairs_file(tmp_path / "pairs.csv", 60)
    distill.main(arguments(tiny_bert, path, tmp_path / "run", "--epochs", 4))
    judged = [record for record in records(tmp_path / "run") if "held_out_logits" in record]
    assert judged[-1]["held_out_hidden"] < 0.8 * judged[0]["held_out_hidden"]
    student, _ = read_classifier(tmp_path / "run")
    assert len(student.label_names) == 6


# Kill and resume


def stop(*rest):
    raise KeyboardInterrupt


def stop_after(monkeypatch, updates):
    """Ctrl-C in the middle of the update after that many; returns a list as long as the updates begun."""
    begun, clip = [], distill.clip_divisor

    def clip_or_stop(*rest):
        if len(begun) == updates:
            stop()
        begun.append(1)
        return clip(*rest)

    monkeypatch.setattr(distill, "clip_divisor", clip_or_stop)
    return begun


@pytest.fixture
def often(monkeypatch):
    """A log line and a checkpoint every other update."""
    monkeypatch.setattr(distill, "LOG_EVERY", 2)
    monkeypatch.setattr(distill, "CHECKPOINT_EVERY", 0)


def timeless(folder):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records(folder)]


@pytest.mark.parametrize(
    "updates, saved",
    [(1, 0), (5, 4), (11, 11), (12, 12), (22, 22)],  # 11 an epoch; 22: while the student is saved
)
def test_a_killed_run_resumes_to_bit_identical_weights(updates, saved, often, teacher, tmp_path, monkeypatch):
    text = write_lines(tmp_path / "texts.txt", lines(170))
    options = ["--epochs", 2, "--full-precision", "--initialization", "random", "--layers", 1]
    distill.main(arguments(teacher, text, tmp_path / "unbroken", *options))
    with monkeypatch.context() as patch:
        if updates == 22:
            patch.setattr(distill, "write_json", stop)
        stop_after(patch, updates)
        with pytest.raises(KeyboardInterrupt):
            distill.main(arguments(teacher, text, tmp_path / "killed", *options))
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert (tmp_path / "killed" / "state.safetensors").exists() == (saved > 0)
    torch.rand(7)  # whatever else drew random numbers meanwhile
    begun = stop_after(monkeypatch, 100)
    distill.main(arguments(teacher, text, tmp_path / "killed", *options, "--resume"))
    assert len(begun) == 22 - saved  # it went on, and did not begin again
    for name in ("model.safetensors", "config.json", "tokenizer.json", "settings.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "unbroken")
    assert not (tmp_path / "killed" / "state.safetensors").exists()


@pytest.fixture
def unfinished(often, teacher, text, tmp_path, monkeypatch):
    """The arguments of a run that was killed, with the state it left."""
    options = arguments(teacher, text, tmp_path / "run", "--epochs", 4, "--vocab-size", SMALLEST + 15)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 5)
        distill.main(options)
    return options


@pytest.mark.parametrize(
    "more, named",
    [(["--lr", "1e-2"], "lr = 0.003, not 0.01"), (["--losses", "hidden"], "losses = hidden,relations, not hidden"),
     (["--epochs", 5], "epochs = 4, not 5"), (["--layers", 1], "layers = 2, not 1"),
     (["--intermediate-size", 7], "intermediate_size = 20, not 7")],
)  # fmt: skip
def test_resuming_with_other_settings_is_refused_and_names_them(unfinished, more, named):
    with pytest.raises(UserError, match=named):
        distill.main([*unfinished, "--resume", *map(str, more)])


def test_resuming_with_another_text_is_refused(unfinished, text):
    write_lines(text, lines(39) + ["one film"])
    with pytest.raises(UserError, match="text"):
        distill.main([*unfinished, "--resume"])


def test_resuming_with_another_text_of_the_same_shape_is_refused(often, teacher, tmp_path, monkeypatch):
    """Each text's only word takes the same number in its own cut vocabulary."""
    film, movie = (write_lines(tmp_path / f"{word}.txt", [word] * 40) for word in ("film", "movie"))
    options = ["--vocab-size", SMALLEST + 1]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 2)
        distill.main(arguments(teacher, film, tmp_path / "run", *options))
    with pytest.raises(UserError, match="--resume needs the same"):
        distill.main(arguments(teacher, movie, tmp_path / "run", *options, "--resume"))


def test_resuming_with_another_teacher_is_refused(unfinished, tmp_path):
    save_encoder(tiny("bert", layers=4, seed=1), tmp_path / "teacher")
    with pytest.raises(UserError, match="--resume needs the same"):
        distill.main([*unfinished, "--resume"])


def test_an_unfinished_run_is_not_begun_again_unasked(unfinished, tmp_path):
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(UserError, match=f"{tmp_path / 'run'}: holds an unfinished run; --resume"):
        distill.main(unfinished)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state


def test_a_run_killed_between_its_last_files_can_be_resumed(unfinished, tmp_path, monkeypatch):
    """config.json is the last file of a student; the weights alone are not a finished one."""
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    distill.main([*unfinished, "--resume"])
    assert load_encoder(tmp_path / "run").config.num_hidden_layers == 2


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_finished_model_is_never_written_over(more, teacher, text):
    before = {path: path.read_bytes() for path in teacher.iterdir()}
    with pytest.raises(UserError, match=f"{teacher}: holds a finished model; choose another --output"):
        distill.main(arguments(teacher, text, teacher, *more))
    assert {path: path.read_bytes() for path in teacher.iterdir()} == before


# Bad input


@pytest.fixture
def refuse(teacher, text, tmp_path):
    """The one line that the command refuses with, after a look that it has written nothing."""

    def refuse(*more, teacher=teacher, text=text):
        with pytest.raises(UserError) as caught:
            distill.main(arguments(teacher, text, tmp_path / "run", *more))
        assert not (tmp_path / "run").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize(
    "more, named",
    [
        (["--layers", 0], "--layers: 0 is out of range"),
        (["--layers", 5], "--layers 5: the teacher has 4"),
        (["--intermediate-size", 0], "--intermediate-size: 0 is out of range"),
        (["--intermediate-size", 21], "--intermediate-size 21: the teacher has 20"),
        (["--vocab-size", 10], f"--vocab-size 10: .* are {SMALLEST}"),
        (["--losses", "nonsense"], "--losses nonsense: choose among hidden, relations, logits"),
        (["--losses", "hidden,"], "--losses hidden,: choose among"),
        (["--losses", "hidden,logits"], "logits only from a teacher that classifies"),
        (["--limit", 1], "--limit: 1 is out of range"),
        (["--lr", "nan"], "--lr"),
        (["--temperature", 0], "--temperature: 0 is out of range"),
        (["--max-length", 4], "--max-length: 4 is out of range"),
        (["--initialization", "zero"], "--initialization"),
    ],
)
def test_a_flag_out_of_range_is_named(more, named, refuse):
    assert re.search(named, refuse(*more))


def test_a_missing_teacher_is_named(refuse, tmp_path):
    assert "no/such/teacher/anywhere: no such folder" in refuse(teacher="no/such/teacher/anywhere")


def test_a_missing_text_file_is_named(refuse, tmp_path):
    assert f"{tmp_path / 'none.txt'}: no such file" in refuse(text=tmp_path / "none.txt")
    assert "is no task" in refuse(text="none")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_text_file_is_named(content, refuse, text):
    text.write_text(content)
    assert f"{text}: is empty" in refuse()


def test_one_text_is_too_little(refuse, text):
    write_lines(text, ["good film"])
    assert f"{text}: one piece of text is too little" in refuse()


def test_a_tokenizer_that_knows_more_than_the_teacher_is_refused(refuse, teacher):
    wordpiece([*FULL, "surplus"]).save(teacher)
    assert "do not belong together" in refuse()


def test_an_output_has_to_be_named(teacher, text):
    with pytest.raises(UserError, match="--output"):
        distill.main([str(teacher), str(text)])


def test_the_command_prints_one_line_and_exits_with_2(teacher, text, tmp_path):
    text.unlink()
    command = [sys.executable, "-m", "minibert.distill", *arguments(teacher, text, tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {text}: no such file\n"
    assert not (tmp_path / "run").exists()


# The real thing


def test_minilms_student_has_8_million_parameters_and_spells_what_minilm_spells(weights_folder):
    folder = weights_folder / "all-MiniLM-L6-v2"
    teacher, tokenizer = load_encoder(folder), load_tokenizer(folder)
    kept, coverage = choose_vocabulary(tokenizer, ["A fine film.", "Dull, and three hours of it!"], 9400)
    assert len(kept) == 9400 and coverage == 1
    cut, vocabulary = cut_tokenizer(tokenizer, kept), tokenizer.backend.get_vocab()
    words = ["a" + piece[2:] if piece.startswith("##") else piece for piece in vocabulary if piece != "[UNK]"]
    unknown = vocabulary["[UNK]"], cut.backend.token_to_id("[UNK]")
    for word, full, small in zip(words, tokenizer.pieces(words), cut.pieces(words), strict=True):
        assert unknown[0] in full or unknown[1] not in small, word
    batch = tokenizer(["A fine film.", "Dull, and three hours of it!"])
    activity = neuron_activity(teacher, [batch])
    student, layers = new_student(teacher, 5, kept, pad_id=cut.pad_id, intermediate_size=384, activity=activity)
    assert layers == [0, 1, 2, 3, 5]
    assert sum(parameter.numel() for parameter in student.parameters()) == 8_249_856
