# A program of npm with its dependencies: each entry of the package-lock is one
# tarball, verified against the entry's integrity and unpacked at the entry's path. What
# nixpkgs packages too has a version there that moves with nixpkgs.
{
  lib,
  stdenvNoCC,
  nodejs,
  npmPack,
  program,
  bin,
  locked,
  packageLock,
}:
let
  package = lib.head (lib.attrNames locked.integrity);
  entries = lib.filterAttrs (path: _: path != "") (lib.importJSON packageLock).packages;
  own =
    entries."node_modules/${package}"
      or (throw "${baseNameOf packageLock}: lacks ${package}; run `invoke lock`");

  # the last name in the path, unless the entry is an alias that names its package
  nameOf = path: entry: entry.name or (lib.last (lib.splitString "node_modules/" path));
  unpacked = lib.mapAttrsToList (path: entry: ''
    unpack ${
      npmPack {
        package = nameOf path entry;
        inherit (entry) version integrity;
      }
    } ${lib.escapeShellArg path}
  '') entries;
in
assert lib.assertMsg
  (own.version == locked.version && own.integrity == locked.integrity.${package})
  "${baseNameOf packageLock}: has ${package} ${own.version}, not what matrix.lock pins (${locked.version}); run `invoke lock`";
stdenvNoCC.mkDerivation {
  pname = program;
  inherit (locked) version;

  dontUnpack = true;
  dontConfigure = true;
  dontBuild = true;
  installPhase = ''
    runHook preInstall
    root=$out/lib/${program}
    unpack() {
      mkdir -p "$root/$2"
      tar --extract --gzip --file "$1" --directory "$root/$2" \
        --strip-components 1 --no-same-owner --mode u+rwX,go+rX,go-w
    }
    ${lib.concatStrings unpacked}
    mkdir -p "$out/bin"
    printf '#!%s\nexec %s %s "$@"\n' \
      ${stdenvNoCC.shell} ${nodejs}/bin/node \
      "$root/node_modules/${package}/${own.bin.${bin}}" >"$out/bin/${bin}"
    chmod 755 "$out/bin/${bin}"
    runHook postInstall
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    HOME=$TMPDIR "$out/bin/${bin}" --help >/dev/null
    runHook postInstallCheck
  '';

  meta = {
    description = "${package}, at a pinned version";
    mainProgram = bin;
  };
}
