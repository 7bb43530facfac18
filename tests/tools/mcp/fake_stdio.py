"""fake_server.py on its standard streams: a line for each message."""
import json
import os
import signal
import socket
import sys
import threading
import time

from fake_protocol import Peer, respond, traits


def serve_stdio():
    lock = threading.Lock()

    def write(message):
        if isinstance(message, dict):
            message = json.dumps(message).encode() + b"\n"
        with lock:
            sys.stdout.buffer.write(message)
            sys.stdout.buffer.flush()

    def answer(message):
        response = respond(peer, message)
        if isinstance(response, dict):
            peer.say(**response)

    peer = Peer(write)
    if "prints" in traits:
        write(b"fake server, ready to serve\n")
    if "babbles" in traits:
        for number in range(1000):
            write(b"warming up, part %d\n" % number)
    if "ends_at_once" in traits:
        sys.stderr.write("no configuration\n")
        sys.exit(4)
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message.get("method") == "server/discover":
            if "dies_of_discover" in traits:
                sys.exit(1)
            if "mute_at_discover" in traits:
                continue
        if "mute" in traits:
            continue
        if message.get("method") == "tools/list" and "dies_at_list" in traits:
            os._exit(5)
        if message.get("params", {}).get("name") == "close_input":
            # Who started it may hold the stream too, so that closing it would go unseen.
            socket.socket(fileno=0).shutdown(socket.SHUT_RD)
            answer(message)
            while True:
                signal.pause()  # lives on until it is ended
        threading.Thread(target=answer, args=(message,), daemon=True).start()
    if "deaf" in traits:  # does not end with its input
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
