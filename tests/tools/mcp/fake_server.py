#!/usr/bin/env python3
"""A server that speaks MCP well or badly, as its arguments say. Standard library only.

usage: fake_server.py stdio TRAIT...      newline-delimited JSON on the standard streams
       fake_server.py http TRAIT...       prints the port that it listens on, on 127.0.0.1

Traits: modern, legacy or dual, and others that the tests name; see `traits` in fake_protocol.py.
"""
import sys

sys.dont_write_bytecode = True

if sys.argv[1] == "stdio":
    from fake_stdio import serve_stdio
    serve_stdio()
else:
    from fake_http import serve_http
    serve_http()
