#!/bin/sh
# Creates .venv with preflab (editable), the dev tools and a fitting torch. Needs only python3.
#
#   PYTHON       the interpreter for a new .venv (default python3)
#   TORCH_INDEX  the package index that torch alone is taken from
#
# A torch that is already in .venv and new enough stays. Otherwise: with an NVIDIA GPU the ordinary build; without one the
# CPU build, from a local wheel if pip is configured to find one, else from PyTorch's index. A second run does nothing.
set -eu

cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
CPU_INDEX=https://download.pytorch.org/whl/cpu
OLDEST_TORCH="2.10"
VENV_PYTHON=.venv/bin/python
STAMP=.venv/preflab-installed
LOG=build/install.log

fail() {
    echo "preflab install: $*" >&2
    exit 1
}

# The last run's inputs; equal inputs mean that there is nothing to do.
fingerprint() {
    echo "$PWD $("$VENV_PYTHON" -V) $(cat pyproject.toml constraints.txt scripts/install.sh | cksum)"
}

logged_as() {
    grep -qiE "$1" "$LOG"
}

# Runs a step with its output in the log; a failure becomes one line that says what to do.
step() {
    what=$1
    shift
    printf '%s\n' "+ $*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 && return 0
    if logged_as 'No space left on device|Disk quota exceeded'; then
        fail "$what failed: the disk is full. Free some space and run it again. Log: $LOG"
    elif logged_as 'ensurepip is not available|No module named .?(ensurepip|venv)'; then
        fail "$PYTHON has no venv module. On Debian and Ubuntu: apt-get install python3-venv. Log: $LOG"
    elif logged_as 'NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|ReadTimeout|Network is unreachable|Connection refused|Connection reset|ProxyError|SSLError|HTTP error|from versions: none'; then
        fail "$what failed: the package index cannot be reached ($reached). ${offline_hint:-Check the network and run it again.} Log: $LOG"
    fi
    fail "$what failed: $(grep -iE 'error' "$LOG" | tail -n 1 | cut -c 1-200). Log: $LOG"
}

pip() {
    "$VENV_PYTHON" -m pip --disable-pip-version-check --no-input "$@"
}

check_python() {
    command -v "$1" >/dev/null 2>&1 || fail "there is no $1. Install Python 3.11 or newer, or name it: PYTHON=/path/to/python3.11 make install"
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$("$1" -V 2>&1) is too old, 3.11 or newer is needed. $2"
}

make_venv() {
    if "$VENV_PYTHON" -V >/dev/null 2>&1; then
        check_python "$VENV_PYTHON" "Remove .venv and name another interpreter: PYTHON=python3.11 make install"
    else
        check_python "$PYTHON" "Name another interpreter: PYTHON=python3.11 make install"
        echo "Creating .venv with $("$PYTHON" -V)."
        step "creating .venv" "$PYTHON" -m venv --clear .venv
    fi
    "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 || step "installing pip into .venv" "$VENV_PYTHON" -m ensurepip
}

# Prints the version of the torch in .venv if it is new enough.
fitting_torch() {
    "$VENV_PYTHON" - "$OLDEST_TORCH" <<'PYTHON_END'
import re, sys
from importlib.metadata import PackageNotFoundError, version
try:
    found = version("torch")
except PackageNotFoundError:
    sys.exit(1)
numbers = lambda text: [int(number) for number in re.findall(r"\d+", text)[:2]]
if numbers(found) < numbers(sys.argv[1]):
    sys.exit(1)
print(found)
PYTHON_END
}

install_torch() {
    pinned=$(sed -n 's/^torch==//p' constraints.txt)
    if [ -n "${TORCH_INDEX:-}" ]; then
        echo "Installing torch $pinned from $TORCH_INDEX."
        reached=$TORCH_INDEX
        step "installing torch" pip install --no-deps --index-url "$TORCH_INDEX" "torch==$pinned"
    elif nvidia-smi -L >/dev/null 2>&1; then
        echo "Installing torch $pinned for the NVIDIA GPU (several gigabytes)."
        step "installing torch" pip install --no-deps "torch==$pinned,!=$pinned+cpu"
    elif pip install --no-deps --no-index "torch==$pinned+cpu" >>"$LOG" 2>&1; then
        echo "Installed torch $pinned for the CPU from a local wheel."
    else
        echo "Installing torch $pinned for the CPU from $CPU_INDEX."
        : >"$LOG" # what the local attempt wrote explains nothing
        reached=$CPU_INDEX
        offline_hint="Check the network, or take torch from elsewhere: TORCH_INDEX=https://pypi.org/simple make install"
        step "installing torch" pip install --no-deps --index-url "$CPU_INDEX" "torch==$pinned"
    fi
}

if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint 2>/dev/null)" ]; then
    exit 0
fi
mkdir -p build
: >"$LOG"
reached="PyPI, or the index that pip is configured with"
make_venv
rm -f "$STAMP"
torch=$(fitting_torch) || { install_torch && torch=$(fitting_torch); } || fail "torch did not install. Log: $LOG"
echo "Installing preflab and its dependencies, with torch $torch."
reached="PyPI, or the index that pip is configured with"
offline_hint=
# The torch that is there is the constraint, whatever its build, so that pip does not replace it.
{ grep -v '^torch==' constraints.txt && echo "torch==$torch"; } >.venv/constraints.txt
step "installing preflab's dependencies" pip install --constraint .venv/constraints.txt --editable '.[dev]'
fingerprint >"$STAMP"
echo "Installed: .venv/bin/preflab"
