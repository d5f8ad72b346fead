"""The integral against Captum's, on the same models, baselines and steps. Needs captum; skipped without it."""

import pytest
import torch
from tiny import difference, families, paths

from minibert import explain
from minibert.load import load_tokenizer, read_classifier

attr = pytest.importorskip("captum.attr", reason="captum is not installed (it comes with minibert's [reference] extra)")


@families
@paths
@pytest.mark.parametrize("pair", [None, "a dull story"])
@pytest.mark.parametrize("steps", [5, 32])
def test_the_shares_are_those_of_layer_integrated_gradients(
    tiny_bert, tiny_distilbert, tiny_roberta, tiny_electra, family, fast, pair, steps
):
    folders = {"bert": tiny_bert, "distilbert": tiny_distilbert, "roberta": tiny_roberta, "electra": tiny_electra}
    classifier, tokenizer = read_classifier(folders[family], fast)[0], load_tokenizer(folders[family])
    batch = tokenizer(["The film was fine, really good!"], pair and [pair], max_length=64)
    special = torch.isin(batch.input_ids, torch.tensor([tokenizer.cls_id, tokenizer.sep_id]))
    baseline_ids = batch.input_ids.where(special, tokenizer.pad_id)
    word = classifier.encoder.embeddings.word
    for target in (0, 4):
        theirs, gap = attr.LayerIntegratedGradients(classifier, word).attribute(
            batch.input_ids, baseline_ids, target=target, n_steps=steps, method="riemann_middle",
            additional_forward_args=(batch.attention_mask, batch.token_type_ids), return_convergence_delta=True,
        )  # fmt: skip
        ends = word(batch.input_ids).detach(), word(baseline_ids).detach()
        ours = explain.integrated_gradients(classifier, batch, *ends, target, steps)
        assert difference(ours, theirs.sum(-1)) < 1e-4
        assert theirs.abs().max() > 1e-2  # else there is nothing to compare
        if family != "roberta":  # Captum's end point has the baseline's own positions there, and so another gap
            with torch.no_grad():
                logits = explain.logits_at(classifier, batch, torch.stack(ends))[:, target]
            assert (ours.sum() - (logits[0] - logits[1])).item() == pytest.approx(gap.item(), abs=1e-4)
