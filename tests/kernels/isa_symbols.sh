#!/bin/sh
# isa_symbols.sh OBJECT...
# A file compiled for one instruction set may export its table and nothing else. An inline function
# that leaked from it would be a weak symbol full of instructions that other machines lack, and the
# linker might keep that copy for the whole program.
set -eu
checked=0
for object in "$@"; do
  case $object in */cpu/*) ;; *) continue ;; esac
  checked=$((checked + 1))
  leaked=$(nm -C --defined-only --extern-only "$object" | grep ' [TWi] ' | grep -v '_table()$' || true)
  if [ -n "$leaked" ]; then
    echo "$object exports:" && echo "$leaked"
    exit 1
  fi
done
if [ "$checked" = 0 ] && [ "$(uname -m)" = x86_64 ]; then
  echo "none of the $# objects lies in a folder cpu" && exit 1
fi
echo "$checked objects export their table only"
