"""`--module FILE:CLASS`: whole modules of many styles climb without glue, and the first part that is wrong is named."""

import json
import re
import shutil
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ladder_tools import REPOSITORY, command, written

from minibert.parity import listening
from minibert.parity.module.build import set_constants
from minibert.parity.module.record import Runner, argument_kinds
from minibert.parity.opening import load

TESTS = Path(__file__).parent
COURSE, MODULES = TESTS / "course", TESTS / "modules"
WHOLE = "bert_embeddings layer bert_encoder loss_and_gradients bert_embeddings_dropout bert_layer_dropout".split()


def climbed(capsys, *arguments, isolated=False):
    """({rung: row}, the notes, the exit code) of a module's climb."""
    code, out, err = command(capsys, "--module", *arguments, "--json", isolated=isolated)
    assert err == "", err
    report = json.loads(out)
    return {row["rung"]: row for row in report["rungs"]}, report["notes"], code


def failed(rows):
    return {name: row["mistakes"] for name, row in rows.items() if row["status"] not in ("OK", "OTHER")}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_courses_skeleton_passes_with_one_command_and_its_adamw_is_another_convention(dtype, capsys):
    rows, notes, code = climbed(capsys, COURSE / "bert.py:BertModel", "--dtype", dtype, isolated=True)
    assert code == 0 and failed(rows) == {}
    assert list(rows) == [*WHOLE[:3], "pooler", *WHOLE[3:], "adamw", "adamw_several"]
    for name in ("adamw", "adamw_several"):
        assert rows[name]["status"] == "OTHER"
        assert rows[name]["conventions"] == ["folded-bias-correction", "decay-after-step"]
    assert "BertModel from BertConfig; weights by the course skeleton's names" in notes
    assert "AdamW from optimizer.py, beside it" in notes


STYLES = {  # file and class: (what is said about it, the rungs that rightly fail)
    "torch_layers.py:MyBert": ("names and shapes", {"bert_layer_dropout": ["dropout-inside-feed-forward"]}),
    "torch_layers.py:TimeFirst": ("names and shapes", {"bert_layer_dropout": ["dropout-inside-feed-forward"]}),
    "heads.py:TransformerEncoder": ("takes its mask as [B, 1, T], 1 for a token", {}),
    "fused.py:BERT": ("line 72: data = open", {}),
    "lengths.py:BERTEncoder": ("asked with padding on the right only", {}),
}


@pytest.mark.parametrize("style", STYLES)
def test_right_modules_of_other_styles_pass_and_pytorchs_own_layer_drops_once_more_than_bert(style, capsys):
    said, fails = STYLES[style]
    rows, notes, _ = climbed(capsys, MODULES / style)
    assert list(rows) == WHOLE and failed(rows) == fails
    assert any(said in note for note in notes), notes


def test_how_pytorchs_own_layer_drops_where_bert_does_is_said_and_true(tmp_path, capsys):
    said = "PyTorch's TransformerEncoderLayer drops inside its feed-forward, too; "
    said += "layer.dropout = nn.Identity() ends that"
    _, notes, _ = climbed(capsys, MODULES / "torch_layers.py:MyBert", "--rungs", "layer")
    assert said in notes
    text = (MODULES / "torch_layers.py").read_text(encoding="utf-8")
    line = re.search(r"(?m)^( *)self\.encoder = .*$", text)
    mended = f"{line[0]}\n{line[1]}for layer in self.encoder.layers:\n{line[1]}    layer.dropout = nn.Identity()"
    path = written(tmp_path / "mended.py", text.replace(line[0], mended))
    rows, notes, _ = climbed(capsys, f"{path}:MyBert", "--rungs", "layer,bert_layer_dropout")
    assert failed(rows) == {} and said not in notes


@pytest.mark.parametrize("name", ["Sublayers", "NormList", "SecondFirst"])
def test_two_layer_norms_are_told_apart_whether_they_are_counted_from_0_or_from_1(name, capsys):
    rows, _, code = climbed(capsys, MODULES / f"two_norms.py:{name}", "--rungs", "layer,bert_encoder")
    assert code == 0 and failed(rows) == {}


@pytest.mark.parametrize("name", ["InFront", "Behind"])
def test_biases_are_found_by_a_b_in_front_or_behind_whatever_its_case(name, capsys):
    rows, _, code = climbed(capsys, MODULES / f"raw_biases.py:{name}", "--rungs", "layer")
    assert code == 0 and failed(rows) == {}


def test_biases_of_other_names_are_asked_for_and_a_module_without_any_is_judged(capsys):
    code, out, err = command(capsys, "--module", MODULES / "raw_biases.py:Odd", "--rungs", "layer")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "6 more, while layers.0.attn.shift1, layers.0.attn.shift2 and 6 more have no use; write a map: " in err
    rows, notes, _ = climbed(capsys, MODULES / "raw_biases.py:Without", "--rungs", "layer")
    assert list(failed(rows)) == ["layer"] and any(note.startswith("no place for") for note in notes)


FORMS = {  # class: how it wants its mask
    "Blocked4": "[B, 1, 1, T], True for padding", "Added2": "[B, T], 0 for a token, -10000 for padding",
    "Added4": "[B, 1, 1, T], 0 for a token, -10000 for padding", "Blocked2": "[B, T], True for padding",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_mask_is_found_also_beside_another_mistake(name, capsys):
    rows, notes, _ = climbed(capsys, MODULES / f"masks.py:{name}", "--rungs", "layer")
    assert failed(rows) == {} and f"takes its mask as {FORMS[name]}" in notes
    rows, notes, _ = climbed(capsys, MODULES / f"masks.py:{name}Relu", "--rungs", "layer")
    assert failed(rows) == {"layer": ["relu"]} and f"takes its mask as {FORMS[name]}" in notes


@pytest.mark.parametrize("name", ["Inverted", "InvertedLayer4"])
def test_a_mask_that_is_called_as_berts_is_1_for_a_token_and_inverted_where_it_is_not(name, capsys):
    rows, _, _ = climbed(capsys, MODULES / f"masks.py:{name}", "--rungs", "layer")
    assert failed(rows) == {"layer": ["mask-inverted"]}


def test_a_mask_of_another_name_may_be_true_for_padding_and_the_first_note_says_so(capsys):
    rows, notes, _ = climbed(capsys, MODULES / "masks.py:InvertedByOwnName", "--rungs", "layer")
    assert failed(rows) == {} and notes[0] == "takes its mask as [B, T], True for padding"


RETURNS = "AList ADict ATuple ALayerOfDicts ALayerOfTuples ALayerOfNamedTuples ALayerOfDataclasses".split()


@pytest.mark.parametrize("name", RETURNS)
def test_what_a_module_or_its_layers_give_may_be_a_list_a_dict_or_a_tuple(name, capsys):
    rows, notes, code = climbed(capsys, MODULES / f"returns.py:{name}")
    assert code == 0 and failed(rows) == {} and ("pooler" in rows) == ("Layer" in name)


def test_a_dataclass_that_a_module_returns_is_looked_into(capsys):
    rows, _, _ = climbed(capsys, MODULES / "returns.py:WrongDataclass", "--rungs", "bert_encoder,layer,pooler")
    assert list(failed(rows)) == ["bert_encoder", "pooler"]


def test_where_nothing_is_found_in_what_a_module_returns_a_note_says_so(capsys):
    rows, notes, _ = climbed(capsys, MODULES / "returns.py:Unknown", "--rungs", "bert_encoder")
    assert failed(rows) == {}
    assert "found no hidden states in what it returns, a Box: its last layer's are compared" in notes


@pytest.mark.parametrize("name", ["Positions", "PositionsBetween", "Labels", "PositionalOnly", "Unknown"])
def test_arguments_of_forward_are_told_by_their_names_before_their_places(name, capsys):
    rows, _, code = climbed(capsys, MODULES / f"arguments.py:{name}", "--rungs", "bert_embeddings,bert_encoder")
    assert code == 0 and failed(rows) == {} and len(rows) == 2


def test_every_kind_of_argument_has_its_name():
    kinds = {name: argument_kinds(SimpleNamespace(forward=forward)) for name, forward in FORWARDS.items()}
    assert kinds == {
        "pytorch": {"src": "ids", "src_key_padding_mask": "blocked"},
        "both": {"src": "ids", "src_mask": "mask", "src_key_padding_mask": "blocked"},
        "unknown": {"words": "ids", "which": "mask", "what": "types"},
        "a helper": {"words": "ids"},
        "optional": {"input_ids": "ids", "attention_mask": "mask"},
    }


def test_positions_are_counted_as_the_family_counts_them():
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    assert Runner.positions(SimpleNamespace(pad=None), mask).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert Runner.positions(SimpleNamespace(pad=1), mask).tolist() == [[1, 2, 3], [2, 3, 1]]


IN_ONE = """\
from by_heads import ByHeads

class AsKeywords(ByHeads):
    def forward(self, **inputs):
        return super().forward(inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"])

class AsADict(ByHeads):
    def forward(self, batch):
        return super().forward(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
"""


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_a_forward_of_keywords_is_given_hugging_faces_and_one_of_a_dict_is_told_what_it_was_given(tmp_path, capsys):
    for name in ("plain_bert.py", "by_heads.py"):
        shutil.copy(MODULES / name, tmp_path)
    path = written(tmp_path / "in_one.py", IN_ONE)
    rows, _, _ = climbed(capsys, f"{path}:AsKeywords", "--rungs", "bert_embeddings,bert_encoder")
    assert failed(rows) == {} and len(rows) == 2
    rows, notes, _ = climbed(capsys, f"{path}:AsADict", "--rungs", "layer")
    assert rows["layer"]["status"] == "ERROR" and any(
        note.startswith("its forward does not work yet: ") and note.endswith("given tensors as batch")
        for note in notes
    )


FORWARDS = {
    "pytorch": lambda src, src_mask=None, src_key_padding_mask=None: None,
    "both": lambda src, src_mask, src_key_padding_mask=None: None,
    "unknown": lambda words, which, what, more: None,
    "a helper": lambda words, x=None: None,
    "optional": lambda input_ids=None, attention_mask=None, position_ids=None, labels=None: None,
}


def test_a_distilbert_that_is_not_called_one_is_known_by_its_parameters(capsys):
    rows, notes, code = climbed(capsys, MODULES / "distil.py:Encoder")
    assert code == 0 and failed(rows) == {} and len(rows) == 4 and "distilbert_layer_dropout" in rows
    assert "judged as DistilBERT, as its parameters are called; else: --family bert" in notes
    rows, _, _ = climbed(capsys, MODULES / "distil.py:Encoder", "--family", "bert", "--rungs", "bert_layer_dropout")
    assert list(failed(rows)) == ["bert_layer_dropout"]


def test_a_roberta_of_its_own_names_is_asked_its_head_too(capsys):
    rungs = "roberta_embeddings,roberta_head,roberta_head_dropout"
    rows, notes, code = climbed(capsys, MODULES / "roberta.py:Roberta", "--rungs", rungs)
    assert code == 0 and failed(rows) == {} and {row["status"] for row in rows.values()} == {"OK"}
    assert not any(note.startswith("left as built") for note in notes)


def test_robertas_layer_is_asked_with_berts_eps_and_its_encoder_with_its_own(capsys):
    rungs = "layer,bert_layer_dropout"
    rows, notes, code = climbed(capsys, MODULES / "roberta.py:Roberta", "--rungs", rungs)
    assert code == 0 and failed(rows) == {} and {row["status"] for row in rows.values()} == {"OK"}
    berts = {name: ["eps-1e-12"] for name in ("roberta_embeddings", "roberta_encoder")}
    for name, fails in (("FixedRoberta", {}), ("BertsEpsRoberta", berts)):
        rows, notes, _ = climbed(capsys, MODULES / f"roberta.py:{name}")
        assert failed(rows) == fails and "roberta_encoder" in rows and "layer" not in rows
        assert "its layers keep their own eps: they are compared in roberta_encoder, and not alone" in notes


def test_a_classifier_without_a_pooler_is_named_and_the_gradients_are_asked_with_the_ladders_head(capsys):
    place = MODULES / "no_pooler.py:Classifier"
    rows, notes, _ = climbed(capsys, place, "--rungs", "bert_head,loss_and_gradients")
    assert failed(rows) == {"bert_head": ["classifier-without-pooler"]} and rows["loss_and_gradients"]["status"] == "OK"
    assert "its classifier has no pooler: loss and gradients are asked with the ladder's own head" in notes


@pytest.mark.parametrize("name", ["Before", "Behind"])
def test_what_is_dropped_outside_of_the_first_layer_is_not_put_down_to_it(name, capsys):
    rows, _, _ = climbed(capsys, MODULES / f"never_off.py:{name}", "--rungs", "bert_encoder,bert_layer_dropout")
    assert failed(rows) == {"bert_encoder": ["dropout-in-evaluation"]}


def test_the_order_of_rows_that_is_read_from_one_matrix_is_said(capsys):
    functions = load({"place": "", "modules": [f"{MODULES / 'fused.py'}:BERT"]})
    assert "attn.c_attn.weight is one matrix for query, key and value: read as all of query, then key, then value" in (
        functions.notes
    )


def test_one_matrix_for_query_key_and_value_may_be_in_order_of_heads(capsys):
    rows, notes, code = climbed(capsys, MODULES / "by_heads.py:ByHeads")
    assert code == 0 and failed(rows) == {} and "loss_and_gradients" in rows
    assert "attn.qkv_proj.weight is one matrix for query, key and value: read head by head" in notes
    rows, _, _ = climbed(capsys, f"{MODULES / 'by_heads.py'}:OneLayer", "--rungs", "layer")
    assert failed(rows) == {}


def changed_course(folder, old, new):
    """FILE:CLASS of a copy of the course's BertModel with a piece of text replaced."""
    for path in COURSE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name == "bert.py":
            assert old in text
            text = text.replace(old, new)
        written(folder / path.name, text)
    return f"{folder / 'bert.py'}:BertModel"


def test_a_notebook_that_was_saved_as_a_file_passes_head_and_all(capsys):
    rows, notes, code = climbed(capsys, MODULES / "notebook.py")
    assert code == 0 and failed(rows) == {} and {"bert_head", "bert_head_dropout", *WHOLE} == set(rows)
    assert "not installed, and replaced by nothing: datasets_absent, transformers_absent" in notes
    assert any(note.startswith("line 3: get_ipython()") for note in notes)


MISTAKES = {  # what is changed in the course's bert.py: (the first rung that fails, what it looks like)
    ("/ math.sqrt(self.attention_head_size)", ""): ("layer", ["not-scaled"]),
    (" + attention_mask", ""): ("layer", ["no-mask", "mask-on-queries"]),
    ("self.interm_af = F.gelu", "self.interm_af = F.relu"): ("layer", ["relu"]),
    ("ln_layer(input + dropout(dense_layer(output)))", "ln_layer(dropout(dense_layer(output)))"): ("layer", None),
    ("words + positions + types", "words + types"): ("bert_embeddings", ["positions-missing"]),
    ("words + positions + types", "words + positions"): ("bert_embeddings", ["token-types-missing"]),
    ("for layer_module in self.bert_layers:", "for layer_module in self.bert_layers[:-1]:"): ("bert_encoder", None),
    ("self.pooler_af(self.pooler_dense", "(self.pooler_dense"): ("pooler", ["pooler-without-tanh"]),
    ("self.dropout(scores.softmax(dim=-1))", "self.dropout(scores).softmax(dim=-1)"): (
        "bert_layer_dropout", ["dropout-on-masked-scores"],
    ),
    ("self.embed_dropout(self.embed_layer_norm(words + positions + types))",
     "self.embed_layer_norm(self.embed_dropout(words + positions + types))"): (
        "bert_embeddings_dropout", ["dropout-before-layer-norm"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", MISTAKES, ids=lambda change: change[1][:40] or "nothing")
def test_a_mistake_in_a_module_is_named_at_the_first_rung_that_shows_it(change, tmp_path, capsys):
    first, names = MISTAKES[change]
    rows, _, code = climbed(capsys, changed_course(tmp_path, *change))
    found = failed(rows)
    assert code == 1 and next(iter(found)) == first, found
    assert names is None or set(found[first]) & set(names), found


def test_a_gradient_that_is_cut_off_is_found_and_the_forward_pass_is_right(tmp_path, capsys):
    place = changed_course(tmp_path, "self.word_embedding(input_ids)", "self.word_embedding(input_ids).detach()")
    rows, _, _ = climbed(capsys, place)
    assert list(failed(rows)) == ["loss_and_gradients"]
    assert "embeddings.word_embeddings.weight" in rows["loss_and_gradients"]["where"]


def test_the_first_layer_that_differs_is_named(tmp_path, capsys):
    line = "            hidden_states = layer_module(hidden_states, extended)\n"
    rows, _, _ = climbed(capsys, changed_course(tmp_path, line, line + "            extended = extended * 0\n"))
    assert rows["bert_encoder"]["note"] == "first differs at: layer 2" and rows["layer"]["status"] == "OK"


# ---- what a class needs, and what is said where it cannot be had

NEEDY = """\
import torch
from torch import nn
from torch_layers import MyBert

class Needy(MyBert):
    def __init__(self, vocab_size, breadth, depth_of_it, nhead, dim_feedforward):
        super().__init__(vocab_size, breadth, depth_of_it, nhead, dim_feedforward)

class Fixed(MyBert):
    def __init__(self):
        super().__init__(90, 24, 2, 4, 34)

class Deep(MyBert):
    def __init__(self, vocab_size, hidden_size):
        super().__init__(vocab_size, hidden_size, 5, 4, 34)

class Odd(MyBert):
    def forward(self, input_ids, attention_mask, token_type_ids):
        raise KeyError("odd")

class OwnConfig:
    def __init__(self, n_tokens=1000, broad=768, depth=12, heads=12, inner=3072):
        self.n_tokens, self.broad, self.depth, self.heads, self.inner = n_tokens, broad, depth, heads, inner

class Configured(MyBert):
    def __init__(self, config):
        super().__init__(config.n_tokens, config.broad, config.depth, config.heads, config.inner)

class Short(MyBert):
    def __init__(self, c):
        super().__init__(c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.intermediate_size)

class Part(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

class Stack(MyBert):
    def __init__(self, vocab_size, d_model, num_layers, nhead, dim_feedforward):
        super().__init__(vocab_size, d_model, num_layers, nhead, dim_feedforward)
        del self.tok, self.pos, self.seg, self.norm

class Keywords(MyBert):
    def __init__(self, **given):
        super().__init__(given["voc"], given["d_model"], given["depth"], given["heads"], given["inner"])

def make(vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size):
    return MyBert(vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size)

object_of_it = make(90, 20, 2, 4, 34)
"""


ABSENT = """\
from nowhere_{} import PreTrainedModel
from needy import Part

class Derived(PreTrainedModel):
    pass
"""


@pytest.fixture
def needy(tmp_path):
    shutil.copy(MODULES / "torch_layers.py", tmp_path)
    written(tmp_path / "absent.py", ABSENT.format(tmp_path.name))  # a library of its own for each test
    return written(tmp_path / "needy.py", NEEDY)


def test_an_argument_without_a_known_name_is_asked_for_and_given(needy, capsys):
    code, out, err = command(capsys, "--module", f"{needy}:Needy")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "Needy takes `breadth`" in err and "--config-arg breadth=" in err
    given = ("--config-arg", "breadth=hidden_size", "--config-arg", "depth_of_it=2")
    assert list(failed(climbed(capsys, f"{needy}:Needy", *given)[0])) == ["bert_layer_dropout"]
    code, out, err = command(capsys, "--module", f"{needy}:Needy", *given, "--config-arg", "braedth=3")
    assert (code, out) == (2, "") and "--config-arg braedth: Needy takes " in err and "breadth" in err
    given = "voc=vocab_size d_model=hidden_size depth=num_hidden_layers heads=4 inner=intermediate_size".split()
    given = [part for word in given for part in ("--config-arg", word)]
    rows, _, _ = climbed(capsys, f"{needy}:Keywords", *given, "--rungs", "bert_encoder")
    assert rows["bert_encoder"]["status"] == "OK"


def test_a_configuration_of_its_own_is_told_a_setting_and_one_of_a_short_name_is_asked_for(needy, capsys):
    rows, notes, _ = climbed(capsys, f"{needy}:Configured", "--config-arg", "broad=hidden_size", "--rungs", "layer")
    assert rows["layer"]["status"] == "OK" and notes[0].startswith("Configured from OwnConfig")
    code, _, err = command(capsys, "--module", f"{needy}:Short")
    assert code == 2 and "--config-arg c=VALUE, or c=config for the whole configuration" in err
    rows, _, _ = climbed(capsys, f"{needy}:Short", "--config-arg", "c=config", "--rungs", "layer")
    assert rows["layer"]["status"] == "OK"


@pytest.mark.parametrize("name", ["make", "object_of_it"])
def test_a_function_that_makes_a_module_and_a_module_that_is_there_will_do(name, needy, capsys):
    rows, _, _ = climbed(capsys, f"{needy}:{name}")
    assert list(rows) == WHOLE and list(failed(rows)) == ["bert_layer_dropout"]


@pytest.mark.parametrize(
    "place, says",
    [
        ("needy.py:Fixed", "Fixed has vectors of 24, the ladder's small model of 20; what sets their size?"),
        ("needy.py:Deep", "has 5 layers, the ladder's model has 2"),
        ("needy.py:Gone", "has no class 'Gone'; its modules are: Needy, Fixed, Deep, Odd, Configured, Short, "),
        ("nowhere.py:Bert", "nowhere.py: no such file"),
        ("no.such.package:Bert", "cannot be imported"),
        ("needy.py:NEEDY", "has no class 'NEEDY'"),
        ("needy.py:Part", "Part has no layers that the ladder could find"),
        ("needy.py:Stack", "holds no embeddings, only layers: give the whole model's class, or one layer's"),
        ("absent.py:Derived", "Derived is derived from PreTrainedModel, which is not installed here; not installed, "),
        ("absent.py:PreTrainedModel", "PreTrainedModel is not installed here; not installed, and replaced by nothing"),
        ("absent.py:Part", "or a --map; not installed, and replaced by nothing: nowhere_test_what_cannot_be_asked"),
    ],
)
def test_what_cannot_be_asked_is_one_line_that_says_why(place, says, needy, capsys, monkeypatch):
    monkeypatch.chdir(needy.parent)
    code, out, err = command(capsys, "--module", place)
    assert (code, out) == (2, "") and err.count("\n") == 1 and says in err, err


def test_a_forward_that_fails_is_an_error_of_the_rungs_that_need_it_with_its_line(needy, capsys):
    rows, notes, code = climbed(capsys, f"{needy}:Odd")
    assert code == 1 and any("its forward does not work yet: KeyError: 'odd'" in note for note in notes)
    assert rows["layer"]["status"] == "ERROR" and "needy.py, line 19, in forward" in rows["layer"]["details"][0]


def test_a_skeleton_that_is_half_written_is_judged_by_its_half(tmp_path, capsys):
    place = changed_course(tmp_path, "        context = self.dropout(scores.softmax(dim=-1)) @ value\n",
                           "        ### TODO\n        raise NotImplementedError\n")  # fmt: skip
    rows, _, code = climbed(capsys, place)
    statuses = {name: row["status"] for name, row in rows.items()}
    assert code == 0 and statuses["bert_embeddings"] == statuses["bert_embeddings_dropout"] == "OK", statuses
    assert statuses["layer"] == statuses["bert_encoder"] == statuses["loss_and_gradients"] == "SKIP", statuses


def test_an_eps_in_a_constant_is_the_learners_own_and_may_be_wrong(capsys):
    rows, _, _ = climbed(capsys, MODULES / "constants.py:OtherEps", "--rungs", "layer")
    assert failed(rows) == {"layer": ["eps-1e-5"]}


def test_constants_are_set_in_the_learners_files_and_neither_in_ours_nor_in_libraries(tmp_path, monkeypatch):
    places = {"mine": "mine.py", "beside": "sub/beside.py", "lib": ".venv/lib/python3/site-packages/lib.py",
              "dist": "usr/dist-packages/dist.py"}  # fmt: skip
    for name, place in places.items():
        module = types.ModuleType(name)
        module.__file__, module.d_model = str(tmp_path / place), 768
        monkeypatch.setitem(sys.modules, name, module)
    set_constants(sys.modules["mine"], {"hidden_size": 20})
    assert {name: sys.modules[name].d_model for name in places} == {"mine": 20, "beside": 20, "lib": 768, "dist": 768}
    beside_minibert = types.ModuleType("beside_minibert")
    beside_minibert.__file__ = str(REPOSITORY / "beside_minibert.py")
    set_constants(beside_minibert, {"hidden_dropout_prob": 0.1})
    assert listening.DROP == 1.5


def test_a_map_is_written_mended_and_used(tmp_path, capsys):
    place, path = MODULES / "lengths.py:BERTEncoder", tmp_path / "names.json"
    assert command(capsys, "--module", place, "--write-map", path)[0] == 0
    names = json.loads(path.read_text(encoding="utf-8"))
    assert names["encoder.layer.1.attention.self.key.weight"] == "blks.1.attention.W_k.weight"
    assert failed(climbed(capsys, place, "--map", path)[0]) == {}
    query, key = "encoder.layer.0.attention.self.query.weight", "encoder.layer.0.attention.self.key.weight"
    names[query], names[key] = names[key], names[query]
    written(path, json.dumps(names))
    assert "layer" in failed(climbed(capsys, place, "--map", path)[0])
    bad = ((query, "blks.7.x", "no parameter 'blks.7.x'"), ("queery", "ln.weight", "'queery' is no weight"))
    for name, value, says in bad:
        written(path, json.dumps(names | {name: value}))
        code, _, err = command(capsys, "--module", place, "--map", path)
        assert code == 2 and says in err


def test_options_of_a_module_without_one_are_refused(capsys):
    code, _, err = command(capsys, COURSE / "bert.py", "--config-arg", "a=1")
    assert code == 2 and "go with --module" in err


def test_relative_imports_and_notebooks_are_managed(tmp_path, capsys):
    package = tmp_path / "a-package"
    package.mkdir()
    shutil.copy(MODULES / "torch_layers.py", package / "layers.py")
    written(package / "mine.py", "from .layers import MyBert\n\nclass Bert(MyBert):\n    pass\n")
    assert failed(climbed(capsys, f"{package / 'mine.py'}:Bert", "--rungs", "bert_encoder")[0]) == {}
    text = (MODULES / "torch_layers.py").read_text(encoding="utf-8")
    cells = ["%matplotlib inline\n!pip install nothing\n", *re.split(r"\n(?=class )", text), "model = MyBert(1)\n"]
    cells = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    written(package / "book.ipynb", json.dumps({"cells": [*cells, {"cell_type": "markdown", "source": ["# end"]}]}))
    assert failed(climbed(capsys, f"{package / 'book.ipynb'}:MyBert", "--rungs", "bert_encoder")[0]) == {}


@pytest.mark.slow
def test_a_file_that_trains_on_import_is_imported_again_without_that(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minibert.parity.process.IMPORT_LIMIT", 15.0)
    text = (MODULES / "torch_layers.py").read_text(encoding="utf-8")
    path = written(tmp_path / "endless.py", text + "\nwhile True:\n    pass\n")
    rows, notes, _ = climbed(capsys, f"{path}:MyBert", "--rungs", "bert_encoder", "--time-limit", "9", isolated=True)
    assert failed(rows) == {} and any("only what it defines is run" in note for note in notes)


OPTIMIZERS = """\
import torch

class BertAdam(torch.optim.Optimizer):
    def __init__(self, params, lr, b1=0.9, b2=0.999, e=1e-6, weight_decay=0.01, max_grad_norm=1.0):
        super().__init__(params, dict(lr=lr, betas=(b1, b2), eps=e, weight_decay=weight_decay, norm=max_grad_norm))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in [parameter for parameter in group["params"] if parameter.grad is not None]:
                self.update(parameter, parameter.grad, self.state[parameter], group)

    def update(self, parameter, gradient, state, group):
        if group["norm"] > 0:
            gradient = gradient * min(1, group["norm"] / (gradient.norm() + 1e-6))
        beta1, beta2 = group["betas"]
        state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
        state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
        update = state["m"] / (state["v"].sqrt() + group["eps"]) + group["weight_decay"] * parameter
        parameter -= group["lr"] * update

class OwnEps(torch.optim.AdamW):
    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, lr, betas, 1e-8, weight_decay)

class Named(torch.optim.AdamW):
    def __init__(self, named_parameters, lr, betas, eps, weight_decay):
        super().__init__([parameter for _, parameter in named_parameters], lr, betas, eps, weight_decay)
"""


def test_an_optimizers_settings_are_found_or_a_note_says_what_it_keeps(tmp_path, capsys):
    path = written(tmp_path / "optimizers.py", OPTIMIZERS)
    rows, notes, _ = climbed(capsys, f"{path}:BertAdam", "--rungs", "adamw")
    assert rows["adamw"]["mistakes"] == [] and notes == [
        "BertAdam keeps its own max_grad_norm=1.0; another value: --config-arg max_grad_norm=VALUE"
    ]
    rows, notes, _ = climbed(capsys, f"{path}:BertAdam", "--rungs", "adamw", "--config-arg", "max_grad_norm=-1")
    assert rows["adamw"]["conventions"] == ["no-bias-correction"] and notes == []
    rows, notes, _ = climbed(capsys, f"{path}:OwnEps", "--rungs", "adamw")
    assert notes == ["OwnEps takes no eps: its own is judged"]
    rows, notes, code = climbed(capsys, f"{path}:Named", "--rungs", "adamw,adamw_several")
    assert code == 0 and failed(rows) == {} and notes == []


def test_a_layer_alone_climbs_its_own_rungs(capsys):
    rows, notes, code = climbed(capsys, f"{COURSE / 'bert.py'}:BertLayer", "--rungs", "layer,bert_layer_dropout")
    assert code == 0 and failed(rows) == {} and list(rows) == ["layer", "bert_layer_dropout"]
    assert "takes its mask as [B, 1, 1, T], 0 for a token, -10000 for padding" in notes
    rows, _, _ = climbed(capsys, f"{MODULES / 'heads.py'}:EncoderLayer")
    assert failed(rows) == {} and list(rows) == ["layer", "bert_layer_dropout"]


@pytest.mark.parametrize("name", ["ByKeyword", "Swapped", "ByPlace", "PositionalOnly"])
def test_a_layers_arguments_are_told_by_their_names_too(name, capsys):
    rows, _, code = climbed(capsys, f"{MODULES / 'layers.py'}:{name}", "--rungs", "layer")
    assert code == 0 and failed(rows) == {}


def test_a_layer_that_is_told_lengths_is_asked_with_padding_on_the_right(capsys):
    rows, _, _ = climbed(capsys, f"{MODULES / 'lengths.py'}:EncoderBlock", "--rungs", "layer")
    assert failed(rows) == {}


def test_a_module_sees_no_gpu(tmp_path, capsys):
    text = (MODULES / "torch_layers.py").read_text(encoding="utf-8")
    seen = "\nimport os\nassert os.environ['CUDA_VISIBLE_DEVICES'] == ''\n"
    path = written(tmp_path / "mine.py", text + seen)
    rows, notes, _ = climbed(capsys, f"{path}:MyBert", "--rungs", "bert_encoder", isolated=True)
    assert failed(rows) == {} and not any("left out" in note for note in notes)


HUGGING_FACE = {  # class: how many rungs
    "BertModel": 7, "DistilBertModel": 4, "RobertaModel": 4, "BertForSequenceClassification": 8,
    "DistilBertForSequenceClassification": 6,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HUGGING_FACE)
def test_hugging_faces_classes_pass_without_glue(name, dtype, capsys):
    pytest.importorskip("transformers", reason="transformers is not installed")
    rows, _, code = climbed(capsys, f"transformers:{name}", "--dtype", dtype)
    assert code == 0 and failed(rows) == {} and len(rows) == HUGGING_FACE[name], failed(rows)


def test_a_folder_will_do_and_a_file_of_classes_is_told_about_module(capsys):
    rows, notes, code = climbed(capsys, COURSE, "--rungs", "bert_encoder,adamw")
    assert code == 0 and [row["status"] for row in rows.values()] == ["OK", "OTHER"]
    code, _, err = command(capsys, "--module", TESTS / "references")
    assert code == 2 and "called like a BERT" in err
    out = command(capsys, COURSE / "optimizer.py", isolated=True)[1]
    assert f"say --module {COURSE / 'optimizer.py'}:AdamW" in out


def test_without_a_class_the_likeliest_one_is_taken_and_named(capsys):
    functions = load({"place": "", "modules": [str(COURSE / "bert.py")]})
    assert any("BertModel is taken" in note for note in functions.notes)
