# Shared by the scripts of this folder: messages, privileges, and the build. Source it; do not run it.

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command with the right to install packages.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1; then sudo "$@"
  else die "installing packages needs root or sudo: run 'scripts/setup' as root once"
  fi
}

# Clones in other folders share what the compiler cache holds; debug information may then name the
# clone that compiled first.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true

# build PRESET [TARGET...]: configures when needed and builds.
build() {
  local preset=$1; shift
  if [ ! -f "build/$preset/build.ninja" ]; then
    say "configure ($preset)"
    cmake --preset "$preset" >"/tmp/ponder-configure.$$" 2>&1 || {
      cat "/tmp/ponder-configure.$$" >&2; rm -f "/tmp/ponder-configure.$$"
      die "cmake could not configure the preset '$preset'"
    }
    rm -f "/tmp/ponder-configure.$$"
  fi
  say "build ($preset${*:+: $*})"
  if [ $# -gt 0 ]; then cmake --build --preset "$preset" --target "$@" >&2
  else cmake --build --preset "$preset" >&2
  fi
}
