# shellcheck shell=bash disable=SC2034,SC2154
# What tests/gpu and bench/gpu have in common; bash sources it. They run on a machine that has a GPU
# but perhaps no network: what is not installed there is taken from the folder carried/.

carried_help=$(
  cat <<'TEXT'
What is not installed may lie in the folder carried/ of the checkout, which git ignores:

  carried/doctest/doctest.h      for the tests
  carried/CLI/, nlohmann/        CLI11 and nlohmann-json, for the examples and the benchmark
  carried/eigen3/Eigen/          Eigen, for the example's loader
  carried/zlib/                  zlib.h, zconf.h and libz.a, likewise
  carried/fashion-mnist/         the four .gz files of the data set
  carried/nccl/                  NCCL's include/ and lib/, for its tests and the benchmark

  --carry   fills carried/ with what is installed on this machine, and ends
TEXT
)
no_device=77 # the exit status where there is no CUDA device

# Copies what is installed here to carried/.
fill_carried() {
  local from to
  mkdir -p "$root/carried/zlib"
  while read -r from to; do
    if [[ -e $from ]]; then
      mkdir -p "$root/carried/$(dirname "$to")"
      cp -rLT "$from" "$root/carried/$to"
      echo "carried/$to"
    else
      echo "skipped: $from is not installed"
    fi
  done <<TEXT
/usr/include/doctest doctest
/usr/include/CLI CLI
/usr/include/nlohmann nlohmann
/usr/include/eigen3/Eigen eigen3/Eigen
/usr/include/zlib.h zlib/zlib.h
/usr/include/zconf.h zlib/zconf.h
/usr/lib/$(gcc -print-multiarch)/libz.a zlib/libz.a
/usr/share/datasets/fashion-mnist fashion-mnist
TEXT
  du -sh "$root/carried"
}

# True for a header that the compiler finds by itself, or that Debian keeps in a folder of its own.
is_installed() {
  local folder
  for folder in /usr/include /usr/local/include /usr/include/eigen3; do
    [[ -e $folder/$1 ]] && return
  done
  return 1
}

# provide PACKAGE TARGET HEADER [FOLDER]: has CMake find a header-only package in carried/FOLDER,
# unless it is installed. False if it is nowhere.
provide() {
  local package=$1 target=$2 header=$3 folder="$root/carried${4:+/$4}"
  is_installed "$header" && return
  [[ -e $folder/$header ]] || return
  mkdir -p "$build/packages"
  cat >"$build/packages/${package}Config.cmake" <<TEXT
if(NOT TARGET $target)
  add_library($target INTERFACE IMPORTED)
  target_include_directories($target SYSTEM INTERFACE "$folder")
endif()
TEXT
  echo 'set(PACKAGE_VERSION_COMPATIBLE TRUE)' >"$build/packages/${package}ConfigVersion.cmake"
  settings+=("-D${package}_DIR=$build/packages")
}

# Sets `settings` to what CMake is told, to build in the folder `build`; `missing` to what is
# neither installed nor in carried/; `data` to where the data set is, if it is anywhere.
prepare() {
  settings=(-DCMAKE_BUILD_TYPE=Release -DALLFOLD_CUDA=ON)
  mkdir -p "$build"
  missing=()
  provide doctest doctest::doctest doctest/doctest.h || missing+=(doctest)
  provide CLI11 CLI11::CLI11 CLI/CLI.hpp || missing+=(CLI11)
  provide nlohmann_json nlohmann_json::nlohmann_json nlohmann/json.hpp || missing+=(nlohmann-json)
  provide Eigen3 Eigen3::Eigen Eigen/Core eigen3 || missing+=(Eigen)
  if ! is_installed zlib.h; then
    if [[ -e $root/carried/zlib/libz.a ]]; then
      settings+=("-DZLIB_INCLUDE_DIR=$root/carried/zlib"
        "-DZLIB_LIBRARY=$root/carried/zlib/libz.a")
    else
      missing+=(zlib)
    fi
  fi
  data=/usr/share/datasets/fashion-mnist
  [[ -e $data ]] || data="$root/carried/fashion-mnist"
  command -v ninja >/dev/null && settings+=(-G Ninja)
  find_nvcc
}

# Prints the folder of an NCCL that can be compiled with: $nccl, or else carried/'s, the system's,
# the CUDA Toolkit's, or Python's.
find_nccl() {
  local folder library
  for folder in "$nccl" "$root/carried/nccl" /usr /usr/local /usr/local/cuda \
    "$(python3 -c 'import nvidia.nccl as it; print(list(it.__path__)[0])' 2>/dev/null)"; do
    [[ -n $folder && -e $folder/include/nccl.h ]] || continue
    for library in "$folder"/lib{,64,/*-linux-gnu}/libnccl.so*; do
      if [[ -e $library ]]; then
        echo "$folder"
        return
      fi
    done
  done
  return 1
}

find_nvcc() {
  local nvcc=${CUDACXX:-}
  [[ -n $nvcc ]] || nvcc=$(command -v nvcc) || nvcc=/usr/local/cuda/bin/nvcc
  if [[ ! -x $nvcc ]] && ! command -v "$nvcc" >/dev/null; then
    echo "There is no nvcc. Put it on the PATH, or name it by the environment variable CUDACXX." >&2
    exit 2
  fi
  settings+=("-DCMAKE_CUDA_COMPILER=$nvcc")
}

# Sets `card` to the GPU's name, or nothing, and tells CMake what to compile for: $1, or the GPU, or
# sm_90.
find_card() {
  card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || card=
  local capability=$1
  [[ -n $capability ]] ||
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
      head -n 1 | tr -d .) || capability=
  if [[ -z $capability ]]; then
    capability=90
    echo "There is no GPU to compile for; taking sm_90."
  fi
  settings+=("-DCMAKE_CUDA_ARCHITECTURES=$capability")
  echo "GPU: ${card:-none}; compiling for sm_$capability"
}

# Looks for NCCL, puts its folder into $nccl, and tells CMake. False if there is none.
provide_nccl() {
  if nccl=$(find_nccl); then
    echo "NCCL: $nccl"
    settings+=(-DALLFOLD_NCCL=ON "-DNCCL_ROOT=$nccl")
  else
    echo "skipped: NCCL, which was not found"
    settings+=(-DALLFOLD_NCCL=OFF)
    return 1
  fi
}
