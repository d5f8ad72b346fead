"""Small data sets that a person can check: an aclImdb of eleven reviews as folder and as archive, and tables."""

import io
import tarfile

REVIEWS = {
    "train/neg": ["dull", "a bore", "no wit at all", "flat", "two lost hours"],
    "train/pos": ["bright", "a joy", "wit and warmth", "fine", "I went twice"],
    "test/neg": ["weak", "clumsy"],
    "test/pos": ["strong", "deft", "lovely"],
    "train/unsup": ["nobody said whether this one is good"],
}


def member(name, text="", **more):
    """A tar member and its content."""
    info = tarfile.TarInfo(name)
    content = text.encode("utf-8")
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, content)
    return path


def review_members():
    return [
        member(f"aclImdb/{folder}/{i}_7.txt", text) for folder, texts in REVIEWS.items() for i, text in enumerate(texts)
    ]


def review_folder(root):
    for folder, texts in REVIEWS.items():
        (root / folder).mkdir(parents=True)
        for i, text in enumerate(texts):
            (root / folder / f"{i}_7.txt").write_text(text, encoding="utf-8")
    return root


def every_text(task):
    return sorted(task.train.texts + task.validation.texts + task.test.texts)


def labelled(dataset):
    """{text: label name}"""
    return {text: dataset.label_names[label] for text, label in zip(dataset.texts, dataset.labels, strict=True)}


def write_csv(path, rows, header="text,label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path
