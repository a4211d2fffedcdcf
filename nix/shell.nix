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
  storePaths,
}:
let
  # the harness uses NVIDIA's library too, so it also runs with the driver in reach
  invoke = writeShellScriptBin "invoke" ''
    exec ${driver}/bin/with-cuda-driver --if-present ${environment}/bin/invoke "$@"
  '';
in
mkShell {
  packages = [
    invoke # before the environment, which has a plain one
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
