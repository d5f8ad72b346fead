"""ONNX Runtime and OpenVINO, what one uses for speed on a CPU, on the files that `minibert.export` writes.

A file is made once, by `prepare`, outside the clock; a `Session` then stands where minibert's classifier stands, so
that tokenisation, batches and softmax are the same code for all sides, and only the model's own work differs:

    ONNX Runtime   fp32: the exported graph, with all of its optimisations
                   int8: `quantize_dynamic`: weights by output channel, activations by batch, as they come
    OpenVINO       fp32 and bf16: the same exported graph, with the precision as a hint
                   int8: NNCF's post-training quantisation for transformers (SmoothQuant and bias correction) of
                   weights and activations, calibrated on training texts; the rest in the machine's own precision
"""

import contextlib
import os
import sys
import warnings
from pathlib import Path

import torch

from minibert.export import input_names, write_int8, write_onnx
from minibert.load import read_classifier

CALIBRATION = 300  # texts, NNCF's own default
NEEDS = {  # side, precision: what has to be installed
    ("onnxruntime", "fp32"): ("onnx", "onnxscript", "onnxruntime"),
    ("onnxruntime", "int8"): ("onnx", "onnxscript", "onnxruntime"),
    ("openvino", "fp32"): ("onnx", "onnxscript", "openvino"),
    ("openvino", "bf16"): ("onnx", "onnxscript", "openvino"),
    ("openvino", "int8"): ("onnx", "onnxscript", "openvino", "nncf"),
}


def file_of(model, side, precision):
    """Where the file of a peer lies, beside the checkpoint in the folder `model`."""
    if precision != "int8":
        return Path(model) / "exported.onnx"
    return Path(model) / ("exported-int8.onnx" if side == "onnxruntime" else "exported-int8.xml")


def prepare(model, side, precision, examples):
    """Make the file that a peer reads, unless it is there. examples: an `Examples` of training texts."""
    exported, wanted = file_of(model, side, "fp32"), file_of(model, side, precision)
    classifier, _ = read_classifier(model, fast=False)
    if not exported.is_file():
        write_onnx(classifier, exported)
    if wanted.is_file():
        return
    if side == "onnxruntime":
        write_int8(exported, wanted)
    else:
        quantise_for_openvino(exported, wanted, examples, input_names(classifier))


def quantise_for_openvino(exported, path, examples, names):
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf
        import openvino

        one_by_one = [examples.inputs([i])._asdict() for i in range(min(CALIBRATION, len(examples)))]
        rows = [{name: inputs[name].numpy() for name in names} for inputs in one_by_one]
        quantised = nncf.quantize(
            openvino.Core().read_model(exported), nncf.Dataset(rows), subset_size=len(rows),
            model_type=nncf.ModelType.TRANSFORMER,
        )  # fmt: skip
        openvino.save_model(quantised, path, compress_to_fp16=False)


class Session:
    """A peer's model, called as a classifier is called: `session(input_ids, attention_mask, ...)` gives the logits."""

    def __init__(self, classifier, model, side, precision):
        open_file = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}[side]
        self.names = input_names(classifier)
        self.logits = open_file(file_of(model, side, precision), precision, torch.get_num_threads())

    def eval(self):
        return self

    def __call__(self, input_ids, attention_mask, token_type_ids):
        inputs = dict(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return torch.from_numpy(self.logits({name: inputs[name].numpy() for name in self.names}))


def open_onnxruntime(path, precision, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def open_openvino(path, precision, threads):
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}  # one batch at a time, all threads
    if precision != "int8":
        settings["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda inputs: request.infer(inputs)[0].copy()
