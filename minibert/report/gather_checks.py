"""The checks of a run, each given the figures that it judges by: `gather_checks`."""

import numpy as np

from . import checks, tables


def gather_checks(run, record, texts, near):
    """All findings, in the order of `checks`. run: `gather.Run`; record: what `gather` has found so far."""
    data, names, best = record["data"], record["labels"], run.best
    right = run.predictions[best] == run.labels
    length = texts["lengths"]["test"]
    limit = run.job.longest_read
    was_cut = length > limit
    suspected = record["label_errors"]
    kept = "windows" if run.job.options.windows > 1 else run.job.options.truncation
    main = "finetuned" if "finetuned" in run.results else best
    return [
        checks.copies_across(data["copies"]["across"], data["copies"]["across_other_label"], len(right),
                             *with_and_without(right, texts["across"])),
        checks.near_copies(near["texts"], len(right), *with_and_without(right, near["test"])) if near else
        checks.left_out("near copies", "This run has no frozen features; --mode both has."),
        checks.copies_inside(data["copies"]["in_test"], data["copies"]["in_train"], len(right),
                             data["sizes"]["train"] + data["sizes"]["validation"]),
        checks.label_errors(suspected["test"], suspected.get("train")),
        checks.shortcut_words(data["shortcuts"], data["shortcut_share"], names),
        checks.length_or_place(data["length"], data["place"], names),
        checks.shift(data["shift"]),
        checks.pieces(data["pieces"]),
        checks.classes(data["balance"]["train"], names,
                       np.bincount(run.predictions[main], minlength=len(names)).tolist(), data["balance"]["test"]),
        checks.majority({tables.TITLES[name]: float(np.mean(run.accuracies(name))) for name in run.results
                         if name != "untrained"}),
        checks.truncation((int(right[~was_cut].sum()), int((~was_cut).sum())),
                          (int(right[was_cut].sum()), int(was_cut.sum())), limit, kept, record["pairs"]),
        check_calibration(record, main),
        check_difference(record["difference"]),
        checks.training(record["training"]["epochs"]) if record["training"] else
        checks.left_out("length of training", "Nothing was fine-tuned; --mode both does."),
    ]  # fmt: skip


def with_and_without(right, without):
    """(accuracy, accuracy of the other texts), shares; the second None where there is nothing to leave out."""
    rest = np.delete(right, list(without))
    return float(right.mean()), float(rest.mean()) if len(without) and len(rest) else None


def check_calibration(record, name):
    if name not in record["calibration"]:
        return checks.left_out("calibration", "No classifier was trained.")
    return checks.calibration(record["calibration"][name], tables.TITLES[name])


def check_difference(difference):
    if difference is None:
        return checks.left_out(
            "fine-tuned against frozen", "One of the two experiments was not run; --mode both runs both."
        )
    return checks.difference(difference, difference["spread"], difference["seeds"])
