"""From conversations to token files, and from token files to packed batches.

    python data.py --tokenizer DIR --encoder "ponder encode" --out FILE.npz CONVERSATIONS.jsonl...

Text comes from the product's own encoder. A sample is a conversation up to one of its user turns
and the assistant's work after it. As at run time it is tokenised in pieces: everything up to the
user turn at once, then every later message by itself. Assistant messages carry the loss.
"""

import argparse
import json
import pathlib
import random
import shlex
import subprocess
import threading

import numpy as np
from tokenizers import Tokenizer

ASSISTANT, PROMPT = 1, 0


def turns(messages):
    """(index of the user turn, messages up to the end of that turn) of every user turn."""
    users = [i for i, m in enumerate(messages) if m["role"] == "user"]
    for n, user in enumerate(users):
        end = users[n + 1] if n + 1 < len(users) else len(messages)
        yield user, messages[:end]


def requests(path):
    """(sample header, encoder request, is assistant) of every piece, in order."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            conversation = json.loads(line)
            for user, messages in turns(conversation["messages"]):
                head = {"kind": conversation["kind"], "seed": conversation.get("seed")}
                for i in range(user, len(messages)):
                    piece = messages[: i + 1] if i == user else messages[i: i + 1]
                    context = [] if i == user else messages[:i]
                    request = {"messages": piece, "context": context, "thinking_mode": "thinking"}
                    learned = messages[i]["role"] == "assistant" and messages[i].get("learn", True)
                    yield head if i == user else None, request, learned


def rendered(paths, encoder):
    """(header or None, text, is assistant) of every piece; the encoder runs beside us."""
    process = subprocess.Popen(shlex.split(encoder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, encoding="utf-8")

    def feed():
        with process.stdin:
            for path in paths:
                for _, request, _ in requests(path):
                    process.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")

    threading.Thread(target=feed, daemon=True).start()
    for path in paths:
        for head, _, assistant in requests(path):
            answer = json.loads(process.stdout.readline())
            if "ok" not in answer:
                raise SystemExit(f"{path}: the encoder refused a message: {answer}")
            yield head, answer["ok"], assistant
    if process.wait() != 0:
        raise SystemExit(f"{encoder} failed with {process.returncode}")


def tokenise(paths, encoder, tokenizer):
    """Samples as dicts: kind, seed, tokens, roles (one per token)."""
    sample = None
    for head, text, assistant in rendered(paths, encoder):
        if head is not None:
            if sample is not None:
                yield sample
            sample = {**head, "tokens": [], "roles": []}
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        sample["tokens"] += ids
        sample["roles"] += [ASSISTANT if assistant else PROMPT] * len(ids)
    if sample is not None:
        yield sample


def save(samples, out):
    lengths = [len(s["tokens"]) for s in samples]
    kinds = sorted({s["kind"] for s in samples})
    np.savez(out, tokens=np.concatenate([np.array(s["tokens"], np.uint16) for s in samples]),
             roles=np.concatenate([np.array(s["roles"], np.uint8) for s in samples]),
             starts=np.cumsum([0, *lengths]), kinds=np.array(kinds),
             kind=np.array([kinds.index(s["kind"]) for s in samples], np.uint8))


class Samples:
    """The samples of some token files, in memory."""

    def __init__(self, paths, user_token, limit=1 << 30):
        self.tokens, self.roles, self.kinds = [], [], []
        for path in paths:
            with np.load(path) as data:
                tokens, roles, starts = data["tokens"], data["roles"], data["starts"]
                names = [str(data["kinds"][k]) for k in data["kind"]]
                for i, name in enumerate(names):
                    if starts[i + 1] - starts[i] <= limit:
                        self.tokens.append(tokens[starts[i]: starts[i + 1]])
                        self.roles.append(roles[starts[i]: starts[i + 1]])
                        self.kinds.append(name)
        groups = {}
        for i, tokens in enumerate(self.tokens):
            prefix = int(np.argmax(tokens == user_token)) + 1
            groups.setdefault(tokens[:prefix].tobytes(), []).append(i)
        self.groups = [(np.frombuffer(key, np.uint16), members) for key, members in groups.items()]

    def __len__(self):
        return len(self.tokens)

    def batches(self, budget, seed, order=None):
        """One epoch of (prefix tokens, sample indices): about `budget` suffix tokens each, never a
        mix of prefixes. `order` (index -> key) sorts the samples, for a curriculum; else they are
        shuffled."""
        shuffle = random.Random(seed)
        found = []
        for prefix, members in self.groups:
            members = list(members)
            shuffle.shuffle(members)
            if order is not None:
                members.sort(key=order)
            batch, size = [], 0
            for i in members:
                length = len(self.tokens[i]) - len(prefix)
                if batch and size + length > budget:
                    found.append((prefix, batch))
                    batch, size = [], 0
                batch.append(i)
                size += length
            if batch:
                found.append((prefix, batch))
        if order is None:
            shuffle.shuffle(found)
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", required=True, type=pathlib.Path)
    parser.add_argument("--encoder", default="ponder encode", help="command that reads JSON lines")
    parser.add_argument("--out", required=True)
    parser.add_argument("conversations", nargs="+")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    samples = list(tokenise(args.conversations, args.encoder, tokenizer))
    save(samples, args.out)
    lengths = sorted(len(s["tokens"]) for s in samples)
    total, learned = sum(lengths), sum(sum(s["roles"]) for s in samples)
    print(f"{len(samples)} samples, {total} tokens ({learned} with loss), lengths "
          f"{lengths[0]} / {lengths[len(lengths) // 2]} / {lengths[-1]} (min, median, max)")


if __name__ == "__main__":
    main()
