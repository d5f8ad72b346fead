# ruff: noqa
"""A notebook that was saved as a file: cells that need a network, a loop that trains, names that nobody defines here."""
get_ipython().system('pip install transformers datasets')
import torch, torch.nn as nn
from datasets_absent import load_dataset
from transformers_absent import BertTokenizer
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ds = load_dataset("imdb")
tokenizer = BertTokenizer.from_pretrained("bert-base-uncased")
VOCAB = len(tokenizer)
class Emb(nn.Module):
    def __init__(self, vocab_size, n_embed, max_len):
        super().__init__()
        self.tok_emb = nn.Embedding(vocab_size, n_embed); self.pos_emb = nn.Embedding(max_len, n_embed); self.typ = nn.Embedding(2, n_embed)
        self.ln = nn.LayerNorm(n_embed, eps=1e-12); self.dp = nn.Dropout(0.1)
    def forward(self, x, t):
        return self.dp(self.ln(self.tok_emb(x) + self.pos_emb(torch.arange(x.shape[1], device=x.device)) + self.typ(t)))
class SA(nn.Module):
    def __init__(self, n_embed, n_heads):
        super().__init__()
        self.Wq = nn.Linear(n_embed, n_embed); self.Wk = nn.Linear(n_embed, n_embed); self.Wv = nn.Linear(n_embed, n_embed); self.Wo = nn.Linear(n_embed, n_embed)
        self.h = n_heads; self.dp = nn.Dropout(0.1)
    def forward(self, x, m):
        B, T, C = x.shape
        q, k, v = [f(x).reshape(B, T, self.h, C // self.h).permute(0, 2, 1, 3) for f in (self.Wq, self.Wk, self.Wv)]
        a = torch.einsum("bhqd,bhkd->bhqk", q, k) * (C // self.h) ** -0.5
        a = self.dp(torch.softmax(a.masked_fill(m[:, None, None] == 0, torch.finfo(a.dtype).min), -1))
        return self.Wo(torch.einsum("bhqk,bhkd->bqhd", a, v).reshape(B, T, C))
class Enc(nn.Module):
    def __init__(self, n_embed, n_heads, ff):
        super().__init__()
        self.sa = SA(n_embed, n_heads); self.ln1 = nn.LayerNorm(n_embed, eps=1e-12); self.ln2 = nn.LayerNorm(n_embed, eps=1e-12)
        self.ff = nn.Sequential(nn.Linear(n_embed, ff), nn.GELU(), nn.Linear(ff, n_embed)); self.d1 = nn.Dropout(.1); self.d2 = nn.Dropout(.1)
    def forward(self, x, m):
        x = self.ln1(x + self.d1(self.sa(x, m))); return self.ln2(x + self.d2(self.ff(x)))
class BERTClassifier(nn.Module):
    def __init__(self, vocab_size=VOCAB, n_embed=768, n_heads=12, n_layers=12, ff=3072, max_len=512, n_classes=2):
        super().__init__()
        self.emb = Emb(vocab_size, n_embed, max_len); self.enc = nn.Sequential(*[Enc(n_embed, n_heads, ff) for _ in range(n_layers)])
        self.pool = nn.Linear(n_embed, n_embed); self.cls = nn.Linear(n_embed, n_classes); self.dp = nn.Dropout(0.1)
    def forward(self, batch_ids, seg, attn):
        x = self.emb(batch_ids, seg)
        for layer in self.enc: x = layer(x, attn)
        return self.cls(self.dp(torch.tanh(self.pool(x[:, 0]))))
model = BERTClassifier().to(device)
optimizer = torch.optim.AdamW(model.parameters())
for epoch in range(3):
    for b in ds["train"]:
        loss = model(b).sum(); loss.backward(); optimizer.step()
