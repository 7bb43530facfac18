"""RMSNorm, rotary embedding and SwiGLU: rowwise.cpp for bfloat16, plain PyTorch otherwise."""

import ctypes

import torch
import torch.nn.functional as F

from native import library, pointer


def native(dtype):
    return dtype == torch.bfloat16 and library("rowwise") is not None


def call(name, *args):
    """Tensors become pointers, floats C floats, integers 64-bit."""
    kinds = {float: ctypes.c_float, int: ctypes.c_int64}
    getattr(library("rowwise"), name)(
        *(kinds[type(a)](a) if type(a) in kinds else pointer(a) for a in args))


def by_type(x):
    """(x, None) for fp32 and (None, x) for bf16: the two pointer arguments of the kernels."""
    return (x, None) if x.dtype == torch.float32 else (None, x)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        rows, width = x.shape
        y = torch.empty(rows, width, dtype=torch.bfloat16)
        inverse = torch.empty(rows)
        call("rms_forward", *by_type(x), x.stride(0), weight, eps, y, inverse, rows, width)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, inverse = ctx.saved_tensors
        dx, dw = torch.empty(x.shape, dtype=x.dtype), torch.zeros_like(weight)
        call("rms_backward", *by_type(x), x.stride(0), weight, inverse, grad.contiguous(),
             *by_type(dx), dw, *x.shape)
        return dx, dw, None


def rms_norm(x, weight, eps, dtype):
    if native(dtype):
        return _RmsNorm.apply(x, weight, eps)
    x = x.float()
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight).to(dtype)


def rotate_interleaved(x, cos, sin):
    """Pairs are (2j, 2j + 1); x is [rows, heads, width], cos and sin [rows, width / 2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


class _RotateTails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return _RotateTails.run(x.contiguous(), cos, sin, 1.0)

    @staticmethod
    def backward(ctx, grad):
        return _RotateTails.run(grad.contiguous(), *ctx.saved_tensors, -1.0), None, None

    @staticmethod
    def run(x, cos, sin, sign):
        y = torch.empty_like(x)
        call("rotate_tails", x, cos, sin, y, sign, *x.shape, cos.shape[1])
        return y


def rotate_query(q, nope, cos, sin):
    """Rotates what follows the first `nope` elements of every head."""
    if native(q.dtype):
        return _RotateTails.apply(q, cos, sin)
    return torch.cat([q[..., :nope], rotate_interleaved(q[..., nope:], cos, sin)], -1)


class _ExpandKeys(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kv, rope, nope, cos, sin):
        rows, heads, width = kv.shape
        k = torch.empty(rows, heads, nope + rope.shape[1], dtype=kv.dtype)
        v = torch.empty(rows, heads, width - nope, dtype=kv.dtype)
        call("expand_keys", kv.contiguous(), rope, rope.stride(0), cos, sin, k, v, rows, heads,
             nope, width - nope, cos.shape[1])
        ctx.save_for_backward(cos, sin)
        ctx.nope = nope
        return k, v

    @staticmethod
    def backward(ctx, dk, dv):
        cos, sin = ctx.saved_tensors
        rows, heads, width = dv.shape
        dkv = torch.empty(rows, heads, ctx.nope + width, dtype=dk.dtype)
        drope = torch.empty(rows, dk.shape[2] - ctx.nope, dtype=dk.dtype)
        call("expand_keys_backward", dk.contiguous(), dv.contiguous(), cos, sin, dkv, drope, rows,
             heads, ctx.nope, width, cos.shape[1])
        return dkv, drope, None, None, None


def expand_keys(kv, rope, nope, cos, sin):
    """k [rows, heads, Dn + Dr] and v from kv_b's output and the shared unrotated rope key."""
    if native(kv.dtype):
        return _ExpandKeys.apply(kv, rope, nope, cos, sin)
    rope = rotate_interleaved(rope[:, None], cos, sin).expand(-1, kv.shape[1], -1)
    return torch.cat([kv[..., :nope], rope], -1), kv[..., nope:]


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        rows, width = x.shape[0], x.shape[1] // 2
        y = torch.empty(rows, width, dtype=x.dtype)
        call("gated_forward", x, y, rows, width)
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        dx = torch.empty_like(x)
        call("gated_backward", x, grad.contiguous(), dx, *grad.shape)
        return dx


def gated(x):
    """silu(gate) * up for x = gate | up."""
    if native(x.dtype):
        return _Gated.apply(x)
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up
