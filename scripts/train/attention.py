"""Attention of packed sequences that share a prefix.

Rows of all sequences stand in one matrix: q, k, v are [rows, heads, D]. Sequence i owns rows
starts[i] .. starts[i + 1]; sequence 0 is the shared prefix (it may be empty), every other sequence
sees the prefix and, causally, itself. A `mask` (made by `index_select`) restricts each query to a
subset of those keys: bit t % 64 of word [key, t // 64] of a sequence says that its query t sees
the key.

With bfloat16 tensors, D == 64 and a CPU that has AVX512_BF16 the work is done by attention.cpp
and selection.cpp; else by a plain PyTorch version that computes the same.
"""

import ctypes
import math

import torch

from native import library, pointer


class Layout:
    """Where the sequences of one packed batch stand. `prefix_positions`, if given, are the
    positions of the prefix rows and the position of what follows, for a prefix with gaps."""

    def __init__(self, prefix, lengths, prefix_positions=None):
        if prefix_positions is None:
            prefix_positions = torch.arange(prefix + 1)
        self.lengths = [prefix, *lengths]
        self.prefix = prefix
        self.starts = torch.tensor([0, prefix, *lengths], dtype=torch.int32).cumsum(0).int()
        words = [(prefix * (i > 0) + n) * -(-n // 64) for i, n in enumerate(self.lengths)]
        self.mask_at = torch.tensor([0, *words]).cumsum(0)
        self.positions = torch.cat(
            [prefix_positions[:-1], *(torch.arange(n) + prefix_positions[-1] for n in lengths)])

    def rows(self, sequence):
        return slice(int(self.starts[sequence]), int(self.starts[sequence + 1]))

    def keys(self, tensor, sequence):
        """The rows of `tensor` that the sequence may see, in order of position."""
        own = tensor[self.rows(sequence)]
        return own if sequence == 0 else torch.cat([tensor[: self.prefix], own])

    def visible(self, sequence, mask=None):
        """Boolean [queries, keys]."""
        n = self.lengths[sequence]
        keys = n + self.prefix * (sequence > 0)
        seen = torch.arange(keys)[None, :] <= torch.arange(keys - n, keys)[:, None]
        if mask is None:
            return seen
        words = mask[self.mask_at[sequence]: self.mask_at[sequence + 1]].view(keys, -(-n // 64))
        bits = (words[..., None] >> torch.arange(64)) & 1
        return seen & bits.flatten(1)[:, :n].T.bool()


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, layout, mask, scale):
        out, lse = torch.empty_like(v), torch.empty(q.shape[:2])
        ctx.sizes = (len(layout.lengths), q.shape[1], ctypes.c_float(scale),
                     torch.get_num_threads())
        inputs = (q, k, v, layout.starts, layout.mask_at, mask, out, lse)
        library("attention").attention_forward(*map(pointer, inputs), *ctx.sizes)
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx, grad, _):
        q, starts = ctx.saved_tensors[0], ctx.saved_tensors[3]
        prefix, rows = int(starts[1]), q.shape[0]
        dq = torch.empty_like(q)
        dk, dv = torch.empty(q.shape), torch.empty(q.shape)
        shared = torch.empty(2, len(starts) - 2, prefix, *q.shape[1:])
        library("attention").attention_backward(
            *map(pointer, (*ctx.saved_tensors, grad.contiguous(), dq, dk, dv, *shared)),
            *ctx.sizes)
        for total, part in ((dk, shared[0]), (dv, shared[1])):
            total[:prefix] += part.sum(0)
        return dq, dk.to(q.dtype), dv.to(q.dtype), None, None, None


def _plain(q, k, v, layout, mask, scale):
    outs, sums = [], []
    for i in range(len(layout.lengths)):
        logits = torch.einsum("qnd,knd->nqk", q[layout.rows(i)].float(),
                              layout.keys(k, i).float()) * scale
        logits = logits.masked_fill(~layout.visible(i, mask), -math.inf)
        lse = torch.logsumexp(logits, dim=-1)
        probs = torch.exp(logits - lse[..., None])
        outs.append(torch.einsum("nqk,knd->qnd", probs, layout.keys(v, i).float()))
        sums.append(lse.T)
    return torch.cat(outs).to(v.dtype), torch.cat(sums).detach()


def attention(q, k, v, layout, mask=None):
    """Returns (out [rows, heads, D], log-sum-exp of the logits [rows, heads], no gradient)."""
    scale = q.shape[-1] ** -0.5
    native = (q.dtype == torch.bfloat16 and q.shape[-1] == v.shape[-1] == 64
              and library("attention") is not None)
    call = _Native.apply if native else _plain
    return call(q.contiguous(), k.contiguous(), v.contiguous(), layout, mask, scale)


def index_scores(q, k, w, layout, sequence):
    """fp32 scores [queries, keys] of one sequence: sum_h w[h] * relu(<q[h], k>)."""
    rows = layout.rows(sequence)
    dots = torch.einsum("qhd,kd->qhk", q[rows].float(), layout.keys(k, sequence).float())
    return torch.einsum("qh,qhk->qk", w[rows].float(), torch.relu(dots))


def topk_sets(scores, seen, topk):
    """Boolean like `seen`: the best visible keys of each row; ties go to the lower position."""
    ranked = scores.masked_fill(~seen, -math.inf).sort(dim=-1, descending=True, stable=True)
    best = torch.zeros_like(seen)
    return best.scatter_(1, ranked.indices[:, :topk], True) & seen


@torch.no_grad()
def index_select(q, k, w, layout, topk):
    """The mask of the keys that each query selects. q [rows, heads, D], k [rows, D], w [rows,
    heads] (the weights with all constant factors)."""
    mask = torch.zeros(int(layout.mask_at[-1]), dtype=torch.int64)
    if q.dtype == torch.bfloat16 and q.shape[-1] == 64 and library("selection"):
        args = (q.contiguous(), k.contiguous(), w.float().contiguous(), layout.starts,
                layout.mask_at, mask)
        library("selection").index_select(*map(pointer, args), len(layout.lengths), q.shape[1],
                                          topk, torch.get_num_threads())
        return mask
    for i, n in enumerate(layout.lengths):
        best = topk_sets(index_scores(q, k, w, layout, i), layout.visible(i), topk)
        padded = torch.nn.functional.pad(best.T, (0, -n % 64))
        padded = padded.reshape(best.shape[1], -(-n // 64), 64)
        bits = (padded.long() << torch.arange(64)).sum(-1)
        mask[layout.mask_at[i]: layout.mask_at[i + 1]] = bits.flatten()
    return mask
