"""The initial weights: random, but for the three parts of a copying circuit.

Copying what followed the last occurrence of a token needs a head that attends to the previous token,
a head in the next layer that finds the key whose previous token is the query, and a value path that
keeps the token's identity. Random weights find the three together only after many million tokens;
none is useful without the others. So the first two layers start with rough versions of them, which
training sharpens, uses for other things, or gives up.
"""

import torch

from rowwise import rotate_interleaved

SCALE = 0.2         # of the embeddings
COMMON = 5.0        # component along the direction that all tokens share, in units of SCALE
PREVIOUS = (15.0, 10.0, 5.0, 5.0)  # logits that the fastest rotary pairs give the previous token
WRITE, COPY, MATCH = 0.4, 0.4, 2.0


def orthogonal(rows, columns):
    return torch.nn.init.orthogonal_(torch.empty(rows, columns))


@torch.no_grad()
def initialise(model):
    c = model.config
    shared = torch.nn.functional.normalize(torch.randn(c.hidden_size), dim=0)
    tokens = torch.randn(c.vocab_size, c.hidden_size)
    tokens -= (tokens @ shared)[:, None] * shared
    model.embed_tokens.copy_(SCALE * (tokens + COMMON * shared))
    model.norm.weight.fill_(0.15)
    first, second = model.layers[0].self_attn, model.layers[1].self_attn
    read, write = previous_token(first, shared, model)
    match(second, read, write)


def previous_token(attention, shared, model):
    """Head 0 attends to the position before and writes what it reads to another subspace."""
    c, nope, dv = attention.c, attention.c.qk_nope_head_dim, attention.c.v_head_dim
    rest = orthogonal(c.q_lora_rank, c.hidden_size)
    rest -= (rest @ shared)[:, None] * shared
    attention.q_a_proj.weight.copy_(rest)
    attention.q_a_proj.weight[0] = shared
    latent = orthogonal(c.kv_lora_rank, c.hidden_size)
    attention.kv_a_proj_with_mqa.weight[: c.kv_lora_rank] = latent
    rope = attention.kv_a_proj_with_mqa.weight[c.kv_lora_rank:]
    rope.mul_(0.05)
    rope[0::2] += shared
    query = torch.zeros(1, 1, c.qk_rope_head_dim)
    strength = torch.tensor(PREVIOUS) * c.qk_head_dim**0.5 / COMMON**2
    query[0, 0, 0: 2 * len(PREVIOUS): 2] = strength
    query = rotate_interleaved(query, model.cos[1:2], -model.sin[1:2]).flatten()
    head = attention.q_b_proj.weight[: c.qk_head_dim]
    head.mul_(0.05)
    head[nope:, 0] += query
    read, write = orthogonal(dv, c.kv_lora_rank), orthogonal(dv, c.hidden_size)
    attention.kv_b_proj.weight[nope: nope + dv] = read
    attention.o_proj.weight[:, :dv] = WRITE * write.T
    return read @ latent, write


def match(attention, read, write):
    """Heads 0 and 1 attend to keys whose previous token is the query's, and copy the key's."""
    c, nope, dv = attention.c, attention.c.qk_nope_head_dim, attention.c.v_head_dim
    attention.q_a_proj.weight[: len(read)] = read
    latent = orthogonal(c.kv_lora_rank, c.hidden_size)
    attention.kv_a_proj_with_mqa.weight[: c.kv_lora_rank] = latent
    values = orthogonal(2 * dv, c.kv_lora_rank)
    for head in range(2):
        rows = slice(head * nope, (head + 1) * nope)
        query = attention.q_b_proj.weight[head * c.qk_head_dim:][: c.qk_head_dim]
        query.mul_(0.05)
        query[:nope, rows] += MATCH * torch.eye(nope)
        kv = attention.kv_b_proj.weight[head * (nope + dv):][: nope + dv]
        kv[:nope] = write[rows] @ latent.T
        kv[nope:] = values[head * dv: (head + 1) * dv]
        part = values[head * dv: (head + 1) * dv] @ latent
        attention.o_proj.weight[:, head * dv: (head + 1) * dv] = COPY * part.T
