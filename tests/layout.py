"""BERT's tensors renamed into DistilBERT's layout, independently of the package's own tables.

With every token of type 0, BERT without its pooler computes what DistilBERT computes: the type-0 vector is
the same for every token, so adding it to each position embedding keeps the sum.
"""

RENAMED = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def as_distilbert(tensors):
    """name -> tensor of a bare BERT encoder -> the same for DistilBERT."""
    result = {}
    for name, tensor in tensors.items():
        if name.startswith("encoder.layer."):
            number, rest = name.removeprefix("encoder.layer.").split(".", 1)
            module, kind = rest.rsplit(".", 1)
            result[f"transformer.layer.{number}.{RENAMED[module]}.{kind}"] = tensor
        elif name == "embeddings.position_embeddings.weight":
            result[name] = tensor + tensors["embeddings.token_type_embeddings.weight"][0]
        elif name.startswith("embeddings.") and not name.endswith(("token_type_embeddings.weight", "position_ids")):
            result[name] = tensor
    return result


def distilbert_config(config):
    """The values of BERT's config.json -> those of DistilBERT's."""
    return {
        "model_type": "distilbert",
        "vocab_size": config["vocab_size"],
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"],
        "hidden_dim": config["intermediate_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "activation": config["hidden_act"],
        "pad_token_id": config["pad_token_id"],
    }
