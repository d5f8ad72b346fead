"""The benchmark's jobs, one a process: `python jobs.py '{"side": ..., "work": ...}'` prints its result.

A job is a function SIDE_WORK(job) below; its result holds `rate` (real tokens or texts per second, warm-up and loading
left out), `seconds`, the `precision` that was used and, where they mean something, `flops` and `padding`. The peak
memory of the process is added.
"""

import contextlib
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import peers
import torch
from torch import nn
from torch.nn import functional

from minibert.batch import Examples, Sequence, bucketed_batches, padding_fraction
from minibert.config import EncoderConfig
from minibert.evaluate import predict
from minibert.fast import touched_rows
from minibert.fast.linear import mkl_is_slow, product
from minibert.frozen import encode, fit_heads
from minibert.load import load_tokenizer, read_classifier
from minibert.plumbing.device import PRECISIONS, resolve_device, resolve_precision
from minibert.plumbing.memory import keep_freed_memory
from minibert.text_classifier import load_classifier
from minibert.train import TrainSettings, train

LR, WEIGHT_DECAY, WARMUP = 5e-5, 0.01, 0.1
WARM_UP_BATCHES = 4
SLOW = 2e10  # operations per second, in which 22 large products would take minutes


def run_job(job):
    if job["side"] == "minibert":
        keep_freed_memory()  # as minibert's commands do when they start
    precision, _ = resolve_precision(job["precision"], resolve_device(job["device"]))
    result = {"unit": "texts/s", "precision": precision, **globals()[f"{job['side']}_{job['work']}"](job)}
    return {**result, "peak": peak_memory(job["device"]) / 1e9}


def peak_memory(device):
    """The most bytes that this process has held: the GPU's, or the program's own."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "linux":  # getrusage would begin with what the parent had held
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    if sys.platform == "darwin":
        import resource  # which Windows lacks

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float("nan")


def model_folder(job):
    return Path(job["folder"]) / job["model"]


def read_texts(job, part="train", times=1):
    """The job's texts: a fixed sample (or one `times` as large, which begins with the same texts), and their labels."""
    texts, labels = read_task(job)[part]
    count = job["texts" if part == "train" else "test_texts"] * job.get("more", 1) * times
    if job["work"] == "whole":
        count = len(texts)
    order = np.random.default_rng(0).permutation(len(texts))[:count]
    return [texts[i] for i in order], [labels[i] for i in order]


def read_task(job):
    return json.loads((Path(job["folder"]) / f"{job['task']}.json").read_text())


def training_flops(job, lengths):
    """Multiplications and additions that the real tokens need, forward and backward; padding does no work."""
    config = EncoderConfig.from_file(model_folder(job) / "config.json")
    width, layers, inner = config.hidden_size, config.num_hidden_layers, config.intermediate_size
    weights = layers * (4 * width * width + 2 * width * inner)
    return sum(6 * weights * n + 12 * layers * width * n * n for n in (int(n) for n in lengths))


def training_result(job, lengths, padding, seconds):
    """Rates count real tokens only: padding is no work done."""
    return {
        "rate": int(sum(lengths)) / seconds,
        "unit": "tokens/s",
        "texts": len(lengths),
        "seconds": seconds,
        "padding": padding,
        "flops": training_flops(job, lengths),
    }


# ---- minibert's side


def setup(job):
    """(classifier, device, precision) as finetune.py makes them."""
    device = resolve_device(job["device"])
    precision, _ = resolve_precision(job["precision"], device)
    classifier, _ = read_classifier(model_folder(job))
    return classifier, device, precision


def tokenised(job, texts, labels):
    tokenizer = load_tokenizer(model_folder(job))
    return Examples(tokenizer.encode(texts, None, job["max_length"]), labels, tokenizer.pad_id)


def part_of(examples, start, stop):
    return Examples(examples.sequences[start:stop], examples.labels[start:stop].tolist(), examples.pad_id)


def timed_training(classifier, examples, job, device, precision):
    """Seconds that an epoch takes, after a few batches of warm-up."""
    settings = TrainSettings(
        epochs=1, batch_size=job["batch_size"], micro_batch=job.get("micro_batch", 0), lr=LR,
        weight_decay=WEIGHT_DECAY, warmup=WARMUP, precision=precision,
    )  # fmt: skip
    one = part_of(examples, 0, 1)  # train() wants a validation set
    warm_up = part_of(examples, 0, WARM_UP_BATCHES * job["batch_size"])
    if job.get("variant") == "graphs":
        warm_up = examples  # every length is compiled and recorded outside the clock
    with touched_rows(classifier, device.type == "cpu" and 0 < settings.micro_batch < settings.batch_size):
        train(classifier, warm_up, one, settings, device, quiet=True)
        gc.collect()  # the warm-up's optimizer
        started = time.perf_counter()
        train(classifier, examples, one, settings, device, quiet=True)
        return time.perf_counter() - started


def variant_of(classifier, job):
    """The classifier as the job wants to run it: as it is, compiled, compiled into CUDA graphs, or unpadded."""
    variant = job.get("variant")
    if variant == "compile":
        classifier.compile(dynamic=True)
    if variant == "graphs":  # a recording for each shape, replayed at one call instead of hundreds
        torch._dynamo.config.recompile_limit = 64  # lengths
        classifier.compile(mode="reduce-overhead", dynamic=False)
    return Unpadded(classifier) if variant == "unpadded" else classifier


def minibert_finetune(job):
    classifier, device, precision = setup(job)
    examples = tokenised(job, *read_texts(job))
    classifier = variant_of(classifier, job)
    seconds = timed_training(classifier, examples, job, device, precision)
    batches = bucketed_batches(examples.lengths, job["batch_size"], 0, 0)
    size = job.get("micro_batch") or job["batch_size"]
    parts = [batch[i : i + size] for batch in batches for i in range(0, len(batch), size)]
    return training_result(job, examples.lengths, padding_fraction(examples.lengths, parts), seconds)


def minibert_shape(job):
    """Training on full batches of one shape, random token ids."""
    classifier, device, precision = setup(job)
    batch, length = job["shape"]
    batches = max(WARM_UP_BATCHES, 2**15 // (batch * length))
    ids = np.random.default_rng(0).integers(1000, 6000, (batches * batch, length))
    examples = Examples([Sequence(row, length) for row in ids], [i % 2 for i in range(len(ids))])
    seconds = timed_training(classifier, examples, {**job, "batch_size": batch}, device, precision)
    return training_result(job, examples.lengths, 0.0, seconds)


def minibert_frozen(job):
    """Encode train and validation (a fifth) once, and fit every head on every pooling."""
    classifier, device, precision = setup(job)
    examples = tokenised(job, *read_texts(job))
    cut = len(examples) * 4 // 5
    parts = [part_of(examples, 0, cut), part_of(examples, cut, None)]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MINIBERT_CACHE"] = cache
        encode(classifier.encoder, part_of(examples, 0, 64), ["cls"], device, precision, quiet=True)  # warm-up
        started = time.perf_counter()
        features = [
            encode(classifier.encoder, part, ["cls", "mean"], device, precision, quiet=True)[0] for part in parts
        ]
        fit_heads(*features, *(part.labels.tolist() for part in parts), 2, ("linear", "mlp"), quiet=True)
        seconds = time.perf_counter() - started
    return {"rate": len(examples) / seconds, "seconds": seconds}


def minibert_inference(job):
    classifier = load_classifier(model_folder(job), device=job["device"], precision=job["precision"])
    if job.get("variant") == "compile":
        classifier.classifier.compile(dynamic=True)
    return timed_inference(job, limited(classifier, job).predict)


def limited(classifier, job):
    """The `TextClassifier`, reading no more of a text than the job allows."""
    classifier.max_length = min(classifier.max_length, job["max_length"])
    return classifier


def timed_inference(job, classify):
    """Rate of labelling the job's test texts, and of a trained classifier the share of labels that are right."""
    texts, labels = read_texts(job, "test")
    classify(texts[:256])  # warm-up
    started = time.perf_counter()
    answers = classify(texts)
    seconds = time.perf_counter() - started
    result = {"rate": len(texts) / seconds, "seconds": seconds}
    if job["model"] != "classifier":  # random weights: whether they are right says nothing
        return result
    names = read_task(job)["label_names"]
    right = sum(answer == names[label] for answer, label in zip(answers, labels, strict=True))
    return {**result, "accuracy": right / len(texts)}


def minibert_whole(job):
    """Three epochs on every training text, then every test text; loading and tokenisation inside the clock."""
    started = time.perf_counter()
    classifier, device, precision = setup(job)
    examples = tokenised(job, *read_texts(job))
    test = tokenised(job, *read_texts(job, "test"))
    settings = TrainSettings(epochs=3, batch_size=job["batch_size"], lr=LR, precision=precision)
    classifier = variant_of(classifier, job)
    train(classifier, examples, part_of(examples, 0, 1), settings, device, quiet=True)
    trained = time.perf_counter() - started
    predict(classifier, test, device, precision)
    seconds = time.perf_counter() - started
    return {
        "rate": len(examples) / seconds, "seconds": seconds, "training": trained, "texts": len(examples),
        "test_texts": len(test),
    }  # fmt: skip


def minibert_matmul(job):
    """The machine's rates for large matrix products, {precision: operations per second, or None}."""
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
    if job["device"] == "cuda":
        kinds["fp16"] = torch.float16
    return {"rate": 0, "seconds": 0, **{name: product_rate(kind, job["device"]) for name, kind in kinds.items()}}


def product_rate(kind, device):
    """Operations per second in a product of two square matrices; None where PyTorch has no such product."""
    multiply = torch._int_mm if kind == torch.int8 else torch.mm
    if device == "cpu" and kind == torch.float32 and mkl_is_slow():
        multiply = product
    for size in (512, 4096):  # where a machine has no instructions for it, the small one says enough
        matrix = torch.randint(-100, 100, (size, size), device=device).to(kind)
        seconds = []
        for _ in range(22):
            started = time.perf_counter()
            try:
                multiply(matrix, matrix)
            except RuntimeError:
                return None
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        rate = 2 * size**3 / median(seconds[2:])
        if rate < SLOW:
            break
    return rate


class Unpadded(nn.Module):
    """A classifier (of [CLS] pooling) with the batch's real tokens in one row, [N, E], so that no layer sees padding.

    On a GPU its attention is PyTorch's variable-length kernel, elsewhere a loop over texts. Neither drops attention
    weights (the kernel cannot), so this is less work than the others do: an upper limit of what there is to gain.
    """

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids, attention_mask, token_type_ids):
        encoder = self.classifier.encoder
        lengths = attention_mask.sum(1)
        offsets = functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)  # [B + 1]
        hidden = encoder.embeddings(input_ids, token_type_ids)[attention_mask.bool()]  # [N, E]
        for layer in encoder.layers:
            attention = layer.attention
            parts = [part(hidden) for part in (attention.query, attention.key, attention.value)]
            parts = [part.unflatten(-1, (attention.num_heads, attention.head_width)) for part in parts]  # [N, H, D]
            attended = attention.output(attend_unpadded(*parts, offsets, input_ids.shape[1]).flatten(1))
            hidden = layer.attention_norm(hidden + layer.attention_dropout(attended))
            hidden = layer.feed_forward_norm(hidden + layer.feed_forward_dropout(layer.feed_forward(hidden)))
        return self.classifier.head(hidden[offsets[:-1].long()])


def attend_unpadded(query, key, value, offsets, longest):
    """[N, H, D] each, where the texts begin [B + 1], tokens of the longest -> [N, H, D]."""
    if query.device.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn  # new in PyTorch 2.10

        return varlen_attn(query, key, value, offsets, offsets, longest, longest)
    lengths = offsets.diff().tolist()
    texts = zip(*(part.transpose(0, 1).split(lengths, dim=1) for part in (query, key, value)), strict=True)
    return torch.cat([functional.scaled_dot_product_attention(*text) for text in texts], dim=1).transpose(0, 1)


# ---- transformers' side


def trainer(job, train_body=True, epochs=1):
    """transformers' Trainer on the job's texts; the result."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    precision, _ = resolve_precision(job["precision"], resolve_device(job["device"]))
    model = AutoModelForSequenceClassification.from_pretrained(model_folder(job), dtype=torch.float32)
    if not train_body:
        model.base_model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(job))
    # The Trainer sorts by length within 50 batches, but in a small set within a quarter of the set. Four times the
    # texts, and a quarter of the steps, sort as many together as minibert does here.
    texts, labels = read_texts(job, times=4)
    padded = job.get("padded", False)
    encoded = tokenizer(texts, truncation=True, max_length=job["max_length"], padding="max_length" if padded else False)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
    ]
    pad, masks = DataCollatorWithPadding(tokenizer), []

    def collate(batch):
        batch = pad(batch)
        masks.append(batch["attention_mask"])
        return batch

    def run(rows, steps):
        with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(sys.stderr):
            arguments = TrainingArguments(
                output, max_steps=steps, per_device_train_batch_size=job["batch_size"], learning_rate=LR,
                weight_decay=WEIGHT_DECAY, warmup_steps=WARMUP, lr_scheduler_type="linear", max_grad_norm=1.0,
                bf16=precision == "bf16", fp16=precision == "fp16", use_cpu=job["device"] == "cpu", save_strategy="no",
                eval_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", seed=0,
                train_sampling_strategy="random" if padded else "group_by_length",
            )  # fmt: skip
            runner = Trainer(model, arguments, train_dataset=rows, data_collator=collate)
            started = time.perf_counter()
            runner.train()
            return time.perf_counter() - started

    run(rows[: WARM_UP_BATCHES * job["batch_size"]], WARM_UP_BATCHES)
    masks.clear()
    gc.collect()  # the warm-up's optimizer
    steps = epochs * -(-len(rows) // (4 * job["batch_size"]))
    seconds = run(rows, steps)
    del masks[steps:]  # the loader reads one batch ahead
    lengths = [int(length) for mask in masks for length in mask.sum(1)]
    padding = 1 - sum(lengths) / sum(mask.numel() for mask in masks)
    if train_body:
        return training_result(job, lengths, padding, seconds)
    return {"rate": len(lengths) / epochs / seconds, "seconds": seconds, "padding": padding}


def trainer_finetune(job):
    return trainer(job)


def trainer_frozen(job):
    return trainer(job, train_body=False, epochs=3)


def pipeline_inference(job):
    """The text-classification pipeline, with its model in the same precision."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    precision, _ = resolve_precision(job["precision"], resolve_device(job["device"]))
    dtype = PRECISIONS[precision] or torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(model_folder(job), dtype=dtype)
    classify = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(model_folder(job)),
        device=job["device"], batch_size=32, truncation=True, max_length=job["max_length"],
    )  # fmt: skip
    return timed_inference(job, lambda texts: [answer["label"] for answer in classify(texts)])


# ---- ONNX Runtime's and OpenVINO's side


def peer_prepare(job):
    """Export the model, and quantise it where the peer's precision is int8."""
    started = time.perf_counter()
    reader = limited(load_classifier(model_folder(job)), job)
    texts, labels = read_texts(job, times=2)
    examples = reader.tokenizer.examples(texts, None, labels, reader.max_length, reader.truncation)
    peers.prepare(model_folder(job), job["side"], job["precision"], examples)
    return {"rate": 0, "seconds": time.perf_counter() - started}


def peer_inference(job):
    """The peer's model where minibert's would stand: the same tokens in the same batches, longest first."""
    classifier = limited(load_classifier(model_folder(job)), job)
    classifier.classifier = peers.Session(classifier.classifier, model_folder(job), job["side"], job["precision"])
    classifier.precision = "fp32"  # no autocast around it
    return timed_inference(job, classifier.predict)


onnxruntime_prepare = openvino_prepare = peer_prepare
onnxruntime_inference = openvino_inference = peer_inference


if __name__ == "__main__":
    print(json.dumps(run_job(json.loads(sys.argv[1]))))
