# A shell in which `invoke` finds everything: what LLAMATRIX_NIX lists is neither built
# nor fetched a second time (provision/nix.py reads it).
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
  # the harness asks NVIDIA's library too, so it runs with the driver in reach itself
  invoke = writeShellScriptBin "invoke" ''
    exec ${driver}/bin/with-cuda-driver --if-present ${environment}/bin/invoke "$@"
  '';
in
mkShell {
  packages = [
    invoke # before the environment, which has a bare one
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
