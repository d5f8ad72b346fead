"""What may be wrong with an experiment, asked of the experiment itself: 14 checks.

Each is a function of plain values, and returns one finding: a sentence, a number, and what to type. A finding is
"found", "clear", or "left out" with the reason. Thresholds lie beyond what chance gives, so a clean run stays clean;
only calibration is found in 5 of 100 clean ones, which is what its sentence says.
"""

import math

from .tables import TITLES

ENOUGH = 0.005  # of the texts; fewer copies or suspects can hardly move a figure
COPIES = 10  # ... but so many are always told
CUT = 0.05  # of the texts, before their cutting can matter
AUROC = 0.65  # what one number or a bag of words may reach before it is told
GAP = 0.02  # accuracy, or calibration error, that matters
UNKNOWN, SINGLE = 0.01, 0.08  # of the tokens
RARE = 20  # training texts of a class
STILL_FALLING, RISING = 0.03, 0.10  # of the validation loss, relative
NO_LOSS = 1e-3  # below this a loss has nothing left to fall, and its rise counts as from here
MARGIN = 4  # standard errors
HOTTEST = 19  # from here on a temperature makes all classes as good as equally probable
TUNED = TITLES["finetuned"]


def finding(name, found, number, shown, sentence, advice):
    """One check's result. number: a plain number, or None; shown: the same in words; advice: what to type."""
    status = "found" if found else "clear"
    return {"name": name, "status": status, "number": number, "shown": shown, "sentence": sentence, "advice": advice}


def left_out(name, why):
    """A check that this run cannot make, and the reason."""
    return {"name": name, "status": "left out", "number": None, "shown": "", "sentence": why, "advice": ""}


def summary(findings, name_them=False):
    """ "14 checks, nothing found", or how many found something, and which."""
    done = [one for one in findings if one["status"] != "left out"]
    found = [one["name"] for one in done if one["status"] == "found"]
    words = f"{len(done)} checks, {f'{len(found)} found something' if found else 'nothing found'}"
    words += f" ({', '.join(found)})" if found and name_them else ""
    missing = len(findings) - len(done)
    return words + (f"; {missing} could not be made" if missing else "")


# ---- the texts


def copies_across(count, other_label, texts, accuracy=None, accuracy_without=None):
    """Test texts that also stand in train or validation. accuracy: of the run's best classifier, with and without
    them.
    """
    name = "test texts in training"
    if not count:
        return finding(name, False, 0, "0 texts", "No test text also stands in train or validation.", "")
    sentence = f"{texts_of(count, texts)} also {stand(count)} in train or validation"
    sentence += f", {other_label} of them with another label" if other_label else ""
    if accuracy_without is not None:
        sentence += f"; accuracy is {percent(accuracy)} with them and {percent(accuracy_without)} without"
    advice = "remove them from one side; `python -m minibert.explore TASK --output DIR` lists the first of them"
    found = count >= COPIES or count >= ENOUGH * texts
    return finding(name, found, count, f"{count:,} texts", sentence + ".", advice)


def near_copies(count, texts, accuracy=None, accuracy_without=None):
    """Test texts that are almost word for word in train or validation, exact copies not counted."""
    name = "near copies"
    if not count:
        return finding(name, False, 0, "0 texts", "No test text has a near copy in train or validation.", "")
    sentence = f"{texts_of(count, texts)} {'has' if count == 1 else 'have'} a near copy in train or validation"
    if accuracy_without is not None:
        sentence += f"; accuracy is {percent(accuracy)} with them and {percent(accuracy_without)} without"
    found = count >= 2 * COPIES or count >= 2 * ENOUGH * texts
    return finding(name, found, count, f"{count:,} texts", sentence + ".",
                   "split by source (author, film, thread), not text by text; the page lists them")  # fmt: skip


def copies_inside(in_test, in_train, test_texts, train_texts):
    """Extra copies inside test, and inside train and validation together."""
    name = "copies inside a set"
    if not in_test and not in_train:
        return finding(name, False, 0, "0 texts", "No text stands twice in test, or twice in train and validation.", "")
    sentence = (
        f"{in_test:,} of {test_texts:,} test texts and {in_train:,} of {train_texts:,} others are extra copies of a "
        "text in their own set; each copy counts as one more vote for the same answer."
    )
    found = max(in_test, in_train) >= COPIES or in_test >= ENOUGH * test_texts or in_train >= ENOUGH * train_texts
    return finding(name, found, in_test + in_train, f"{in_test + in_train:,} texts", sentence,
                   "keep one of each in your file; `python -m minibert.explore TASK` counts them")  # fmt: skip


def label_errors(test, train=None):
    """Texts whose label a classifier that has not seen them finds unbelievable.

    Each {"texts", "suspected", "expected"}; expected: how many right labels are as unbelievable to it.
    """
    name = "suspected label errors"
    sentence = f"{texts_of(test['suspected'], test['texts'])} may carry a wrong label"
    if train:
        both = [f"{part['suspected']:,} of {part['texts']:,}" for part in (test, train)]
        sentence = f"{both[0]} test and {both[1]} training texts may carry a wrong label"
    parts = [test, train] if train else [test]
    found = any(map(too_many_suspects, parts))
    count, expected = (sum(part[key] for part in parts) for key in ("suspected", "expected"))
    sentence += f" (of right ones {expected:,.0f} would look so); none was removed."
    return finding(name, found, count, f"{count:,} texts", sentence,
                   "read the worst of them on the page, correct your file, run again")  # fmt: skip


def too_many_suspects(part):
    enough = max(3, 2 * ENOUGH * part["texts"], part["expected"] + 3 * math.sqrt(part["expected"]))
    return part["suspected"] >= enough


def shortcut_words(shortcuts, share, label_names):
    """Words that give the label away. share: of the test texts hold one."""
    name = "shortcut words"
    if not shortcuts:
        return finding(name, False, 0, "0 words", "No word or mark all but decides the label by itself.", "")
    some = ", ".join(f"{one['word']!r} ({one['share']:.0%} {label_names[one['label']]})" for one in shortcuts[:4])
    count = len(shortcuts)
    what = "word or mark all but decides" if count == 1 else "words or marks all but decide"
    sentence = f"{count} {what} the label: {some}; {share:.1%} of the test texts hold one."
    return finding(name, True, count, f"{count} word{'s' if count > 1 else ''}", sentence,
                   "`python -m minibert.explore TASK --output DIR` lists them; take them out of the texts if they are "
                   "no part of what should be learned")  # fmt: skip


def length_or_place(length, place, label_names):
    """Whether a text's length, or its place in the file, tells its label. Each: {"auroc", "error", "label"} or None."""
    name = "length and place"
    told = [("length", length), ("place in the file", place)]
    told = [(what, one) for what, one in told if one]
    if not told:
        return left_out(name, "A single class has texts.")
    found = [(what, one) for what, one in told if one["auroc"] >= AUROC and one["auroc"] - 0.5 > MARGIN * one["error"]]
    what, worst = max(found or told, key=lambda pair: pair[1]["auroc"])
    label = label_names[worst["label"]]
    sentence = f"A text's {what} alone tells {label} from the rest with AUROC {worst['auroc']:.3f} (0.5 is chance)."
    advice = (
        "compare with accuracy by length on the page of the run: a classifier may count tokens" if what == "length" else
        "the file is sorted; harmless here, for batches are shuffled and splits go by a hash of the text"
    )  # fmt: skip
    return finding(name, bool(found), worst["auroc"], f"AUROC {worst['auroc']:.3f}", sentence, advice if found else "")


def shift(told):
    """Whether a bag of words tells train from test. told: {"auroc", "error", "texts", "words"} or None."""
    name = "train against test"
    if told is None:
        return left_out(name, "Fewer than 20 different texts in train or test.")
    found = told["auroc"] >= AUROC and told["auroc"] - 0.5 > MARGIN * told["error"]
    sentence = f"A bag of words tells training texts from test texts with AUROC {told['auroc']:.3f} (0.5 is chance)"
    if found:
        sentence += f", by words such as {', '.join(map(repr, told['words'][0][:3] + told['words'][1][:3]))}"
    return finding(name, found, told["auroc"], f"AUROC {told['auroc']:.3f}", sentence + ".",
                   "the test figures are about other texts than training: say so, or split at random")  # fmt: skip


def pieces(shares):
    """Whether the vocabulary fits the texts. shares: {"unknown", "single"} of the training tokens."""
    name = "vocabulary"
    found = shares["unknown"] > UNKNOWN or shares["single"] > SINGLE
    sentence = (
        f"{shares['unknown']:.2%} of the tokens are [UNK], and {shares['single']:.2%} are single letters of a word "
        "that the vocabulary could not cut better."
    )
    return finding(name, found, max(shares["unknown"], shares["single"]), f"{shares['unknown']:.2%} [UNK]", sentence,
                   "`--model` with a vocabulary for this language, such as bert-base-multilingual-cased")  # fmt: skip


def to_read_more(limit, kept, pairs=False):
    """What to do where texts are cut. limit: how many tokens are read; kept: which part of a longer text that is, as
    --truncation has it, or "windows"; pairs: whether they are pairs, of which there are no windows.
    """
    if kept == "windows":
        return "more `--windows`, or a greater `--max-length`"
    longer = "`--max-length 512`" if limit < 512 else "a model that reads more" if pairs else "more `--windows`"
    return f"`--truncation head+tail`, or {longer}" if kept == "head" else longer


def cut_texts(cut, kept, pairs=False):
    """Before training: how much of the texts the limit cuts off. cut: {"limit", "texts", "tokens"}."""
    found = cut["texts"] > 0.25
    sentence = (
        f"{cut['texts']:.1%} of the training texts are longer than {cut['limit']} tokens, and lose "
        f"{cut['tokens']:.1%} of all tokens."
    )
    advice = to_read_more(cut["limit"], kept, pairs)
    return finding("texts that are cut", found, cut["texts"], f"{cut['texts']:.1%}", sentence, advice)


# ---- the classes


def classes(train_counts, label_names, predicted_counts=None, gold_counts=None):
    """Classes too rare to learn, or never predicted. Counts: [C] of training labels, predictions, test labels."""
    name = "classes"
    rare = [i for i, count in enumerate(train_counts) if count < RARE]
    forgotten = []
    if predicted_counts is not None:
        forgotten = [i for i, gold in enumerate(gold_counts) if gold and not predicted_counts[i]]
    least = min(range(len(train_counts)), key=lambda i: train_counts[i])
    if not rare and not forgotten:
        sentence = f"Each class has {RARE} training texts or more"
        sentence += ", and each that is in test is predicted for some text" if predicted_counts is not None else ""
        return finding(name, False, train_counts[least], f"{train_counts[least]:,} texts", sentence + ".", "")
    parts = []
    if rare:
        parts.append(f"{some_of(rare, label_names)} {has(rare)} fewer than {RARE} training texts "
                     f"({label_names[least]} has {train_counts[least]:,})")  # fmt: skip
    if forgotten:
        parts.append(f"{some_of(forgotten, label_names)} {'is' if len(forgotten) == 1 else 'are'} never predicted")
    count = len(set(rare) | set(forgotten))
    return finding(name, True, count, f"{count} class{'es' if count > 1 else ''}",
                   "; ".join(parts) + ".", "`--class-weights balanced`, more texts of them, fewer classes")  # fmt: skip


def majority(accuracies):
    """Classifiers no better than always answering the biggest class. accuracies: {row's title: accuracy}."""
    name = "against the majority"
    base = accuracies["majority"]
    gains = {title: value - base for title, value in accuracies.items() if title != "majority"}
    bad = [title for title, gain in gains.items() if gain <= 0]
    worst = min(gains, key=gains.get)
    points = f"{100 * gains[worst]:+.2f} points"
    if not bad:
        sentence = f"Every classifier beats the majority; the closest is {worst}, {points}."
        return finding(name, False, gains[worst], points, sentence, "")
    verb = "is" if len(bad) == 1 else "are"
    sentence = f"{' and '.join(bad)} {verb} no better than always answering the biggest class ({points} for {worst})."
    advice = "`--class-weights balanced` if the classes are uneven, or more texts"
    if TUNED in bad:
        advice = "`--lr 2e-5` or `--epochs 6`, and `--class-weights balanced` if the classes are uneven"
    return finding(name, True, gains[worst], points, sentence, advice)


# ---- the training and its figures


def truncation(whole, cut, limit, kept="head", pairs=False):
    """Accuracy of texts that were cut against whole ones. whole, cut: (right, texts) of the run's best classifier.

    limit: the longest text in tokens; kept, pairs: as `to_read_more` has them.
    """
    name = "texts that are cut"
    right_whole, texts_whole = whole
    right_cut, texts_cut = cut
    share = texts_cut / max(1, texts_cut + texts_whole)
    if share < CUT or not texts_whole:
        what = "All" if not texts_whole else f"{share:.1%}"
        sentence = f"{what} of the test texts are longer than {limit} tokens" + (
            ": there are no whole ones to compare with." if not texts_whole else ", too few to matter."
        )
        return finding(name, not texts_whole, share, f"{share:.1%} cut", sentence,
                       to_read_more(limit, "windows" if kept == "windows" else "both", pairs))  # fmt: skip
    gap = right_whole / texts_whole - right_cut / texts_cut
    error = math.sqrt(sum(variance(right, texts) for right, texts in (whole, cut)))
    sentence = (
        f"Accuracy is {percent(right_whole / texts_whole)} for whole test texts and {percent(right_cut / texts_cut)} "
        f"for the {share:.1%} that are longer than {limit} tokens and were cut."
    )
    return finding(name, gap > max(GAP, 2.5 * error), gap, f"{100 * gap:+.2f} points", sentence,
                   to_read_more(limit, kept, pairs))  # fmt: skip


def calibration(told, title):
    """Whether probabilities can be believed. told: {"error", "low", "high", "chance", "too_sure", "temperature"}."""
    found = told["error"] > max(told["chance"], GAP)
    sentence = (
        f"The {title} classifier's probabilities miss by {percent(told['error'])} points on average (95% interval "
        f"{percent(told['low'])} to {percent(told['high'])}); a perfectly calibrated one would stay under "
        f"{percent(told['chance'])} in 95 of 100 such test sets."
    )
    if told.get("temperature") and told["temperature"] >= HOTTEST:
        advice = "believe none of its probabilities: on validation they say next to nothing at any temperature"
    elif told.get("temperature"):
        advice = f"divide the logits by {told['temperature']:.2f} (fitted on validation)"
    elif title == TUNED:
        advice = f"{'fewer' if told['too_sure'] > 0 else 'more'} `--epochs`"
    else:
        advice = "take its probabilities as a ranking"
    return finding("calibration", found, told["error"], f"{percent(told['error'])} points", sentence, advice)


def difference(told, spread=None, seeds=1):
    """Whether fine-tuned and frozen differ by more than luck.

    told: {"points", "low", "high"}, the paired difference in accuracy and its interval, over test texts and seeds;
    spread: the standard deviation of the difference over seeds, None for one seed.
    """
    name = "fine-tuned against frozen"
    points = f"{100 * told['points']:+.2f} points"
    inside = told["low"] <= 0 <= told["high"]
    interval = f"95% interval {100 * told['low']:+.2f} to {100 * told['high']:+.2f}"
    sentence = f"Fine-tuned minus frozen is {points}, {interval}"
    if spread is not None:
        sentence += f"; over {seeds} seeds it varies by {100 * spread:.2f}"
        return finding(name, inside, told["points"], points, sentence + ".",
                       "more `--seeds`, and a larger test set if you have one")  # fmt: skip
    return finding(name, inside, told["points"], points, sentence + "; one seed.", "`--seeds 0,1,2,3,4`")


def training(epochs):
    """Trained too little or too long. epochs: {seed: [{"validation_loss", "validation_accuracy"}, ...]}."""
    name = "length of training"
    if not epochs:
        return left_out(name, "`--refit` learns from the validation texts, too, and has none left to see it by.")
    falls, rises, gains = [], [], []
    for records in epochs.values():
        losses = [record["validation_loss"] for record in records]
        best = min(range(len(losses)), key=losses.__getitem__)
        if len(losses) > 1 and best == len(losses) - 1:
            falls.append((losses[-2] - losses[-1]) / max(losses[-2], NO_LOSS))
        rises.append((losses[-1] - losses[best]) / max(losses[best], NO_LOSS))
        gains.append(records[-1]["validation_accuracy"] - records[best]["validation_accuracy"])
    lengths = [len(records) for records in epochs.values()]
    if max(lengths) < 2:
        return left_out(name, "One epoch shows no slope; two or more do.")
    fall, rise, gain = (sum(values) / len(lengths) for values in (falls, rises, gains))
    if fall > STILL_FALLING:
        sentence = f"The validation loss still fell by {fall:.1%} in the last epoch: training stopped early."
        return finding(name, True, fall, f"{-fall:.1%} loss", sentence, f"`--epochs {2 * max(lengths)}`")
    if rise > RISING:
        sentence = (
            f"The validation loss ended {rise:.1%} above its lowest, while accuracy moved by {100 * gain:+.2f} points: "
            "the last epochs made the classifier surer than it is right."
        )
        advice = "`--patience 1`, fewer `--epochs` or a smaller `--lr`"
        return finding(name, True, rise, f"{rise:+.1%} loss", sentence, advice)
    sentence = f"The validation loss has settled: it ends {rise:.1%} above its lowest."
    return finding(name, False, max(rise, fall), f"{rise:+.1%} loss", sentence, "")


# ---- words


def percent(share):
    return f"{100 * share:.2f}"


def texts_of(count, total):
    return f"{count:,} of {total:,} test texts ({count / max(1, total):.1%})"


def stand(count):
    return "stands" if count == 1 else "stand"


def has(some):
    return "has" if len(some) == 1 else "have"


def some_of(indices, names):
    """ "a, b and 3 more"."""
    shown = ", ".join(names[i] for i in indices[:3])
    return shown + (f" and {len(indices) - 3} more" if len(indices) > 3 else "")


def variance(right, texts):
    """Of an accuracy; one success and one failure are added, so that a perfect score has a spread, too."""
    share = (right + 1) / (texts + 2)
    return share * (1 - share) / texts
