"""The student before it has learned anything: a copy of parts of its teacher."""

import pytest
import torch
from distilling import ALL, LABELS, batch_of, classifier, copy_of, same, spread, tiny
from torch.nn import functional

from minibert import load_encoder, save_encoder
from minibert.distill.student import busiest, neuron_activity, new_student, new_student_head
from minibert.model import FeedForward, additive_mask


@pytest.mark.parametrize(
    "depth, layers, chosen",
    [(6, 3, [1, 3, 5]), (12, 6, [1, 3, 5, 7, 9, 11]), (6, 4, [0, 2, 3, 5]), (3, 1, [2]), (2, 2, [0, 1])],
)
def test_student_layers_are_copies_of_evenly_spaced_ones_that_end_with_the_last(depth, layers, chosen):
    teacher = tiny(layers=depth)
    student, found = new_student(teacher, layers, ALL)
    assert found == chosen
    assert len(student.layers) == student.config.num_hidden_layers == layers
    for layer, original in zip(student.layers, chosen, strict=True):
        assert same(layer.state_dict(), teacher.layers[original].state_dict())


@pytest.mark.parametrize("layers", [0, 3])
def test_a_student_is_not_deeper_than_its_teacher_nor_empty(layers):
    with pytest.raises(ValueError, match=f"num_layers is {layers}; the teacher has 2"):
        new_student(tiny(), layers, [0, 1])


@pytest.mark.parametrize("neurons", [0, 21])
def test_a_student_has_not_more_neurons_than_its_teacher_nor_none(neurons):
    with pytest.raises(ValueError, match=f"intermediate_size is {neurons}; the teacher has 20"):
        new_student(tiny(), 2, ALL, intermediate_size=neurons)


def test_neurons_that_say_the_same_to_every_token_can_go_without_loss():
    """Five of twenty listen to nothing, and are loud; what they say becomes a bias. All others stay, in their order."""
    layer = spread(FeedForward(tiny().config), seed=2)
    deaf = [0, 3, 4, 11, 19]
    with torch.no_grad():
        layer.expand.weight[deaf] = 0
        layer.expand.bias[deaf] = 5.0
    hidden = torch.randn(50, 12, generator=torch.Generator().manual_seed(1))
    activation = layer.activation(layer.expand(hidden)).detach()
    state = busiest(layer, 15, activation.mean(0), activation.var(0, unbiased=False))
    stay = [i for i in range(20) if i not in deaf]
    assert torch.equal(state["expand.weight"], layer.expand.weight[stay])
    assert torch.equal(state["expand.bias"], layer.expand.bias[stay])
    narrow = FeedForward(tiny(intermediate_size=15).config)
    narrow.load_state_dict(state)
    assert torch.allclose(narrow(hidden), layer(hidden), atol=1e-4)
    narrow.contract.bias.data = layer.contract.bias.data
    assert (narrow(hidden) - layer(hidden)).abs().max() > 1


def test_a_neuron_counts_by_what_it_adds_and_not_by_its_activation_alone():
    layer = FeedForward(tiny(intermediate_size=3).config)
    with torch.no_grad():
        layer.contract.weight[:] = torch.tensor([0.1, 3.0, 1.0])
    state = busiest(layer, 1, torch.zeros(3), torch.tensor([100.0, 1.0, 4.0]))  # adds 12 x 1, 9 and 4
    assert torch.equal(state["expand.weight"], layer.expand.weight[1:2])


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_activity_is_taken_over_real_tokens_of_all_batches(model_type):
    encoder = tiny(model_type, layers=3).train()
    batches = [batch_of(), batch_of(["one", "a good film of the hello world"], ["it is", "not"])]
    activity = neuron_activity(encoder, batches)
    assert len(activity) == 3
    for index, (mean, variance) in enumerate(activity):
        each = []
        for batch in batches:
            with torch.no_grad():
                below = encoder(*batch, return_all=True)[index]
                layer, mask = encoder.layers[index], batch.attention_mask
                attended, _ = layer.attention(below, additive_mask(mask, below.dtype))
                expanded = layer.feed_forward.expand(layer.attention_norm(below + attended))
                each.append(functional.gelu(expanded)[mask.bool()])
        assert torch.allclose(mean, torch.cat(each).mean(0), atol=1e-5)
        assert torch.allclose(variance, torch.cat(each).var(0, unbiased=False), rtol=1e-3, atol=1e-5)
    assert not any(layer.feed_forward.expand._forward_hooks for layer in encoder.layers)


def test_a_narrow_student_is_the_teacher_with_fewer_neurons():
    teacher, batches = tiny("bert", layers=3), [batch_of()]
    whole, _ = new_student(teacher, 2, ALL)
    activity = neuron_activity(teacher, batches)
    student, layers = new_student(teacher, 2, ALL, intermediate_size=8, activity=activity)
    assert student.config.intermediate_size == 8 and layers == [0, 2]
    for ours, theirs, original in zip(student.layers, whole.layers, layers, strict=True):
        expected = theirs.state_dict()
        part = busiest(theirs.feed_forward, 8, *activity[original])
        expected |= {f"feed_forward.{name}": tensor for name, tensor in part.items()}
        assert same(ours.state_dict(), expected)
    assert same(student.embeddings.state_dict(), whole.embeddings.state_dict())


def test_a_whole_distilbert_copy_gives_the_very_hidden_states(tiny_distilbert):
    teacher, batch = load_encoder(tiny_distilbert), batch_of()
    student, _ = new_student(teacher, 2, ALL)
    with torch.no_grad():
        pairs = list(zip(student(*batch[:2], return_all=True), teacher(*batch[:2], return_all=True), strict=True))
    assert len(pairs) == 3 and all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_whole_bert_copy_gives_the_hidden_states_of_a_text_on_its_own(tiny_bert):
    """Type 0's vector moves into the positions."""
    teacher, batch = load_encoder(tiny_bert), batch_of()
    student, _ = new_student(teacher, 2, ALL)
    assert student.config.model_type == "distilbert"
    assert student.pooler is None and student.embeddings.token_type is None
    real = batch.attention_mask.bool()
    with torch.no_grad():
        for ours, theirs in zip(student(*batch[:2], return_all=True), teacher(*batch, return_all=True), strict=True):
            assert (ours - theirs)[real].abs().max() <= 1e-6 * theirs.abs().max()


def test_word_vectors_follow_the_kept_pieces():
    teacher, kept = tiny("bert"), [0, 2, 3, 4, 130, 80]
    student, _ = new_student(teacher, 1, kept)
    assert torch.equal(student.embeddings.word.weight, teacher.embeddings.word.weight[kept])
    assert student.config.vocab_size == 6


def test_padding_has_the_students_number_of_it():
    student, _ = new_student(tiny(), 1, [2, 5, 0], pad_id=2)
    assert student.config.pad_token_id == student.embeddings.word.padding_idx == 2


def test_teacher_and_student_share_no_memory():
    teacher = tiny("bert")
    before = copy_of(teacher)
    student, _ = new_student(teacher, 2, ALL)
    spread(student, seed=1)
    assert same(before, teacher.state_dict())


def test_a_random_start_has_nothing_of_the_teacher_but_its_shape():
    teacher = tiny(layers=4)
    torch.manual_seed(3)
    student, layers = new_student(teacher, 2, ALL, "random")
    torch.manual_seed(3)
    again, _ = new_student(teacher, 2, ALL, "random")
    assert layers == [1, 3]
    assert same(student.state_dict(), again.state_dict())
    copied, _ = new_student(teacher, 2, ALL)
    for (name, ours), theirs in zip(student.named_parameters(), copied.parameters(), strict=True):
        assert ours.shape == theirs.shape and not torch.equal(ours, theirs), name
    assert student.embeddings.word.weight.std().item() == pytest.approx(teacher.config.initializer_range, rel=0.1)


def test_a_saved_student_computes_what_it_computed_before(tmp_path):
    """DistilBERT's config.json has no place for a LayerNorm epsilon: it is 1e-12."""
    student, _ = new_student(tiny("bert", layer_norm_eps=1e-2), 1, ALL)
    save_encoder(student, tmp_path)
    batch = batch_of()[:2]
    with torch.no_grad():
        assert torch.equal(load_encoder(tmp_path)(*batch), student.eval()(*batch))


@pytest.mark.parametrize("pooling, head", [("cls", "mlp"), ("cls", "linear"), ("mean", "mlp"), ("mean", "linear")])
def test_a_students_head_is_the_teachers(pooling, head):
    teacher = classifier(tiny(), pooling, head)
    student = new_student_head(teacher, new_student(teacher.encoder, 2, ALL)[0]).eval()
    assert (student.pooling, student.head_name, student.label_names) == (pooling, head, LABELS)
    with torch.no_grad():
        assert torch.equal(student(*batch_of()[:2]), teacher(*batch_of()[:2]))


def test_berts_pooler_becomes_distilberts_dense_layer():
    teacher = classifier(tiny("bert"), "pooler", "linear")
    student = new_student_head(teacher, new_student(teacher.encoder, 2, ALL)[0])
    assert student.is_native and student.label_names == LABELS
    assert same(student.head.dense.state_dict(), teacher.encoder.pooler.dense.state_dict())
    assert same(student.head.output.state_dict(), teacher.head.output.state_dict())
