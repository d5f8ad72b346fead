"""What minibert saves opens in transformers and gives the same numbers. Needs transformers; skipped without it.

The other direction, transformers' numbers in minibert, is test_model.py, from stored figures.
"""

import json

import pytest
import torch
from conftest import REFERENCES
from safetensors.torch import load_file

from minibert.config import FAMILIES
from minibert.load import (
    ARCHITECTURES,
    load_encoder,
    load_tokenizer,
    new_classifier,
    read_classifier,
    save_classifier,
    save_encoder,
)
from minibert.plumbing.checkpoint import find_checkpoint

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed (it comes with minibert's [reference] extra)"
)

TOKENIZER_CASES = json.loads((REFERENCES / "tokenizer-cases.json").read_text(encoding="utf-8"))


@pytest.fixture(params=["bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra"])
def folder(request, tiny_bert, tiny_distilbert, tiny_roberta, tiny_electra):
    folders = {"bert": tiny_bert, "distilbert": tiny_distilbert, "roberta": tiny_roberta, "electra": tiny_electra}
    if request.param in folders:
        return folders[request.param]
    config = json.loads((tiny_roberta / "config.json").read_text())  # the same architecture under another name
    architecture = f"{ARCHITECTURES[request.param]}ForSequenceClassification"
    config |= {"model_type": request.param, "architectures": [architecture]}
    (tiny_roberta / "config.json").write_text(json.dumps(config))
    return tiny_roberta


def read(auto, folder, **options):
    """A model by its auto class, and nothing new, missing or left over in it."""
    model, report = auto.from_pretrained(folder, output_loading_info=True, attn_implementation="eager", **options)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], (kind, report[kind])
    return model.eval()


def inputs_of(model_type, reference):
    figures = reference(f"tiny-{FAMILIES[model_type]}-outputs.safetensors")
    names = ("input_ids", "attention_mask", "token_type_ids")[: 2 if model_type == "distilbert" else 3]
    return {name: figures[name] for name in names}


def test_a_classifier_with_its_own_head_opens_with_the_same_logits(folder, tmp_path, reference):
    label_names = ["awful", "bad", "so so", "good"]
    classifier = new_classifier(folder, label_names, head="native", seed=3).eval()
    with torch.no_grad():  # a fresh head's biases are 0: spread them, so that a lost one shows
        for parameter in classifier.head.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    save_classifier(classifier, tmp_path / "saved", {"max_length": 64})
    theirs = read(transformers.AutoModelForSequenceClassification, tmp_path / "saved")
    assert theirs.config.id2label == dict(enumerate(label_names))
    inputs = inputs_of(theirs.config.model_type, reference)
    with torch.no_grad():
        assert (theirs(**inputs).logits - classifier(**inputs)).abs().max() <= 1e-5
    again, extra = read_classifier(tmp_path / "saved")
    assert torch.equal(again(**inputs), classifier(**inputs))
    assert again.label_names == label_names and extra["max_length"] == 64


def test_saving_what_transformers_saved_gives_back_every_tensor(folder, tmp_path):
    save_classifier(read_classifier(folder)[0], tmp_path / "saved")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "saved" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_encoder_opens_with_the_same_hidden_states(folder, tmp_path, reference):
    encoder = load_encoder(folder)
    save_encoder(encoder, tmp_path / "saved")
    without_pooler = {"add_pooling_layer": False} if encoder.config.family == "roberta" else {}
    theirs = read(transformers.AutoModel, tmp_path / "saved", **without_pooler)
    inputs = inputs_of(theirs.config.model_type, reference)
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        assert (theirs(**inputs).last_hidden_state - encoder(**inputs))[real].abs().max() <= 1e-5


def test_dropout_stands_where_transformers_has_it(folder):
    distilbert = folder.name == "tiny-distilbert"
    # One layer in train mode, its feed-forward output zeroed: only dropout after the attention can be seen.
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.5, "dropout": 0.5}
    (folder / "config.json").write_text(json.dumps(config))
    theirs = read(transformers.AutoModelForSequenceClassification, folder).base_model.train()
    ours = load_encoder(folder).train()
    layer = theirs.transformer.layer[0] if distilbert else theirs.encoder.layer[0]
    contract = layer.ffn.lin2 if distilbert else layer.output.dense
    with torch.no_grad():
        for linear in (contract, ours.layers[0].feed_forward.contract):
            linear.weight.zero_(), linear.bias.zero_()
        hidden = torch.randn(2, 7, 24)
        random = [not torch.equal(first(one(hidden)), first(one(hidden))) for one in (layer, ours.layers[0])]
    assert random == [not distilbert] * 2


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("variant", ["uncased", "cased", "keep accents", "plain CJK"])
def test_a_saved_tokenizer_opens_with_the_same_ids(tiny_bert, tmp_path, variant):
    cases = TOKENIZER_CASES[variant]
    config = json.loads((tiny_bert / "tokenizer_config.json").read_text())
    (tiny_bert / "tokenizer_config.json").write_text(json.dumps({**config, **cases["options"]}))
    load_tokenizer(tiny_bert).save(tmp_path / "saved")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs.model_max_length == 64
    for text, (ids, types) in zip(TOKENIZER_CASES["texts"], cases["texts"], strict=True):
        encoding = theirs([text])
        assert (encoding["input_ids"], encoding["token_type_ids"]) == ([ids], [types]), text
    for pair, (ids, types) in zip(TOKENIZER_CASES["pairs"], cases["pairs"], strict=True):
        encoding = theirs(*([text] for text in pair))
        assert (encoding["input_ids"], encoding["token_type_ids"]) == ([ids], [types]), pair


@pytest.mark.parametrize("source", ["vocab.json", "tokenizer.json"])
def test_a_saved_bpe_tokenizer_opens_with_the_same_ids(tiny_roberta, tmp_path, source):
    cases = json.loads((REFERENCES / "roberta-tokenizer-cases.json").read_text(encoding="utf-8"))
    load_tokenizer(tiny_roberta).save(tmp_path / "saved")
    if source == "tokenizer.json":
        load_tokenizer(tmp_path / "saved").save(tmp_path / "again")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / ("again" if source == "tokenizer.json" else "saved"))
    assert theirs.model_max_length == 64 and theirs.pad_token_id == 1
    for text, ids in zip(TOKENIZER_CASES["texts"], cases["texts"], strict=True):
        assert theirs([text])["input_ids"] == [ids], text
    for pair, ids in zip(TOKENIZER_CASES["pairs"], cases["pairs"], strict=True):
        assert theirs(*([text] for text in pair))["input_ids"] == [ids], pair


def test_a_run_folder_works_in_a_transformers_pipeline(folder, tmp_path):
    classifier, _ = read_classifier(folder)
    save_classifier(classifier, tmp_path / "saved")
    tokenizer = load_tokenizer(folder)
    tokenizer.save(tmp_path / "saved")
    pipeline = transformers.pipeline("text-classification", str(tmp_path / "saved"), top_k=None, device="cpu")
    texts = ["the film was fine", "a very dull story and not good"]
    with torch.no_grad():
        expected = torch.cat([classifier(*tokenizer([text])) for text in texts]).softmax(-1)
    for row, answers in zip(expected, pipeline(texts), strict=True):
        by_name = {answer["label"]: answer["score"] for answer in answers}
        assert [by_name[name] for name in classifier.label_names] == pytest.approx(row.tolist(), abs=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_minibert_tiny_opens_with_the_same_ids_and_hidden_states(dtype, tolerance):
    folder = find_checkpoint("minibert-tiny")
    texts = ["A fine film, in its way: never dull!", "dull", "Café 电影: the xylophonist's unbelievable cinematography"]
    batch = load_tokenizer(folder)(texts)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    assert torch.equal(theirs["input_ids"], batch.input_ids)
    model = transformers.AutoModel.from_pretrained(folder, dtype=dtype).eval()
    encoder = load_encoder(folder, dtype=dtype)
    with torch.inference_mode():
        expected = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        hidden = encoder(batch.input_ids, batch.attention_mask)
    real = batch.attention_mask == 1
    assert (hidden - expected)[real].abs().max() <= tolerance
