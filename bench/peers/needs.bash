# For bench/compare and bench/tune, which source it: what they need, and how it is had on Debian and
# Ubuntu.

have() { [[ -e $1 ]] || command -v "$1" >/dev/null; }
updated=''
install() {
  command -v apt-get >/dev/null || return 1
  local as_root=()
  ((EUID == 0)) || as_root=(sudo)
  if [[ -z $updated ]]; then
    "${as_root[@]}" apt-get update -q >/dev/null
    updated=yes
  fi
  echo "installing $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
    --no-install-recommends "$@" >/dev/null
}
need() {  # WHAT PACKAGE...
  have "$1" || install "${@:2}" || { echo "bench/${0##*/}: there is no ${*:2}" >&2; return 1; }
}

# Configures this project for measuring, in $build.
configure() {
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG" -DALLFOLD_BUILD_TESTS=OFF \
    -DALLFOLD_BUILD_EXAMPLES=OFF -DALLFOLD_BUILD_BENCH=ON
}

# Sets python to one that draws. Debian's matplotlib is for Debian's python3, which need not be the
# first on the PATH.
draws() { "$1" -c 'import matplotlib' 2>/dev/null; }
find_python() {
  python=python3
  draws python3 && return
  draws /usr/bin/python3 || install python3-matplotlib
  if draws /usr/bin/python3; then
    python=/usr/bin/python3
  else
    echo "bench/${0##*/}: there is no matplotlib, so there will be no pictures" >&2
  fi
}
