"""Compiles the C++ kernels beside this file on first use and loads them through ctypes."""

import ctypes
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


@functools.cache
def library(name):
    """The library made from NAME.cpp, or None where the CPU (AVX512_BF16) or a compiler is
    missing."""
    compiler = shutil.which("clang++-19") or shutil.which("g++")
    if "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text() or compiler is None:
        return None
    source = HERE / f"{name}.cpp"
    text = source.read_bytes() + (HERE / "blocks.h").read_bytes() + compiler.encode()
    tag = hashlib.sha256(text).hexdigest()[:12]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    built = cache / "ponder-train" / f"{name}-{tag}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O3", "-ffast-math", "-std=c++20", "-march=native", "-shared",
                        "-fPIC", "-pthread", str(source), "-o", str(fresh)], check=True)
        fresh.rename(built)
    return ctypes.CDLL(str(built))


def pointer(tensor):
    return ctypes.c_void_p(0 if tensor is None else tensor.data_ptr())
