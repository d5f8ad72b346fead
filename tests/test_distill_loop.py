"""Teacher and student side by side, and the loop in which the student learns."""

import math

import pytest
import torch
from distilling import ALL, CPU, FULL, SMALLEST, batch_of, classifier, copy_of, lines, same, spread, tiny, wordpiece

from minibert import train
from minibert.batch import Examples, bucketed_batches
from minibert.distill.loop import Distillation, DistillSettings, Watched, distill
from minibert.distill.losses import hidden_loss, logit_loss
from minibert.distill.student import new_student, new_student_head
from minibert.distill.vocabulary import choose_vocabulary, cut_tokenizer
from minibert.head import Classifier
from minibert.plumbing.files import UserError

# Teacher and student side by side


def test_what_is_watched_is_the_models_own():
    model, batch = classifier(tiny("bert", layers=3), "mean", "linear"), batch_of(pairs=["a film", "it is", "one"])
    with torch.no_grad():
        states, relations, logits = Watched(model)(*batch)
        expected = model.encoder(*batch, return_all=True)
        attention = model.encoder.layers[-1].attention
        for ours, layer in zip(relations, (attention.query, attention.key, attention.value), strict=True):
            assert torch.equal(ours, layer(expected[-2]))
        assert len(states) == 4 and all(map(torch.equal, states, expected))
        assert torch.equal(logits, model(*batch))
        assert Watched(model.encoder)(*batch)[2] is None


def side_by_side(teacher, layers=2, kept=ALL, **settings):
    encoder = teacher.encoder if isinstance(teacher, Classifier) else teacher
    student, chosen = new_student(encoder, layers, kept)
    if isinstance(teacher, Classifier):
        student = new_student_head(teacher, student)
    names = "hidden,relations,logits" if isinstance(teacher, Classifier) else "hidden,relations"
    settings = {"losses": names} | settings
    settings = DistillSettings(layers=layers, intermediate_size=20, vocab_size=len(kept), **settings)
    return Distillation(teacher, student.eval(), chosen, kept, settings, CPU)


def test_a_student_that_is_the_teacher_has_nothing_to_learn():
    """With a cut vocabulary, too: the teacher is given its own numbers for the student's pieces."""
    tokenizer = wordpiece(FULL)
    kept, _ = choose_vocabulary(tokenizer, ["the film"], SMALLEST + 5)
    pair = side_by_side(classifier(tiny(), "cls", "mlp"), kept=kept)
    losses = pair.losses(cut_tokenizer(tokenizer, kept)(["the film was fine", "unaffable naive hello, world"]))
    assert list(losses) == ["hidden", "relations", "logits"]
    assert max(loss.item() for loss in losses.values()) < 1e-6
    spread(pair.student.model, seed=9)
    losses = pair.losses(cut_tokenizer(tokenizer, kept)(["the film was fine"]))
    assert min(loss.item() for loss in losses.values()) > 1e-3


def test_the_teacher_is_told_which_text_of_a_pair_a_token_is_in():
    pair = side_by_side(tiny("bert"))
    assert pair.losses(batch_of())["hidden"].item() < 1e-6  # a student knows no types
    assert pair.losses(batch_of(pairs=["a film", "it is", "one"]))["hidden"].item() > 1e-3


def test_each_student_layer_is_held_against_the_layer_it_stands_for():
    teacher, batch = tiny(layers=4), batch_of()
    pair = side_by_side(teacher)
    with torch.no_grad():
        states = teacher(*batch[:2], return_all=True)
        ours = pair.student.model(*batch[:2], return_all=True)
        expected = hidden_loss([ours[1], ours[2]], [states[2], states[4]], batch.attention_mask)
    assert pair.losses(batch)["hidden"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_only_the_losses_that_were_asked_for_are_computed():
    model = classifier(tiny(), "cls", "mlp")
    for names in ("hidden", "relations,hidden", "logits"):
        assert set(side_by_side(model, losses=names).losses(batch_of())) == set(names.split(","))


def test_the_temperature_reaches_the_logits():
    teacher, batch = classifier(tiny(), "cls", "mlp"), batch_of()
    for temperature in (1.0, 4.0):
        pair = side_by_side(teacher, layers=1, temperature=temperature)
        with torch.no_grad():
            expected = logit_loss(pair.student.model(*batch[:2]), teacher(*batch[:2]), temperature)
        assert pair.losses(batch)["logits"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_teacher_gets_no_gradient():
    teacher = tiny()
    sum(side_by_side(teacher, layers=1).losses(batch_of()).values()).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_held_out_losses_are_means_over_texts(monkeypatch):
    pair = side_by_side(tiny(), losses="hidden")
    values = iter([1.0, 4.0])
    monkeypatch.setattr("minibert.distill.loop.EVALUATION_TOKENS", {"cpu": 8})  # batches of two texts and of one
    monkeypatch.setattr(pair, "losses", lambda batch: {"hidden": torch.tensor(next(values))})
    examples = Examples(wordpiece(FULL).encode(["film", "good bad", "dull"]), [0] * 3)
    assert pair.evaluate(examples) == {"hidden": 2.0}  # two texts of 1, one of 4


# The loop


def encoded(texts):
    sequences = wordpiece(FULL).encode(texts)
    return Examples(sequences, [0] * len(sequences))


def test_the_loop_is_torchs_adamw_clipped_and_warmed_up_without_dropout():
    """The same batches through PyTorch's own parts; weights after four epochs, the last batch of each short."""
    examples = encoded(lines(37))
    settings = dict(batch_size=8, epochs=4, lr=1e-2, weight_decay=0.3, warmup=0.2, seed=7)
    pair = side_by_side(tiny(layers=3), layers=1, **settings)
    plain = side_by_side(tiny(layers=3), layers=1, **settings)
    start = copy_of(pair.student.model)
    for model in (pair.teacher.model, pair.student.model):
        model.train()  # whatever mode they come in
    progress = distill(pair, examples, encoded(["film"]), quiet=True)
    assert (progress.epoch, progress.update) == (4, 20)

    model = plain.student.model
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}])
    update, norms = 0, []
    for epoch in range(4):
        for batch in bucketed_batches(examples.lengths, 8, 7, epoch):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (update / 4 if update < 4 else (20 - update) / 16)
            losses = plain.losses(examples.inputs(batch))
            (losses["hidden"] + losses["relations"]).backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            optimizer.zero_grad()
            update += 1
    assert min(norms) < 1 < max(norms)  # some are clipped
    for name, parameter in pair.student.model.named_parameters():
        torch.testing.assert_close(parameter, dict(model.named_parameters())[name], atol=1e-5, rtol=1e-4)
        assert not torch.equal(parameter, start[name]), name


def test_training_leaves_the_teacher_as_it_was():
    teacher = classifier(tiny("bert"), "pooler", "linear")
    before = copy_of(teacher)
    pair = side_by_side(teacher, lr=1e-2, epochs=1, batch_size=8)
    student = copy_of(pair.student.model)
    distill(pair, encoded(lines(20)), encoded(["film"]), quiet=True)
    assert same(before, teacher.state_dict())
    assert not same(student, pair.student.model.state_dict())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_fp32_does(precision, monkeypatch):
    losses, norms, clip = {}, [], train.clip_gradients

    def clip_and_note(*rest):
        norm = clip(*rest)
        norms.append(norm.item())
        return norm

    monkeypatch.setattr(train, "clip_gradients", clip_and_note)
    for name in ("fp32", precision):
        pair = side_by_side(tiny(layers=3), layers=1, lr=1e-2, epochs=4, batch_size=16, precision=name, losses="hidden")
        log = []
        distill(pair, encoded(lines(120)), encoded(lines(20, 1)), log=log.append, quiet=True)
        losses[name] = [record["held_out_hidden"] for record in log if "held_out_hidden" in record]
    half, full = losses[precision], losses["fp32"]
    assert full[-1] < 0.7 * full[0]
    assert 0 < abs(half[0] - full[0]) < 0.02 * full[0]  # more than 0: the setting reached the forward passes
    assert half[-1] == pytest.approx(full[-1], rel=0.05)
    assert norms[len(norms) // 2] == pytest.approx(norms[0], rel=0.02)  # what is clipped is not scaled


def test_the_log_has_the_mean_loss_since_its_last_line(monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 2)
    pair = side_by_side(tiny(), layers=1, batch_size=4, epochs=2, losses="hidden")
    seen, log, losses = [], [], pair.losses

    def noting(*given):
        result = losses(*given)
        if torch.is_grad_enabled():
            seen.append(result["hidden"].item())
        return result

    monkeypatch.setattr(pair, "losses", noting)
    distill(pair, encoded(lines(20)), encoded(["film"]), log=log.append, quiet=True)
    logged = [(r["epoch"], r["update"], r["hidden"]) for r in log if "hidden" in r]
    assert [entry[:2] for entry in logged] == [(1, 2), (1, 4), (1, 5), (2, 6), (2, 8), (2, 10)]  # an epoch's end, too
    expected = [sum(seen[a:b]) / (b - a) for a, b in ((0, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 10))]
    assert [entry[2] for entry in logged] == pytest.approx(expected, abs=2e-6)
    assert all(record["gradient_norm"] > 0 for record in log if "hidden" in record)
    rates = [record["learning_rate"] for record in log if "hidden" in record]
    assert rates == pytest.approx([pair.settings.lr * (10 - update) / 10 for update in (1, 3, 4, 5, 7, 9)])
    assert [(r["epoch"], r["update"]) for r in log if "held_out_hidden" in r] == [(0, 0), (1, 5), (2, 10)]


def hidden_loss_until(update):
    """`hidden_loss`, and NaN from this update on."""
    calls = []

    def loss(*states):
        calls.extend([1] * torch.is_grad_enabled())
        return hidden_loss(*states) * (math.nan if len(calls) >= update else 1.0)

    return loss


def test_a_loss_that_is_not_finite_stops_the_run(monkeypatch):
    """The loop says which loss and which update; the losses are looked at when the epoch's five updates are done."""
    monkeypatch.setattr("minibert.distill.loop.hidden_loss", hidden_loss_until(3))
    pair = side_by_side(tiny(), losses="hidden", batch_size=4)
    with pytest.raises(UserError, match="the hidden loss became nan in epoch 1, update 3; try a smaller --lr"):
        distill(pair, encoded(lines(20)), encoded(["film"]), quiet=True)


@pytest.mark.parametrize("settings", [{"micro_batch": 2}, {"patience": 1}])
def test_settings_that_make_no_sense_here_are_refused(settings):
    pair = side_by_side(tiny(), losses="hidden", **settings)
    with pytest.raises(ValueError, match="micro_batch and patience have to be 0"):
        distill(pair, encoded(lines(4)), encoded(["film"]), quiet=True)
