# A shell in which `invoke` finds everything: it neither builds nor fetches what
# LLAMATRIX_NIX lists (provision/nix.py reads it).
{
  mkShell,
  writeShellScriptBin,
  bubblewrap,
  cmake,
  git,
  ninja,
  nodejs,
  ripgrep,
  uv,
  driver,
  environment,
  project,
  storePaths,
}:
let
  # the harness uses NVIDIA's library too, so it also runs with the driver in reach
  invoke = writeShellScriptBin "invoke" ''
    exec ${driver}/bin/with-cuda-driver --if-present ${environment}/bin/invoke "$@"
  '';
  # the checkout around the current folder, else the flake's own source
  llamatrix = writeShellScriptBin "llamatrix" ''
    export PYTHONPATH=${project}/scripts
    exec ${driver}/bin/with-cuda-driver --if-present \
      ${environment}/bin/python3 -m llamatrix.commands.program "$@"
  '';
in
mkShell {
  packages = [
    invoke # before the environment, which has a plain one
    llamatrix
    environment
    driver
    bubblewrap # agents' commands run in it
    cmake
    git
    ninja
    nodejs
    ripgrep
    uv
  ];
  LLAMATRIX_NIX = storePaths;
  OPENCODE_DISABLE_AUTOUPDATE = "1";
}
