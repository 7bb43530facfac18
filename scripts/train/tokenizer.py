"""Trains the byte-level BPE of ponder-mini and writes tokenizer.json in DeepSeek-V3's layout.

    python tokenizer.py --like DEEPSEEK_TOKENIZER.json[.gz] --out DIR CONVERSATIONS.jsonl...

The added tokens include the fixed pieces of the call markup: a fifth of a trajectory's tokens is
saved. Ids: 0-2 begin, end and padding, 3-258 the bytes in DeepSeek's order, 259 + rank the merges,
then place-holders up to the given size, then the added tokens. Pre-tokenizer, decoder and
post-processor are copied from the file given by --like. Digits are never merged, nor is `|`, so
that numbers compare digit by digit and a name in a table is the same tokens as in a list.
"""

import argparse
import gzip
import json
import pathlib

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from data import rendered

SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
ADDED = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜",
         "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", '<｜DSML｜invoke name="',
         "</｜DSML｜invoke>", '<｜DSML｜parameter name="', '" string="true">',
         "</｜DSML｜parameter>", "<function_results>", "</function_results>", "<result>",
         "</result>"]
FIRST_BYTE, FIRST_MERGE = 3, 259


def read_json(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def texts(paths, encoder):
    """Everything the model will see, as the encoder writes it; each system prompt once."""
    seen = set()
    for head, text, _ in rendered(paths, encoder):
        if head is None:
            yield text
            continue
        system, turn = text.split("<｜User｜>", 1)
        yield turn
        if system not in seen:
            seen.add(system)
            yield system


def learn_merges(paths, encoder, like, count):
    tokenizer = Tokenizer(models.BPE())
    splits = [
        pre_tokenizers.Split(Regex(part["pattern"]["Regex"]), "isolated")
        for part in like["pre_tokenizer"]["pretokenizers"] if part["type"] == "Split"
    ]
    apart = pre_tokenizers.Split(Regex("\\||[0-9]"), "isolated")
    marks = [pre_tokenizers.Split(mark, "removed") for mark in ADDED]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*marks, *splits, apart, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + count, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(paths, encoder), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [pair if isinstance(pair, list) else pair.split(" ") for pair in merges]


def assemble(like, merges, vocab_size):
    """The tokenizer.json object."""
    byte_names = {i: name for name, i in like["model"]["vocab"].items()
                  if FIRST_BYTE <= i < FIRST_MERGE}
    names = SPECIAL + [byte_names[i] for i in range(FIRST_BYTE, FIRST_MERGE)]
    names += [left + right for left, right in merges]
    if len(set(names)) != len(names):
        raise SystemExit("two merges give the same token")
    first_added = vocab_size - len(ADDED)
    if len(names) > first_added:
        raise SystemExit(f"{len(names)} tokens do not fit below the added ones")
    names += [f"<｜place▁holder▁no▁{i}｜>" for i in range(first_added - len(names))]

    def added(i, text, special):
        return {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": not special, "special": special}

    template = {a["content"]: a for a in like["added_tokens"]}
    entries = [added(i, text, True) for i, text in enumerate(SPECIAL)]
    entries += [added(i, names[i], True) for i in range(FIRST_MERGE + len(merges), first_added)]
    entries += [added(first_added + i, text, False) for i, text in enumerate(ADDED)]
    for entry in entries:
        if entry["content"] in template:
            entry.update({k: v for k, v in template[entry["content"]].items() if k != "id"})
    vocab = {name: i for i, name in enumerate(names) if not name.startswith("<｜place")}
    result = {k: v for k, v in like.items() if k not in ("added_tokens", "model")}
    result["added_tokens"] = entries
    result["model"] = {**like["model"], "vocab": vocab,
                       "merges": [" ".join(pair) for pair in merges]}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--like", required=True, help="DeepSeek-V3's tokenizer.json, may be .gz")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--encoder", default="ponder encode", help="command that reads JSON lines")
    parser.add_argument("conversations", nargs="+")
    args = parser.parse_args()
    like = read_json(args.like)
    room = args.vocab_size - FIRST_MERGE - len(ADDED)
    merges = learn_merges(args.conversations, args.encoder, like, room)[:room]
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "tokenizer.json"
    text = json.dumps(assemble(like, merges, args.vocab_size), ensure_ascii=False, indent=1)
    path.write_text(text, encoding="utf-8")
    config = {
        "add_bos_token": False, "add_eos_token": False, "bos_token": SPECIAL[0],
        "clean_up_tokenization_spaces": False, "eos_token": SPECIAL[1], "legacy": True,
        "model_max_length": 8192, "pad_token": SPECIAL[1], "sp_model_kwargs": {}, "unk_token": None,
        "tokenizer_class": "LlamaTokenizerFast"}
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (args.out / "tokenizer_config.json").write_text(text, encoding="utf-8")
    print(f"{len(merges)} merges, {args.vocab_size} ids -> {path}")


if __name__ == "__main__":
    main()
