# The corrected chat templates: the vendors' texts from llama.cpp's tree with our exact
# replacements; the sha256 of source and result are verified.
{
  lib,
  stdenvNoCC,
  source,
  templates,
}:
let
  edited = name: template: ''
    cp ${source}/models/templates/${lib.escapeShellArg template.file} ${name}.jinja
    chmod u+w ${name}.jinja
    echo "${template.source_sha256}  ${name}.jinja" | sha256sum --check --quiet
    ${lib.concatMapStrings (edit: ''
      substituteInPlace ${name}.jinja --replace-fail ${lib.escapeShellArg edit.find} ${lib.escapeShellArg edit.replace}
    '') template.edits}
    echo "${template.result_sha256}  ${name}.jinja" | sha256sum --check --quiet
    install -D -m 444 ${name}.jinja "$out/${name}.jinja"
  '';
in
stdenvNoCC.mkDerivation {
  name = "llamatrix-templates";
  dontUnpack = true;
  dontConfigure = true;
  dontBuild = true;
  installPhase = ''
    runHook preInstall
    ${lib.concatStrings (lib.mapAttrsToList edited templates)}
    runHook postInstall
  '';
  meta.description = "Chat templates with the vendors' mistakes corrected";
}
