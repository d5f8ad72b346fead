"""A classifier that reads the first token as it is, without BERT's pooler."""

import plain_bert
from torch import nn


class Classifier(nn.Module):
    def __init__(self, vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
                 max_position_embeddings, type_vocab_size, num_labels):  # fmt: skip
        super().__init__()
        self.bert = plain_bert.Bert(vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
                                    max_position_embeddings, type_vocab_size)  # fmt: skip
        self.drop, self.classifier = nn.Dropout(0.1), nn.Linear(hidden_size, num_labels)

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.classifier(self.drop(self.bert(input_ids, attention_mask, token_type_ids)[:, 0]))
