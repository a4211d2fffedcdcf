# shellcheck shell=bash disable=SC2154
# The build phases that our derivations use, with this machine's programs. Nix passes
# every attribute of the derivation as a variable.
set -eu
export PATH HOME=/homeless NIX_BUILD_CORES="${NIX_BUILD_CORES:-1}"
cd "${NIX_BUILD_TOP:?}"

runHook() { :; }

substituteInPlace() { # FILE --replace-fail OLD NEW
  local content
  content=$(cat "$1" && printf x)
  content=${content%x}
  case $content in
    *"$3"*) ;;
    *)
      echo "substituteInPlace: $1 has no '$3'" >&2
      return 1
      ;;
  esac
  printf %s "${content//"$3"/"$4"}" >"$1"
}

if [ -z "${dontUnpack-}" ] && [ -n "${src-}" ]; then
  if [ -d "$src" ]; then
    cp -r --no-preserve=mode,ownership "$src" source
    cd source
  else
    tar --extract --file "$src"
    cd "${sourceRoot:?}"
  fi
fi
if [ -z "${dontConfigure-}" ] && [ -n "${cmakeFlags-}" ]; then
  mkdir -p build
  cd build
  # shellcheck disable=SC2086 # a list in one string, as nixpkgs' hook takes it
  cmake .. $cmakeFlags
fi
if [ -z "${dontBuild-}" ]; then
  eval "${buildPhase-}"
fi
eval "$installPhase"
if [ -n "${doInstallCheck-}" ]; then
  eval "${installCheckPhase-}"
fi
