#!/usr/bin/env python3
"""The expert (code_expert.py) as a model of `ponder eval codefix`, with the real tools and judge.

It answers as an endpoint on loopback. Shows what its procedure can solve, and writes the
conversations that the judge calls solved as JSON lines, in the form of generate.py.

Example: code_endpoint.py --count 200 --seed 1000000 --language lua --out played.jsonl
"""

import argparse
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading

from code_expert import Expert


class Endpoint(http.server.BaseHTTPRequestHandler):
    """POST /v1/chat/completions; keeps every conversation that ends."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", **Expert().next(request["messages"])}
        if not message.get("tool_calls"):
            self.server.keep(request, message)
        for i, call in enumerate(message.get("tool_calls", [])):
            call["id"] = f"call-{len(request['messages'])}-{i}"
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        body = json.dumps(
            {
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 0, "completion_tokens": 0},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.conversations = {}

    def keep(self, request, answer):
        messages = [cleaned(m) for m in [*request["messages"], answer]]
        messages[0]["tools"] = request["tools"]
        user = next(m["content"] for m in messages if m["role"] == "user")
        self.conversations[int(re.search(r"\(codefix (\d+)\)", user)[1])] = messages


def cleaned(message):
    """Without what only the wire needs: ids of calls."""
    out = {k: v for k, v in message.items() if k != "tool_call_id"}
    if out.get("tool_calls"):
        out["tool_calls"] = [
            {"type": "function", "function": call["function"]} for call in out["tool_calls"]
        ]
    return out


def evaluate(server, args):
    """The report of `ponder eval codefix` with the expert as its model."""
    with tempfile.TemporaryDirectory(prefix="generate-code-") as folder:
        command = [
            args.ponder, "eval", "codefix", "--json",
            "--count", str(args.count), "--seed", str(args.seed), "--language", args.language,
            "--concurrency", str(args.concurrency),
            "--model", f"http://127.0.0.1:{server.server_port}/v1", "--model-name", "expert",
        ]  # fmt: skip
        environment = {**os.environ, "PONDER_SESSIONS": f"{folder}/sessions.db"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument(
        "--seed", type=int, default=1, help="first task seed; evaluation seeds start at 1,000,000"
    )
    parser.add_argument("--language", default="lua", choices=["lua", "python"])
    parser.add_argument("--out", required=True)
    parser.add_argument("--ponder", default="ponder")
    parser.add_argument("--concurrency", type=int, default=2)
    args = parser.parse_args()
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    report = evaluate(server, args)
    written = 0
    with open(args.out, "w") as out:
        for case in report["cases"]:
            if not case["solved"]:
                continue
            line = {
                "kind": f"code_{args.language}_{case['kind']}",
                "seed": case["task_seed"],
                "messages": server.conversations[case["task_seed"]],
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
    print(f"{written} conversations written, {args.count - written} not solved", file=sys.stderr)
    for kind, share in sorted(report["by_kind"].items()):
        print(f"  {kind:<24} {share['solved']:>4} of {share['total']:>4}", file=sys.stderr)


if __name__ == "__main__":
    main()
