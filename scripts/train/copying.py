"""Writes a token file of copying exercises, which teach the model to look up anything.

    python copying.py --tokenizer DIR --like FILE.npz --count N --seed S --out COPY.npz

An exercise is the usual system prompt, then rows of random tokens, then the same rows again, in
order or shuffled; the loss is on what can be looked up. Mixed into the trajectories they make the
model copy any word of the vocabulary, not only those that trajectories show often.
"""

import argparse
import json
import pathlib
import random

import numpy as np

from data import ASSISTANT, PROMPT, save


def exercise(rng, prefix, words, digits, newline, bar, end):
    rows = []
    for _ in range(rng.randint(4, 14)):
        row = rng.sample(words, rng.randint(2, 3))
        if rng.random() < 0.5:
            row += [bar, *rng.choices(digits, k=rng.randint(2, 3))]
        rows.append([*row, newline])
    again = list(rows)
    shuffled = rng.random() < 0.5
    if shuffled:
        rng.shuffle(again)
    tokens, roles = list(prefix), [PROMPT] * len(prefix)
    for row in rows:
        tokens += row
        roles += [PROMPT] * len(row)
    tokens += end
    roles += [PROMPT] * len(end)
    for i, row in enumerate(again):
        tokens += row
        roles += [PROMPT if shuffled or i == 0 else ASSISTANT] + [ASSISTANT] * (len(row) - 1)
    return {"kind": "copying", "tokens": tokens, "roles": roles}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", required=True, type=pathlib.Path)
    parser.add_argument("--like", required=True, help="a token file with the system prompt")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    file = json.loads((args.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = file["model"]["vocab"]
    added = {a["content"]: a["id"] for a in file["added_tokens"]}
    words = [i for name, i in vocab.items() if i >= 259 and name.lstrip("Ġ").isalpha()]
    with np.load(args.like) as data:
        tokens = data["tokens"][: data["starts"][1]]
    prefix = tokens[: int(np.argmax(tokens == added["<｜User｜>"])) + 1].tolist()
    rng = random.Random(args.seed)
    digits = [vocab[str(d)] for d in range(10)]
    end = [added["<｜Assistant｜>"], added["<think>"]]
    samples = [exercise(rng, prefix, words, digits, vocab["Ċ"], vocab["|"], end)
               for _ in range(args.count)]
    save(samples, args.out)
    print(f"{len(samples)} exercises over {len(words)} words -> {args.out}")


if __name__ == "__main__":
    main()
