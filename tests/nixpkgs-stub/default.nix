# The part of nixpkgs that our flake uses. Derivations can be built: stdenv.sh runs their
# phases with this machine's programs, which host.json names. A stub of a package is a
# folder whose bin/ holds those programs.
{
  system,
  config,
}:
let
  lib = import ./lib.nix;
  host = lib.importJSON ./host.json;

  make =
    attributes:
    derivation (
      {
        inherit system;
        builder = host.shell;
        args = [ ./stdenv.sh ];
        PATH = host.path;
      }
      // removeAttrs attributes [
        "meta"
        "passthru"
      ]
    )
    // {
      meta = attributes.meta or { };
    }
    // attributes.passthru or { };

  named =
    attributes:
    make (attributes // { name = attributes.name or "${attributes.pname}-${attributes.version}"; });

  package =
    name:
    make {
      inherit name;
      inherit (host) stamp; # other programs make another package
      installPhase = "mkdir \"$out\"; ln -s ${host.bin} \"$out/bin\"; mkdir -p \"$out/etc\"; ln -s /etc/ssl \"$out/etc/ssl\"";
      dontUnpack = true;
      dontConfigure = true;
      dontBuild = true;
    }
    // {
      version = "0";
    };
  packages = names: lib.genAttrs names package;

  stdenv = {
    mkDerivation = named;
    shell = host.shell;
    cc = {
      version = "0";
      bintools.dynamicLinker = host.dynamicLinker;
    };
  };

  fetched =
    {
      owner,
      repo,
      rev,
      hash,
    }:
    make {
      name = "source";
      outputHash = hash;
      outputHashMode = "recursive";
      tree = "${owner}/${repo}/${rev}";
      installPhase = "echo 'the stub fetches nothing: ${owner}/${repo} ${rev}' >&2; exit 1";
    };

  fetchPypi =
    {
      pname,
      version,
      format,
      dist,
      python,
      sha256,
    }:
    make {
      name = "${pname}-${version}-${python}-none-any.whl";
      outputHash = "sha256:${sha256}";
      outputHashMode = "flat";
      installPhase = "echo 'the stub fetches nothing: ${format} ${dist} ${pname}' >&2; exit 1";
    };

  fetchedByGit =
    {
      url,
      rev,
      hash,
      fetchSubmodules,
    }:
    assert !fetchSubmodules;
    make {
      name = "source";
      outputHash = hash;
      outputHashMode = "recursive";
      tree = "${url}/${rev}";
      installPhase = "echo 'the stub fetches nothing: ${url} ${rev}' >&2; exit 1";
    };

  script =
    { name, text }:
    make {
      inherit name text;
      passAsFile = [ "text" ];
      dontUnpack = true;
      dontConfigure = true;
      dontBuild = true;
      installPhase = ''
        mkdir -p "$out/bin"
        { echo '#!${host.shell}'; cat "$textPath"; } >"$out/bin/${name}"
        chmod 755 "$out/bin/${name}"
      '';
    };

  pythonPackages = lib.genAttrs (lib.importJSON ./python-packages.json) package;

  callPackage =
    path: given:
    let
      function = import path;
      wanted = builtins.functionArgs function;
    in
    function (builtins.intersectAttrs wanted all // given);

  all = {
    inherit
      callPackage
      fetchPypi
      lib
      stdenv
      ;
    stdenvNoCC = removeAttrs stdenv [ "cc" ];
    fetchFromGitHub = fetched;
    fetchgit = fetchedByGit;
    mkShell = attributes: named ({ name = "shell"; } // attributes);
    writeShellApplication =
      {
        name,
        runtimeInputs ? [ ],
        text,
      }:
      script {
        inherit name;
        text = "export PATH=${lib.concatStrings (map (input: "${input}/bin:") runtimeInputs)}$PATH\n${text}";
      };
    writeShellScriptBin = name: text: script { inherit name text; };
    writeText =
      name: text:
      make {
        inherit name text;
        passAsFile = [ "text" ];
        dontUnpack = true;
        dontConfigure = true;
        dontBuild = true;
        installPhase = "cp \"$textPath\" \"$out\"";
      };
    python3 = {
      withPackages =
        choose:
        # a derivation's name has a maximum length: use the hash of the list
        package "python3-with-${builtins.hashString "sha256" (lib.concatStringsSep " " (map (chosen: chosen.name) (choose pythonPackages)))}";
      pkgs = pythonPackages // {
        buildPythonApplication = named;
      };
    };
    nodejs = package "nodejs" // {
      version = "22.20.0";
    };
    cudaPackages_12_9 = {
      backendStdenv = stdenv;
    }
    // packages [
      "cuda_cccl"
      "cuda_cudart"
      "cuda_nvcc"
      "libcublas"
    ];
  }
  // packages [
    "autoAddDriverRunpath"
    "bubblewrap"
    "cacert"
    "cmake"
    "coreutils"
    "git"
    "ninja"
    "nixfmt-tree"
    "patchelf"
    "ripgrep"
    "unzip"
    "uv"
  ];
in
# refuse what nixpkgs would refuse: other keys, and other values of these two
assert builtins.attrNames config == [
  "allowUnfreePredicate"
  "cudaCapabilities"
];
assert builtins.all builtins.isString config.cudaCapabilities;
assert config.allowUnfreePredicate { meta.license.shortName = "CUDA EULA"; };
assert !config.allowUnfreePredicate { meta.license.free = false; };
all
