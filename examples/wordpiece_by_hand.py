# %% [markdown]
# # WordPiece by hand, and the same as the library on more than ten thousand words
#
# BERT does not read words. It reads pieces out of a fixed list, the vocabulary: common words are whole in it, all
# others are spelled with shorter pieces. This lesson writes the whole way from a string to pieces by hand, and then
# lets these functions and the `tokenizers` library read the same words.
#
# Why to know it: what is lost here, no model can bring back. "US" and "us" become one, so do "resume" and "résumé", and
# one unknown letter makes a whole word `[UNK]`.
#
# Sources: Schuster and Nakajima 2012 (the vocabulary's idea), Wu et al. 2016 (arXiv 1609.08144, section 4.1); the rules
# are those of BERT's `tokenization.py` (github.com/google-research/bert), with `do_lower_case`.

# %%
import unicodedata

import minibert
from minibert.data import load_task

tokenizer = minibert.load_tokenizer("minibert-tiny")
vocabulary = tokenizer.backend.get_vocab()  # {piece: id}
print(f"{len(vocabulary):,} pieces, {sum(piece.startswith('##') for piece in vocabulary):,} of which go on with a word")

# %% [markdown]
# ## 1. Clean
#
# Letters nobody sees are dropped, all kinds of blanks become a space. Accents are taken off by spelling each letter in
# its parts (Unicode's form NFD: "é" is "e" and a mark) and dropping the marks. Then capitals become small letters.


# %%
def clean(text):
    """A text without invisible letters, accents and capitals; Chinese characters stand as words of their own."""
    kept = []
    for letter in text:
        if letter in "\t\n\r":
            kept.append(" ")
        elif letter == "\ufffd" or unicodedata.category(letter) in ("Cc", "Cf", "Co"):
            continue  # control, format, private use: nothing that can be read
        elif letter.isspace():
            kept.append(" ")
        elif is_chinese(letter):
            kept.append(f" {letter} ")
        else:
            kept.append(letter)
    parts = unicodedata.normalize("NFD", "".join(kept))
    return "".join(letter.lower() for letter in parts if unicodedata.category(letter) != "Mn")


def is_chinese(letter):
    """Whether it is in Unicode's blocks of Chinese characters; Japanese kana and Korean are not."""
    blocks = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
              (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))  # fmt: skip
    return any(first <= ord(letter) <= last for first, last in blocks)


# %% [markdown]
# ## 2. Words
#
# Blanks separate words, and every punctuation mark is a word. In ASCII all that is neither letter nor digit counts as
# punctuation ("$" and "~", too); beyond it Unicode decides.


# %%
def words(text):
    """The words of a cleaned text: ["don", "'", "t", "."] for "don't."."""
    found = []
    for chunk in text.split():
        word = ""
        for letter in chunk:
            if is_punctuation(letter):
                found += [word, letter]
                word = ""
            else:
                word += letter
        found.append(word)
    return [word for word in found if word]


def is_punctuation(letter):
    if letter.isascii():
        return letter.isprintable() and not letter.isalnum() and letter != " "
    return unicodedata.category(letter).startswith("P")


# %% [markdown]
# ## 3. Pieces: the longest first
#
# From the left: take the longest beginning that is in the vocabulary, then the longest beginning of the rest, and so
# on. Pieces inside a word are written with `##`. If at some place nothing fits, the *whole* word is `[UNK]`, also what
# has been found so far.


# %%
def pieces(word):
    """A word's pieces, greedily; ["[UNK]"] if it cannot be spelled, or has more than 100 letters."""
    if len(word) > 100:
        return ["[UNK]"]
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        found.append(piece)
        start = end
    return found


def tokenize(text):
    """A text's pieces."""
    return [piece for word in words(clean(text)) for piece in pieces(word)]


def by_library(text):
    """The same from the `tokenizers` library, which is written in Rust."""
    return tokenizer.backend.encode(text, add_special_tokens=False).tokens


print()
for text in ("An unwatchable film!", "It isn't Amélie.", "RÉSUMÉ resume", "US us", "naïveté", "10/10, $7", "film🎬",
             "##ing", "東京 is far"):  # fmt: skip
    print(f"{text:22} {' '.join(tokenize(text))}")

# %% [markdown]
# ## 4. Against the library
#
# All words of the bundled reviews, all pieces of the vocabulary read as words, and words made to be hard.

# %%
task = load_task("reviews")
texts = [text for part in (task.train, task.validation, task.test) for text in part.texts]
from_reviews = {word for text in texts for word in text.split()}
from_vocabulary = {piece for piece in vocabulary if not (piece.startswith("[") and len(piece) > 1)}  # no [CLS], ...
hard = {
    "", " ", "a" * 100, "a" * 101, "é" * 100, "e\u0301" * 101, "don't", "DON'T", "co-op", "...", "?!?!", "§5", "€10",
    "$7", "x\u200by", "so\u00adft", "a\u00a0b", "tab\tbed", "line\nend", "nul\x00l", "bell\x07", "\ufffd", "İstanbul",
    "ΟΔΟΣ", "straße", "STRASSE", "Ærø", "œuvre", "Ångström", "ﬁlm", "Dvořák", "Łódź", "2²", "½", "№5", "一二三",
    "日本の映画", "영화", "фильм", "فيلم", "סרט", "หนัง", "🎬", "film🎬", "👍🏽", "e\u0301", "a\u0300\u0301\u0302",
    "`~^|<>=+", "\x1c", "a\x85b", "a\u2028b", "«oui»", "“so”", "—", "–", "…", "¿qué?", "##ing", "#", "##", "unaffable",
    "antidisestablishmentarianism", "http://a.b/c?d=e", "me@home.org", "A.B.C.", "1,000.50",
}  # fmt: skip
every = sorted(from_reviews | from_vocabulary | hard | {word.upper() for word in from_reviews})
different = [word for word in every if tokenize(word) != by_library(word)]
whole_texts = [text for text in texts if tokenize(text) != by_library(text)]
print(f"\n{len(from_reviews):,} words of reviews, also in capitals; {len(from_vocabulary):,} pieces; {len(hard)} more")
print(f"{len(every):,} different ones: {len(different)} tokenized differently {different[:5]}")
print(f"{len(texts):,} whole reviews: {len(whole_texts)} tokenized differently")

# %% [markdown]
# ## 5. Greedy is not the best spelling
#
# The longest first piece can leave a rest that takes many. The fewest pieces can be found, too, by going through all
# ends of a word from left to right; BERT does not do it. A model has to be given the pieces that it was trained with,
# so greedy it stays.


# %%
def fewest(word):
    """How few pieces spell a word, or None."""
    best = [0] + [None] * len(word)  # best[n]: of its first n letters
    for end in range(1, len(word) + 1):
        options = [
            best[start] + 1
            for start in range(end)
            if best[start] is not None and ("##" if start else "") + word[start:end] in vocabulary
        ]
        best[end] = min(options, default=None)
    return best[-1]


simple = sorted({word for text in texts for word in words(clean(text))})
spelled = {word: pieces(word) for word in simple if pieces(word) != ["[UNK]"]}
wasteful = [word for word in spelled if len(spelled[word]) > fewest(word)]
whole = sum(len(found) == 1 for found in spelled.values()) / len(simple)
print(f"\n{len(simple):,} different words in the reviews, small and without marks: {whole:.0%} are one piece")
print(f"greedy takes more pieces than needed for {len(wasteful)} of them, such as")
for word in sorted(wasteful, key=lambda word: fewest(word) - len(spelled[word]))[:3]:
    print(f"  {word}: {' '.join(spelled[word])} ({len(spelled[word])}, where {fewest(word)} would do)")

# %%
claims = {
    f"our pieces are the library's for all of {len(every):,} words": len(every) > 10_000 and not different,
    f"and for all of {len(texts):,} reviews": not whole_texts,
    "capitals and accents leave no trace: 'RÉSUMÉ' is 'resume', 'US' is 'us'":
        tokenize("RÉSUMÉ") == tokenize("resume") and tokenize("US") == tokenize("us"),
    "one unknown letter takes the whole word with it: 'film🎬' is [UNK]": tokenize("film🎬") == ["[UNK]"],
    f"greedy is not optimal: it wastes pieces on {len(wasteful) / len(simple):.1%} of the words": len(wasteful) > 0,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
