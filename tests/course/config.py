"""Sizes of the model, in the shape that the assignment's starter code gives them."""


class BertConfig:
    def __init__(self, **settings):
        defaults = dict(
            vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, max_position_embeddings=512, type_vocab_size=2,
            layer_norm_eps=1e-12, pad_token_id=0, initializer_range=0.02,
        )  # fmt: skip
        for name, value in (defaults | settings).items():
            setattr(self, name, value)
