# `nix run`: the whole benchmark, for the matrix in the current folder
{
  writeShellApplication,
  bubblewrap,
  git,
  nodejs,
  ripgrep,
  uv,
  project,
  driver,
  environment,
  storePaths,
}:
writeShellApplication {
  name = "llamatrix-all";
  runtimeInputs = [
    driver
    environment
    bubblewrap
    git
    nodejs
    ripgrep
    uv
  ];
  text = ''
    if [ ! -e matrix.toml ] || [ ! -e matrix.lock ]; then
      echo "llamatrix: no matrix.toml and matrix.lock here; run this in a checkout" >&2
      exit 2
    fi
    export LLAMATRIX_ROOT=$PWD LLAMATRIX_NIX=${storePaths} OPENCODE_DISABLE_AUTOUPDATE=1
    exec with-cuda-driver --if-present invoke --search-root ${project} all "$@"
  '';
}
