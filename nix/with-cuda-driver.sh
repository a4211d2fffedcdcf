#!/usr/bin/env bash
# with-cuda-driver [--if-present] COMMAND [ARGUMENT…]
#
# Runs one command with the host's CUDA driver in reach. A program from the Nix store looks
# for libcuda in /run/opengl-driver, which only NixOS has. On other hosts this script links
# the driver's own libraries, and nothing beside them, into a folder that only this command
# searches: the host's C library would break it.
set -euo pipefail

optional=
if [ "${1-}" = --if-present ]; then
  optional=1
  shift
fi
if [ $# -eq 0 ]; then
  echo "usage: with-cuda-driver [--if-present] COMMAND [ARGUMENT...]" >&2
  exit 2
fi

if [ -n "${CUDA_DRIVER_DIR-}" ]; then
  folders=("$CUDA_DRIVER_DIR")
else
  folders=(
    /run/opengl-driver/lib /usr/lib/wsl/lib /usr/local/nvidia/lib64
    /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib
  )
fi
found=
for folder in "${folders[@]}"; do
  if [ -e "$folder/libcuda.so.1" ]; then
    found=$folder
    break
  fi
done

if [ -z "$found" ]; then
  [ -z "$optional" ] || exec "$@"
  echo "with-cuda-driver: no CUDA driver: libcuda.so.1 is in none of ${folders[*]};" \
    "install NVIDIA's driver, or set CUDA_DRIVER_DIR to the folder that has it" >&2
  exit 3
fi

links=$found
if [ "$found" != /run/opengl-driver/lib ]; then
  driver=$(readlink -f "$found/libcuda.so.1")
  mark=$(printf %s "$driver" | cksum)
  links=${XDG_CACHE_HOME:-$HOME/.cache}/llamatrix/driver/${driver##*/}-${mark%% *}
  mkdir -p "$links"
  for library in "$found"/libcuda.so* "$found"/libnvidia-*.so*; do
    [ ! -e "$library" ] || ln -sf "$library" "$links/"
  done
fi
export LD_LIBRARY_PATH="$links${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$@"
