# The tarball of one version of a package, fetched by npm itself and held to npm's own
# hash. Which registry npm asks is npm's business: no address stands here.
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
