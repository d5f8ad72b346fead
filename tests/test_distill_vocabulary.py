"""The student's vocabulary: which word pieces stay, and the tokenizer that knows only those."""

import pytest
import tokenizers
from distilling import FULL, LETTERS, SMALLEST, SPECIAL, WORDS, lines, tokens, wordpiece

from minibert import load_encoder, load_tokenizer
from minibert.distill.student import neuron_activity, new_student
from minibert.distill.vocabulary import choose_vocabulary, cut_tokenizer
from minibert.tokenizer import Tokenizer

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


def test_a_whole_vocabulary_of_any_kind_stays_as_it_is():
    pieces = [(piece, -1.0) for piece in ("<s>", "<pad>", "</s>", "<unk>", "\u2581a", "b")]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=3))  # as XLM-R and CamemBERT have
    tokenizer = Tokenizer(backend, 64, "<s>", "</s>", "<pad>")
    kept, share = choose_vocabulary(tokenizer, ["ab"], None)
    assert (kept, share) == (list(range(6)), 1.0)
    assert cut_tokenizer(tokenizer, kept) is tokenizer


def test_a_size_that_is_too_small_names_the_smallest():
    with pytest.raises(ValueError, match="at least 9 pieces are needed"):
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
    with pytest.raises(ValueError, match="WordPiece.*WordLevel"):
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
