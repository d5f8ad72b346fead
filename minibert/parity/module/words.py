"""What people call things: settings of a model, and arguments of its forward. Compared without case and underscores."""

SETTINGS = {  # BERT's word in config.json: other words for it
    "vocab_size": "vocab vocabulary_size n_vocab num_vocab voc_size vocab_len num_tokens n_tokens ntoken num_embeddings src_vocab_size n_words vocabsz",
    "hidden_size": "hidden d_model model_dim dim_model dim embed_dim embedding_dim emb_dim emb_size embed_size embedding_size num_hiddens n_embd n_embed n_emb n_embeds embed emb d_emb hidden_features d_embed d_hidden n_hidden hidden_units h_dim d width",
    "num_hidden_layers": "num_layers n_layers layers n_layer num_layer depth n_blocks num_blocks num_blks n_blks blocks num_encoder_layers encoder_layers n_enc_layers l n",
    "num_attention_heads": "num_heads n_heads heads attn_heads attention_heads n_head num_head nhead nheads n_attn_heads h",
    "intermediate_size": "d_ff dff dim_feedforward ffn_dim ff_dim mlp_dim ffn_hidden ffn_size ff_size ffn_hidden_size d_inner inner_dim feed_forward_size feedforward_dim feed_forward_dim feed_forward_hidden mlp ff_hidden dim_ff n_inner pf_dim ffn_num_hiddens hidden_ff ff d_feedforward encoder_ffn_dim",
    "max_position_embeddings": "max_len max_length maxlen max_seq_len max_seq_length max_sequence_length seq_len seq_length sequence_length block_size context_length n_positions num_positions max_position max_positions positions max_pos ctx_len ctx",
    "type_vocab_size": "n_segments num_segments segments segment_size n_types num_types num_token_types token_type_vocab_size segment_vocab_size type_size",
    "hidden_dropout_prob": "dropout dropout_prob dropout_rate drop_rate drop_prob drop p_drop p_dropout pdrop hidden_dropout resid_dropout residual_dropout resid_pdrop embd_pdrop embedding_dropout embed_dropout ff_dropout dropout_p p_drop_hidden hidden_drop proj_drop dropout_prob_hidden pdrop_hidden",
    "attention_probs_dropout_prob": "attention_dropout attn_dropout attn_pdrop attn_drop attention_dropout_prob attention_dropout_rate attn_dropout_prob p_drop_attn attention_drop pdrop_attn",
    "layer_norm_eps": "eps norm_eps layernorm_eps layer_norm_epsilon epsilon ln_eps",
    "hidden_act": "activation act act_fn activation_function hidden_activation",
    "num_labels": "num_classes n_classes n_class num_class n_labels output_dim classes labels num_outputs",
    "pad_token_id": "padding_idx pad_idx pad_id pad_token pad padding_id",
    "device": "dev",
    "head_dim": "d_head head_size attention_head_size dim_head d_k d_v dk dv size_per_head depth_per_head",
    "all_head_size": "",
    "batch_first": "",
    "add_pooling_layer": "add_pooler with_pooler",
}
CONFIGS = "config cfg conf configuration args hparams params opt opts settings".split()  # a configuration object
FORWARD = {  # what an argument of forward holds: its names
    "ids": "inputids ids x tokens input inputs src tokenids inputtokens seq idx inputid sequence source sentence sentences batch",
    "mask": "attentionmask mask attn attention attnmask paddingmask padmask srcmask inputmask masks attentionmasks padattnmask extendedattentionmask",
    "blocked": "srckeypaddingmask keypaddingmask",  # True where there is nothing to attend to
    "lengths": "validlens validlen validlengths lengths length seqlens seqlengths lens srclengths inputlengths",  # of the texts, [B]
    "positions": "positionids positionid positions position posids pos",
    "labels": "labels label targets target",
    "types": "tokentypeids segmentids segmentlabel segmentinfo segmentlabels tokentypes tokentype seg segments segment segs typeids types",
}
BERTS_MASKS = ("attentionmask", "inputmask")  # 1 for a token, in every BERT that was published


def plain(name):
    """A name without case and underscores."""
    return name.lower().replace("_", "")


SETTING = {plain(name): setting for setting, names in SETTINGS.items() for name in (setting, *names.split())}
KINDS = {name: kind for kind, names in FORWARD.items() for name in names.split()}
