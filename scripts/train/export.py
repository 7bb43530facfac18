"""Writes a training checkpoint in DeepSeek-V3.2's format, with parity data and a model card.

    python export.py --checkpoint RUN/last.pt --tokenizer DIR --held-out FILE.npz --out MODEL_DIR

The averaged weights are written, rounded to bfloat16. parity.json holds what this code computes
from exactly those weights in fp32: the end of three prompts longer than 3 x index_topk.
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from attention import Layout
from data import ASSISTANT, Samples
from model import Batch, Config, Model, Pass

HERE = pathlib.Path(__file__).resolve().parent
KEPT_FP32 = ("e_score_correction_bias",)
BEST = 64  # logits per prompt in the parity data


def load_model(checkpoint):
    """The averaged model, in fp32, with every weight rounded as it will be stored."""
    config = Config(**checkpoint["config"])
    model = Model(config, torch.float32)
    model.load_state_dict({**checkpoint["model"], **checkpoint["average"]["weights"]})
    for name, tensor in model.state_dict().items():
        if not name.endswith(KEPT_FP32):
            tensor.copy_(tensor.bfloat16().float())
    return model.eval()


def tensors(model):
    """Checkpoint names and tensors: experts one by one, gate and up apart."""
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach()
        if name == "embed_tokens":
            yield "model.embed_tokens.weight", tensor
            yield "lm_head.weight", tensor
        elif name.endswith("mlp.e_score_correction_bias"):
            yield f"model.{name.replace('mlp.', 'mlp.gate.')}", tensor
        elif name.endswith("mlp.experts_gate_up"):
            for e, (gate, up) in enumerate(tensor):
                base = f"model.{name.removesuffix('experts_gate_up')}experts.{e}."
                yield base + "gate_proj.weight", gate
                yield base + "up_proj.weight", up
        elif name.endswith("mlp.experts_down"):
            for e, down in enumerate(tensor):
                base = f"model.{name.removesuffix('experts_down')}experts.{e}."
                yield base + "down_proj.weight", down
        elif name.endswith("gate_up"):
            base = f"model.{name.removesuffix('gate_up')}"
            yield base + "gate_proj.weight", tensor[0]
            yield base + "up_proj.weight", tensor[1]
        else:
            yield f"model.{name}", tensor


def config_json(c):
    return {
        "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32",
        "vocab_size": c.vocab_size, "hidden_size": c.hidden_size,
        "num_hidden_layers": c.num_hidden_layers, "num_nextn_predict_layers": 0,
        "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_attention_heads, "q_lora_rank": c.q_lora_rank,
        "kv_lora_rank": c.kv_lora_rank, "qk_nope_head_dim": c.qk_nope_head_dim,
        "qk_rope_head_dim": c.qk_rope_head_dim, "v_head_dim": c.v_head_dim,
        "index_n_heads": c.index_n_heads, "index_head_dim": c.index_head_dim,
        "index_topk": c.index_topk, "intermediate_size": c.intermediate_size,
        "moe_intermediate_size": c.moe_intermediate_size,
        "first_k_dense_replace": c.first_k_dense_replace, "moe_layer_freq": 1,
        "n_routed_experts": c.n_routed_experts, "n_shared_experts": c.n_shared_experts,
        "num_experts_per_tok": c.num_experts_per_tok, "n_group": 1, "topk_group": 1,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True,
        "routed_scaling_factor": c.routed_scaling_factor, "hidden_act": "silu",
        "rms_norm_eps": c.rms_norm_eps, "attention_bias": False, "attention_dropout": 0.0,
        "tie_word_embeddings": False, "rope_theta": c.rope_theta,
        "max_position_embeddings": c.max_position_embeddings, "initializer_range": 0.02,
        "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16", "use_cache": True}


GENERATION = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "do_sample": True,
              "temperature": 1.0, "top_p": 0.95}


class LastRow:
    """Observer of a sparse Pass over one sequence: what the last row selected in every layer."""

    def __init__(self, layout):
        self.layout, self.layers = layout, []

    def __call__(self, index, q, k, lse, mask):
        chosen = self.layout.visible(0, mask)[-1].nonzero().flatten()
        self.layers.append({"count": len(chosen), "sum": int(chosen.sum()),
                            "sum_of_squares": int(chosen.square().sum()),
                            "first": chosen[:10].tolist()})


@torch.no_grad()
def parity(model, prompt):
    layout = Layout(len(prompt), [])
    last = LastRow(layout)
    hidden = model.hidden(Batch(prompt, layout, model), Pass("sparse", last))
    logits = model.logits(hidden[-1:])[0]
    best = logits.topk(BEST)
    return {"tokens": prompt.tolist(), "ids": best.indices.tolist(),
            "logits": [round(v, 6) for v in best.values.tolist()],
            "log_sum_exp": round(float(logits.logsumexp(0)), 6), "selected": last.layers}


def parity_prompts(samples, topk, count=3):
    """Held-out samples, cut in the middle of an assistant's last message."""
    for tokens, roles in zip(samples.tokens, samples.roles):
        learned = (roles == ASSISTANT).nonzero()[0]
        end = int(learned[-len(learned) // 5])
        if end > 3 * topk and count > 0:
            count -= 1
            yield torch.from_numpy(tokens[:end].astype("int64"))


def model_card(checkpoint, run, out, card):
    log = run / "log.jsonl"
    entries = [json.loads(line) for line in log.open()] if log.exists() else []
    final = {e["step"]: e for e in entries if e["step"] <= checkpoint["step"]}  # resumed steps once
    figures = [e["held_out"] for e in final.values() if "held_out" in e]
    recall = [f["recall_mass_chance"] for f in figures if "recall_mass_chance" in f]
    spans = [0.0]
    for e in entries:
        spans.append(e["time"]) if e["time"] < spans[-1] else spans.__setitem__(-1, e["time"])
    template = card.read_text(encoding="utf-8")
    values = {
        "steps": checkpoint["step"], "tokens": f"{sum(e['tokens'] for e in final.values()):,}",
        "hours": f"{sum(spans) / 3600:.2f}",
        "parameters": f"{sum(t.numel() for t in checkpoint['model'].values()):,}",
        "loss": f"{figures[-1]['loss']:.4f}" if figures else "not measured",
        "tokens_right": f"{figures[-1]['tokens_right']:.4f}" if figures else "not measured",
        "samples_right": f"{figures[-1]['samples_right']:.2f}" if figures else "not measured",
        "recall": "; ".join(f"{r:.2f} / {m:.2f} / {c:.2f}" for r, m, c in recall[-1])
                  if recall else "not measured"}
    (out / "README.md").write_text(template.format_map(values), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, type=pathlib.Path)
    parser.add_argument("--tokenizer", required=True, type=pathlib.Path)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16",
                        help="f32 stores the same rounded values, for engines tested in fp32")
    parser.add_argument("--card", type=pathlib.Path, default=HERE / "model_card.md",
                        help="the model card's template")
    parser.add_argument("--index-topk", type=int, help="keys to select, if not as in training")
    parser.add_argument("--parity", type=pathlib.Path, help="where to write the parity data")
    args = parser.parse_args()
    checkpoint = torch.load(args.checkpoint, weights_only=True)
    if args.index_topk:
        checkpoint["config"]["index_topk"] = args.index_topk
    model = load_model(checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    wide = KEPT_FP32 if args.dtype == "bf16" else ("",)
    stored = {name: (t if name.endswith(wide) else t.bfloat16()).contiguous().clone()
              for name, t in tensors(model)}
    save_file(stored, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "model.safetensors").chmod(0o644)
    (args.out / "config.json").write_text(json.dumps(config_json(model.config), indent=2) + "\n")
    (args.out / "generation_config.json").write_text(json.dumps(GENERATION, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(args.tokenizer / name, args.out / name)
    user = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json")).token_to_id("<｜User｜>")
    prompts = parity_prompts(Samples([args.held_out], user), model.config.index_topk)
    data = {"about": "fp32 results of scripts/train/export.py for the stored weights",
            "index_topk": model.config.index_topk, "prompts": [parity(model, p) for p in prompts]}
    (args.parity or args.out / "parity.json").write_text(json.dumps(data) + "\n")
    model_card(checkpoint, args.checkpoint.parent, args.out, args.card)
    count = sum(t.numel() for t in stored.values())
    print(f"step {checkpoint['step']}: {count:,} values -> {args.out}")


if __name__ == "__main__":
    main()
