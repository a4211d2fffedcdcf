# The tarball of one version of a package, fetched by npm itself and verified against npm's
# own hash. npm's configuration decides which registry it asks: no address is written here.
{
  lib,
  stdenvNoCC,
  cacert,
  nodejs,
}:
{
  package,
  version,
  integrity,
}:
stdenvNoCC.mkDerivation {
  name = "${lib.replaceStrings [ "@" "/" ] [ "" "-" ] package}-${version}.tgz";

  outputHash = integrity;
  outputHashMode = "flat";
  impureEnvVars = lib.fetchers.proxyImpureEnvVars ++ [
    "npm_config_registry"
    "NPM_CONFIG_REGISTRY"
  ];

  nativeBuildInputs = [ nodejs ];
  NODE_EXTRA_CA_CERTS = "${cacert}/etc/ssl/certs/ca-bundle.crt";

  dontUnpack = true;
  dontConfigure = true;
  dontBuild = true;
  dontFixup = true;
  installPhase = ''
    runHook preInstall
    export HOME=$TMPDIR npm_config_cache=$TMPDIR/npm npm_config_update_notifier=false
    mkdir packed
    npm pack --silent --pack-destination packed ${lib.escapeShellArg "${package}@${version}"}
    mv packed/*.tgz "$out"
    runHook postInstall
  '';
}
