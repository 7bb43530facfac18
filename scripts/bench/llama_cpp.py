"""Measures ponder and llama.cpp alternately on the same weights: see scripts/bench/llama_cpp."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# About 1.0 G parameters, 0.3 G active. Ratios are those of the published models where they decide
# speed: latent 512 + 64, 2048 selected keys, index heads of 128, half as many of them as heads.
DEEPSEEK = {
    "architectures": ["DeepseekV32ForCausalLM"],
    "model_type": "deepseek_v32",
    "vocab_size": 32768,
    "hidden_size": 2048,
    "num_hidden_layers": 8,
    "num_nextn_predict_layers": 0,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 768,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "index_n_heads": 8,
    "index_head_dim": 128,
    "index_topk": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 512,
    "first_k_dense_replace": 1,
    "n_routed_experts": 32,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "n_group": 1,
    "topk_group": 1,
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
    "max_position_embeddings": 65536,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "bfloat16",
}
# GLM-5.2's heads and its layers that share a selection.
GLM = DEEPSEEK | {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "qk_nope_head_dim": 192,
    "v_head_dim": 256,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "indexer_types": ["full", "full", "full", "shared", "shared", "shared", "full", "shared"],
}
# For the long context: at it llama.cpp's prompt takes minutes for each layer. The small vocabulary
# keeps the head from outweighing the layers.
TWO_LAYERS = DEEPSEEK | {"num_hidden_layers": 2, "vocab_size": 1024}
SHAPES = {"deepseek": DEEPSEEK, "glm": GLM, "2-layers": TWO_LAYERS}

# ponder's format: llama.cpp's.
PRECISIONS = {"bf16": "BF16", "int8": "Q8_0", "int4-32": "Q4_0"}


@dataclass(frozen=True)
class Measurement:
    name: str
    context: int  # tokens of the prompt
    generated: int  # 0: the prompt is what is timed
    runs: int  # in one process; the first of ponder's is not counted, nor is llama.cpp's warm-up
    shapes: tuple[str, ...] = ("deepseek", "glm")
    rounds_max: int = 1000

    def ponder_command(self, options, model):
        command = [options.ponder, "bench", "engine", "--json", "--model", model]
        command += ["--threads", options.threads, "--index-keys", options.index_keys]
        command += ["--prompt", self.context, "--repeats", self.runs]
        command += ["--generate", max(self.generated, 1)]
        return command + (["--same-prompt"] if self.generated else [])

    def peer_command(self, options, model):
        command = [options.peer / "build/bin/llama-bench", "-o", "json", "-m", model]
        command += ["-t", options.threads, "-fa", "1", "-r", self.runs]
        if self.generated:
            return command + ["-p", "0", "-n", self.generated, "-d", self.context]
        # Warming up would be another such prompt.
        is_worth_it = self.runs > 1
        return command + ["-p", self.context, "-n", "0"] + ([] if is_worth_it else ["--no-warmup"])

    def ponder_figure(self, output):
        key = "decode_tokens_per_s" if self.generated else "prefill_tokens_per_s"
        return json.loads(output)[key]

    def peer_figure(self, output):
        return statistics.median(json.loads(output)[0]["samples_ts"])


MEASUREMENTS = [
    Measurement("prefill 1K", context=1024, generated=0, runs=2),
    Measurement("prefill 4K", context=4096, generated=0, runs=1),
    Measurement("decode at 1K", context=1024, generated=64, runs=3),
    Measurement("decode at 32K", 32768, generated=32, runs=5, shapes=("2-layers",), rounds_max=1),
]


class Failure(Exception):
    pass


def run(command):
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def make_ponder_model(options, shape, precision):
    """A directory of the shape's random weights; the same weights in every precision."""
    out = options.models / f"{shape}-{precision}"
    if out.exists():
        return out
    print(f"make {out}", file=sys.stderr)
    if precision == "bf16":
        options.models.mkdir(parents=True, exist_ok=True)
        config = options.models / f"{shape}.json"
        config.write_text(json.dumps(SHAPES[shape], indent=2))
        command = [options.ponder, "model", "random", "--config", config, "--dtype", "bf16"]
        run(command + ["--out", out])
        shutil.copy("engine/models/mini/tokenizer.json", out)  # of which only the file is needed
    else:
        source = make_ponder_model(options, shape, "bf16")
        run([options.ponder, "model", "convert", source, out, "--to", precision])
    return out


def make_peer_model(options, shape, precision):
    out = options.models / f"{shape}-{PRECISIONS[precision]}.gguf"
    if out.exists():
        return out
    if precision == "bf16":
        source = make_ponder_model(options, shape, "bf16")
        print(f"make {out}", file=sys.stderr)
        run([sys.executable, __file__, "--convert", options.peer / "source", source, out])
    else:
        source = make_peer_model(options, shape, "bf16")
        print(f"make {out}", file=sys.stderr)
        quantize = options.peer / "build/bin/llama-quantize"
        run([quantize, source, out, PRECISIONS[precision], options.threads])
    return out


def convert_for_peer(sources, model, out):
    """llama.cpp's own converter, but for the vocabulary: random weights have none."""
    sys.path.insert(0, sources)
    import convert_hf_to_gguf as converter

    get_model_class = converter.get_model_class

    def without_vocabulary(*args, **kwargs):
        model_class = get_model_class(*args, **kwargs)
        model_class.set_vocab = model_class._set_vocab_none
        return model_class

    converter.get_model_class = without_vocabulary
    sys.argv = ["convert_hf_to_gguf.py", model, "--outtype", "bf16", "--outfile", out]
    converter.main()


def measure(options, measurement, ponder_model, peer_model):
    """Two lists of figures, in tokens per second: whichever comes first changes every round."""
    ponder = (measurement.ponder_command(options, ponder_model), measurement.ponder_figure, [])
    peer = (measurement.peer_command(options, peer_model), measurement.peer_figure, [])
    for round_idx in range(min(options.rounds, measurement.rounds_max)):
        for command, figure, figures in (ponder, peer) if round_idx % 2 == 0 else (peer, ponder):
            figures.append(figure(run(command)))
    return ponder[2], peer[2]


def report(options, shape, precision, measurement, figures):
    ponder, peer = (statistics.median(of_one) for of_one in figures)
    row = {
        "shape": shape,
        "precision": precision,
        "peer_precision": PRECISIONS[precision],
        "measurement": measurement.name,
        "ponder_tokens_per_s": ponder,
        "peer_tokens_per_s": peer,
        "ratio": ponder / peer,
        "ponder_rounds": figures[0],
        "peer_rounds": figures[1],
    }
    if options.json:
        print(json.dumps(row), flush=True)
    else:
        formats = f"{precision} / {PRECISIONS[precision]}"
        print(f"{shape:<9} {formats:<15} {measurement.name:<14} {ponder:10.1f} {peer:10.1f}"
              f" {ponder / peer:6.2f}", flush=True)


def read_options():
    parser = argparse.ArgumentParser(prog="scripts/bench/llama_cpp")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="but for the long context: 1")
    parser.add_argument("--index-keys", default="int8", choices=["int8", "floating"],
                        help="ponder's; llama.cpp's are f16")
    parser.add_argument("--filter", default="", help="part of a row: 'int8', 'glm int4', '32K'")
    parser.add_argument("--json", action="store_true")
    for name in ("--ponder", "--peer", "--models"):
        parser.add_argument(name, type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def wanted_rows(options):
    for shape in SHAPES:
        for precision in PRECISIONS:
            for measurement in MEASUREMENTS:
                name = f"{shape} {precision} {measurement.name}"
                is_wanted = all(word in name for word in options.filter.split())
                if is_wanted and shape in measurement.shapes:
                    yield name, shape, precision, measurement


def main():
    options = read_options()
    if not options.json:
        print(f"{'shape':<9} {'formats':<15} {'tokens/s':<14} {'ponder':>10} {'llama.cpp':>10}"
              f" {'ratio':>6}")
    for name, shape, precision, measurement in wanted_rows(options):
        ponder_model = make_ponder_model(options, shape, precision)
        try:
            peer_model = make_peer_model(options, shape, precision)
            figures = measure(options, measurement, ponder_model, peer_model)
        except Failure as failure:
            print(f"{name}: {failure}", file=sys.stderr)
            continue
        report(options, shape, precision, measurement, figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--convert"]:
        convert_for_peer(*sys.argv[2:])
    else:
        main()
