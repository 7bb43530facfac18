"""The DSA model (MLA attention, lightning indexer, MoE) for training on packed batches.

Module and parameter names follow the checkpoint format, except that the experts of a layer are
stacked in one tensor each (export.py takes them apart). The same code computes in bfloat16 for
training and, with fp32 weights and `compute_dtype` float32, as the reference for parity data.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from attention import attention, index_select
from rowwise import expand_keys, gated, rms_norm, rotate_query


@dataclasses.dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    q_lora_rank: int = 128
    kv_lora_rank: int = 256
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 32
    v_head_dim: int = 64
    index_n_heads: int = 4
    index_head_dim: int = 64
    index_topk: int = 512
    intermediate_size: int = 768
    moe_intermediate_size: int = 128
    first_k_dense_replace: int = 1
    n_routed_experts: int = 8
    n_shared_experts: int = 1
    num_experts_per_tok: int = 2
    routed_scaling_factor: float = 1.0
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    max_position_embeddings: int = 8192

    @property
    def qk_head_dim(self):
        return self.qk_nope_head_dim + self.qk_rope_head_dim


def linear(x, weight):
    return F.linear(x, weight.to(x.dtype))


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x, dtype):
        return rms_norm(x, self.weight, self.eps, dtype)


def rotary_tables(config):
    half = torch.arange(config.qk_rope_head_dim // 2, dtype=torch.float64)
    inverse = (config.rope_theta ** (-2 * half / config.qk_rope_head_dim)).float()
    angles = torch.arange(config.max_position_embeddings).float()[:, None] * inverse
    return torch.cos(angles.double()).float(), torch.sin(angles.double()).float()


def rotate_half_split(x, cos, sin):
    """Pairs are (j, j + width / 2)."""
    cos, sin = (t.view(t.shape[0], *[1] * (x.dim() - 2), -1) for t in (cos, sin))
    low, high = x.float().chunk(2, -1)
    return torch.cat([low * cos - high * sin, low * sin + high * cos], -1).to(x.dtype)


class Linear(nn.Module):
    """A bias-free matrix; cast to the input's dtype at use."""

    def __init__(self, out_width, in_width, gain=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_width, in_width) * gain * in_width**-0.5)

    def forward(self, x):
        return linear(x, self.weight)


class Indexer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.wq_b = Linear(c.index_n_heads * c.index_head_dim, c.q_lora_rank)
        self.wk = Linear(c.index_head_dim, c.hidden_size)
        self.k_norm = nn.LayerNorm(c.index_head_dim, eps=1e-6)
        self.weights_proj = Linear(c.index_n_heads, c.hidden_size)

    def forward(self, x, qr, cos, sin):
        """q [rows, heads, D], k [rows, D], weights [rows, heads] with the constant factors."""
        c, r = self.c, self.c.qk_rope_head_dim
        q = self.wq_b(qr).unflatten(-1, (c.index_n_heads, c.index_head_dim))
        k = self.k_norm(self.wk(x).float()).to(x.dtype)
        q = torch.cat([rotate_half_split(q[..., :r], cos, sin), q[..., r:]], -1)
        k = torch.cat([rotate_half_split(k[..., :r], cos, sin), k[..., r:]], -1)
        scale = (c.index_n_heads * c.index_head_dim) ** -0.5
        return q, k, self.weights_proj(x.float()) * scale


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        heads = c.num_attention_heads
        self.q_a_proj = Linear(c.q_lora_rank, c.hidden_size)
        self.q_a_layernorm = RmsNorm(c.q_lora_rank, 1e-6)
        self.q_b_proj = Linear(heads * c.qk_head_dim, c.q_lora_rank)
        self.kv_a_proj_with_mqa = Linear(c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size)
        self.kv_a_layernorm = RmsNorm(c.kv_lora_rank, 1e-6)
        self.kv_b_proj = Linear(heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank)
        self.o_proj = Linear(c.hidden_size, heads * c.v_head_dim, gain=0.1)
        self.indexer = Indexer(c)

    def forward(self, x, batch, state):
        c, heads = self.c, self.c.num_attention_heads
        qr = self.q_a_layernorm(self.q_a_proj(x), x.dtype)
        q = self.q_b_proj(qr).unflatten(-1, (heads, c.qk_head_dim))
        a = self.kv_a_proj_with_mqa(x)
        latent = self.kv_a_layernorm(a[:, : c.kv_lora_rank], x.dtype)
        q = rotate_query(q, c.qk_nope_head_dim, batch.cos, batch.sin)
        kv = self.kv_b_proj(latent).unflatten(-1, (heads, -1))
        k, v = expand_keys(kv, a[:, c.kv_lora_rank:], c.qk_nope_head_dim, batch.cos, batch.sin)
        mask = None
        if state.index_mode != "off":
            index = self.indexer(x.detach(), qr.detach(), batch.cos, batch.sin)
            if state.index_mode == "sparse":
                mask = index_select(*index, batch.layout, c.index_topk)
        out, lse = attention(q, k, v, batch.layout, mask)
        if state.index_mode != "off":
            state.observe(index, q.detach(), k.detach(), lse, mask)
        return self.o_proj(out.flatten(-2))


def swiglu(x, gate_up, down):
    return linear(gated(linear(x, gate_up)), down)


class Mlp(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.gate_up = nn.Parameter(torch.randn(2, width, c.hidden_size) * c.hidden_size**-0.5)
        self.down_proj = Linear(c.hidden_size, width, gain=0.1)

    def forward(self, x, state):
        return swiglu(x, self.gate_up.flatten(0, 1), self.down_proj.weight)


class _Dispatch(torch.autograd.Function):
    """x[row of each slot, in expert order]; `order` sorts the slots [rows * top] by expert."""

    @staticmethod
    def forward(ctx, x, order, inverse, top):
        ctx.inverse, ctx.top = inverse, top
        return x.index_select(0, order // top)

    @staticmethod
    def backward(ctx, grad):
        slots = grad.index_select(0, ctx.inverse).unflatten(0, (-1, ctx.top))
        return slots.sum(1), None, None, None


class _Collect(torch.autograd.Function):
    """The inverse: from expert order back to [rows, top, width]."""

    @staticmethod
    def forward(ctx, y, order, inverse, top):
        ctx.order = order
        return y.index_select(0, inverse).unflatten(0, (-1, top))

    @staticmethod
    def backward(ctx, grad):
        return grad.flatten(0, 1).index_select(0, ctx.order), None, None, None


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        experts, width, hidden = c.n_routed_experts, c.moe_intermediate_size, c.hidden_size
        self.gate = Linear(experts, hidden)
        self.register_buffer("e_score_correction_bias", torch.zeros(experts))
        self.experts_gate_up = nn.Parameter(torch.randn(experts, 2, width, hidden) * hidden**-0.5)
        self.experts_down = nn.Parameter(torch.randn(experts, hidden, width) * 0.1 * width**-0.5)
        self.shared_experts = Mlp(c, width * c.n_shared_experts)

    def forward(self, x, state):
        c, top = self.c, self.c.num_experts_per_tok
        probs = torch.sigmoid(self.gate(x.float()))
        biased = probs + self.e_score_correction_bias
        chosen = biased.sort(dim=-1, descending=True, stable=True).indices[:, :top]
        weights = probs.gather(1, chosen)
        weights = weights / (1e-20 + weights.sum(-1, keepdim=True)) * c.routed_scaling_factor
        order = chosen.flatten().argsort(stable=True)
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        load = torch.bincount(chosen.flatten(), minlength=c.n_routed_experts)
        state.loads.append((self, load))
        pieces = _Dispatch.apply(x, order, inverse, top).split(load.tolist())
        done = [swiglu(piece, self.experts_gate_up[e].flatten(0, 1), self.experts_down[e])
                for e, piece in enumerate(pieces)]
        routed = _Collect.apply(torch.cat(done), order, inverse, top)
        routed = torch.einsum("rtw,rt->rw", routed, weights.to(routed.dtype))
        return routed + self.shared_experts(x, state)


class Layer(nn.Module):
    def __init__(self, c, dense):
        super().__init__()
        self.input_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Mlp(c, c.intermediate_size) if dense else Moe(c)

    def forward(self, h, batch, state, dtype):
        h = h + self.self_attn(self.input_layernorm(h, dtype), batch, state)
        return h + self.mlp(self.post_attention_layernorm(h, dtype), state)


class Pass:
    """What one forward pass is asked for and reports besides its output.

    index_mode: "off" (dense attention, no indexer), "watch" (dense, the indexer runs beside it) or
    "sparse" (attention over the indexer's selection). `observer`, if given, is called for every
    layer with the indexer's (q, k, weights), the main q, k, log-sum-exp, and the mask.
    """

    def __init__(self, index_mode="off", observer=None):
        self.index_mode = index_mode
        self.observer = observer
        self.loads = []

    def observe(self, *layer):
        if self.observer is not None:
            self.observer(*layer)


class Batch:
    """Tokens of packed sequences, the first of which is the shared prefix."""

    def __init__(self, tokens, layout, model):
        self.tokens = tokens
        self.layout = layout
        self.cos = model.cos[layout.positions]
        self.sin = model.sin[layout.positions]


class Model(nn.Module):
    def __init__(self, config, compute_dtype=torch.bfloat16):
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        c = config
        # One matrix for input and output: copying a token, also one that no target ever showed, is
        # then the identity. The small final norm keeps a token from predicting itself at first.
        self.embed_tokens = nn.Parameter(torch.randn(c.vocab_size, c.hidden_size) * 0.05)
        self.layers = nn.ModuleList(
            Layer(c, i < c.first_k_dense_replace) for i in range(c.num_hidden_layers))
        self.norm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        nn.init.constant_(self.norm.weight, 0.25)
        cos, sin = rotary_tables(c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden(self, batch, state):
        """Final-norm output, one row per token."""
        h = F.embedding(batch.tokens, self.embed_tokens)
        for layer in self.layers:
            h = layer(h, batch, state, self.compute_dtype)
        return self.norm(h, self.compute_dtype)

    def logits(self, hidden):
        return linear(hidden, self.embed_tokens).float()


def balance_experts(loads, rate=0.001):
    """Moves the selection biases towards equal load."""
    for moe, load in loads:
        load = load.float()
        moe.e_score_correction_bias += rate * torch.sign(load.mean() - load)
