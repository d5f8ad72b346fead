"""`--push ORG/NAME`: a finished classifier goes to the Hub. Without it nothing is ever uploaded."""

import argparse
import re

from .files import UserError

FILES = ("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def repository(text):
    """An argparse type: ORG/NAME."""
    if not re.fullmatch(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a repository of the Hub such as ORG/NAME")
    return text


def check_push(name):
    """UserError unless the Hub knows who is asking: after hours of training is too late to find out."""
    from huggingface_hub import HfApi

    try:
        HfApi().whoami()
    except Exception as error:  # the library's failures share no base
        raise UserError(
            f"--push {name}: the Hub does not know who is asking ({first_line(error)}); log in with `hf auth login`, "
            "or leave --push away and upload the folder later"
        ) from error


def push(folder, name):
    """Upload a classifier's folder as `name`, which is created where it is new; its address."""
    from huggingface_hub import HfApi

    try:
        address = HfApi().create_repo(name, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=folder, allow_patterns=list(FILES),
                              commit_message="A classifier fine-tuned with minibert")  # fmt: skip
    except Exception as error:
        raise UserError(
            f"--push {name}: the upload failed ({first_line(error)}); the classifier is whole in {folder}, and the "
            "same command with --resume tries again"
        ) from error
    return str(address)


def first_line(error):
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
