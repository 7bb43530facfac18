"""fake_server.py over Streamable HTTP, on a port of 127.0.0.1 that it prints."""
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_protocol import MODERN, Peer, cancelled, respond, sessions, settings, text_result, traits

dropped = []
count = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=None, kind="application/json", **headers):
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self, **headers):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, message, number=None):
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        lines = b"".join(b"data: " + line + b"\r\n" for line in data.rstrip(b"\n").split(b"\n"))
        head = b"" if number is None else b"id: %d\r\nretry: 10\r\n" % number
        self.wfile.write(b": a comment\r\n" + head + lines + b"\r\n")
        self.wfile.flush()

    def is_let_in(self):
        token = settings.get("token")
        if token and self.headers.get("Authorization") != "Bearer " + token:
            self.reply(401, {"error": "who are you?"}, WWW_Authenticate="Bearer")
            return False
        return True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.is_let_in():
            return
        method = body.get("method")
        version = self.headers.get("MCP-Protocol-Version")
        if version == MODERN and "id" in body:
            if "legacy" in traits:
                return self.reply(400, {"jsonrpc": "2.0", "id": None, "error": {
                    "code": -32000, "message": "Bad Request: Unsupported protocol version"}})
            fault = self.header_fault(body)
            if fault:
                return self.reply(400, {"jsonrpc": "2.0", "id": body["id"], "error": {
                    "code": -32020, "message": fault}})
        elif method != "initialize" and "legacy" in traits:
            if self.headers.get("Mcp-Session-Id") not in sessions:
                return self.reply(404, b"no session")
            if version != "2025-11-25":
                return self.reply(400, b"which version?")
        if "broken" in traits and method == "tools/call":
            return self.reply(503, b"<html>down for <b>maintenance</b></html>", "text/html")
        if "id" not in body or method is None:
            respond(Peer(None), body)
            return self.reply(202)
        self.answer(body, method)

    def answer(self, body, method):
        wants_stream = "sse" in traits or method == "subscriptions/listen" or (
            method == "tools/call" and body["params"]["name"] in
            ("progress", "ask", "never", "drop", "roots", "sample", "flood", "garbage", "url"))
        headers = {}
        if method == "initialize" and "legacy" in traits:
            name = f"session-{len(sessions)}-{time.time_ns()}"
            sessions.add(name)
            headers["Mcp_Session_Id"] = name
        if not wants_stream:
            response = respond(Peer(lambda _: None), body)
            return self.reply(200, {"jsonrpc": "2.0", **(response or {})}, **headers)
        self.begin_stream(**headers)
        lock = threading.Lock()

        def write(message):
            with lock:
                self.event(message)
        peer = Peer(write)
        try:
            if method == "tools/call" and body["params"]["name"] == "never":
                token = body["params"]["_meta"]["progressToken"]
                while True:  # until the client hangs up
                    peer.say(method="notifications/progress",
                             params={"progressToken": token, "progress": 1})
                    time.sleep(0.01)
            response = respond(peer, body)
            if response == "drop":
                dropped.append(body["id"])
                self.event(b"", 1)
                return
            if response == "listen":
                while not self.wfile.closed:
                    time.sleep(0.05)
            if isinstance(response, dict):
                peer.say(**response)
        except (BrokenPipeError, ConnectionResetError):
            cancelled.append(body["id"])

    def header_fault(self, body):
        params = body.get("params", {})
        if self.headers.get("Mcp-Method") != body["method"]:
            return "Mcp-Method differs"
        name = params.get("name", params.get("uri"))
        if body["method"] in ("tools/call", "prompts/get", "resources/read"):
            if self.headers.get("Mcp-Name") != name:
                return "Mcp-Name differs"
        arguments = params.get("arguments", {})
        if name == "region":
            if self.headers.get("Mcp-Param-Region") != arguments.get("region"):
                return "Mcp-Param-Region differs"
            count = arguments.get("deep", {}).get("count")
            if self.headers.get("Mcp-Param-Count") != (None if count is None else str(count)):
                return "Mcp-Param-Count differs"
        if params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion") != MODERN:
            return "the versions differ"
        return None

    def do_GET(self):
        if not self.is_let_in():
            return
        last = self.headers.get("Last-Event-ID")
        if last is None:
            return self.reply(405, b"no stream of that kind")
        if "forgetful" in traits:
            return self.reply(400, b"that is gone")
        self.begin_stream()
        count["resumed"] = count.get("resumed", 0) + 1
        if count["resumed"] < 3:  # breaks off again, further on each time
            return self.event(b"", int(last) + 1)
        result = text_result(f"taken up at {last}")
        self.event({"jsonrpc": "2.0", "id": dropped[-1], "result": result}, int(last) + 1)

    def do_DELETE(self):
        sessions.discard(self.headers.get("Mcp-Session-Id"))
        if "farewell" in settings:
            open(settings["farewell"], "w").close()
        self.reply(200)


def serve_http():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
