# OpenCode as its users get it: npm's binary with another interpreter and no other change.
# It is a Bun program that keeps its code in a section of the binary: stripping loses the
# code, and a changed run-time path was seen to crash three versions.
{
  lib,
  stdenv,
  patchelf,
  npmPack,
  package,
  version,
  integrity,
}:
stdenv.mkDerivation {
  pname = "opencode";
  inherit version;
  src = npmPack { inherit package version integrity; };
  sourceRoot = "package";

  nativeBuildInputs = [ patchelf ];
  dontConfigure = true;
  dontBuild = true;
  dontStrip = true;
  dontPatchELF = true;

  installPhase = ''
    runHook preInstall
    install -D -m 755 bin/opencode "$out/bin/opencode"
    patchelf --set-interpreter ${stdenv.cc.bintools.dynamicLinker} "$out/bin/opencode"
    runHook postInstall
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    said=$(HOME=$TMPDIR OPENCODE_DISABLE_MODELS_FETCH=1 "$out/bin/opencode" --version)
    if [ "$said" != ${lib.escapeShellArg version} ]; then
      echo "opencode says '$said', but matrix.toml pins ${version}" >&2
      exit 1
    fi
    runHook postInstallCheck
  '';

  meta = {
    description = "The coding agent, at a pinned version";
    mainProgram = "opencode";
  };
}
