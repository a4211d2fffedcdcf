# Everything the flake offers on one system.
{
  lib,
  pkgs,
  pins,
  project,
  system,
}:
let
  inherit (pins) matrix;
  npmPack = pkgs.callPackage ./npm-pack.nix { };
  cudaPackages =
    pkgs.${matrix.cuda.package_set}
      or (throw "matrix.toml: cuda.package_set: nixpkgs has no ${matrix.cuda.package_set}");

  sources = lib.mapAttrs (_: pin: pkgs.callPackage ./source.nix { locked = pin; }) pins.llamaCpp;

  # pin -> build -> binaries
  llamaCpp = lib.mapAttrs (
    pin: locked:
    lib.mapAttrs (
      build: recipe:
      pkgs.callPackage ./llama-cpp.nix {
        inherit cudaPackages locked recipe;
        name = "${pin}-${build}";
        source = sources.${pin};
        buildNumber = locked.build_number;
      }
    ) pins.builds
  ) pins.llamaCpp;

  opencode = lib.mapAttrs (
    _: locked:
    pkgs.callPackage ./opencode.nix {
      inherit npmPack;
      inherit (locked) version;
      package = matrix.systems.${system}.opencode_package;
      integrity =
        locked.integrity.${matrix.systems.${system}.opencode_package}
          or (throw "matrix.lock: opencode: no integrity for ${system}; run `invoke lock`");
    }
  ) pins.opencode;

  # programs of npm with their dependencies
  npmTrees =
    program: bin:
    lib.mapAttrs (
      name: locked:
      pkgs.callPackage ./npm-tree.nix {
        inherit
          bin
          locked
          npmPack
          program
          ;
        packageLock = ./. + "/${program}/${name}.package-lock.json";
      }
    ) pins.${program};
  pi =
    if lib.versionAtLeast pkgs.nodejs.version "22.19" then
      npmTrees "pi" "pi"
    else
      throw "nixpkgs: nodejs ${pkgs.nodejs.version}: Pi needs 22.19 or newer";
  context7 = npmTrees "context7" "context7-mcp";

  templates = pkgs.callPackage ./templates.nix {
    inherit (pins) templates;
    source = sources.${matrix.synthetic.template_pin};
  };

  weights = lib.mapAttrs (
    _: locked: pkgs.callPackage ./weights.nix { inherit locked; }
  ) pins.packages;

  driver = pkgs.callPackage ./with-cuda-driver.nix { };
  python = import ./python.nix {
    inherit lib pkgs;
    source = project;
  };

  # the builds of a profile as { pin, build }, without native ones
  measuredBy =
    profile:
    lib.filter (cell: pins.builds ? ${cell.build}) (
      lib.concatMap (pin: map (build: { inherit pin build; }) matrix.profiles.${profile}.builds)
        matrix.profiles.${profile}.pins
    );

  usedBy = model: profile: lib.elem model matrix.profiles.${profile}.models;

  # what LLAMATRIX_NIX tells the harness: the store path of everything the lock pins
  storePathsFor =
    profiles:
    let
      paths = lib.mapAttrs (_: toString);
    in
    pkgs.writeText "llamatrix-store-paths.json" (
      builtins.toJSON {
        builds = lib.listToAttrs (
          map (cell: {
            name = "${cell.pin}/${cell.build}";
            value = toString llamaCpp.${cell.pin}.${cell.build};
          }) (lib.concatMap measuredBy profiles)
        );
        # the only tree that the harness reads besides the builds: the vendors' templates
        sources.${pins.llamaCpp.${matrix.synthetic.template_pin}.commit} =
          toString
            sources.${matrix.synthetic.template_pin};
        weights = lib.mapAttrs' (model: found: {
          name = pins.packages.${model}.sha256;
          value = toString found;
        }) (lib.filterAttrs (model: _: lib.any (usedBy model) profiles) weights);
        templates = toString templates;
        opencode = paths opencode;
        pi = paths pi;
        context7 = paths context7;
        # the other programs that agents and their sandbox need
        programs = {
          bwrap = "${pkgs.bubblewrap}/bin/bwrap";
          node = "${pkgs.nodejs}/bin/node";
          rg = "${pkgs.ripgrep}/bin/rg";
          uv = "${pkgs.uv}/bin/uv";
        };
      }
    );

  shellWith =
    extras: profiles:
    pkgs.callPackage ./shell.nix {
      inherit driver project;
      environment = python.environmentWith extras;
      storePaths = storePathsFor profiles;
    };

  shellFor = shellWith [ ];

  byDefault = [
    "published"
    "smoke"
  ];

  named = prefix: lib.mapAttrs' (name: value: { name = "${prefix}-${name}"; inherit value; });

  fromSmoke = lib.listToAttrs (
    map (cell: {
      name = "llama-cpp-${cell.pin}-${cell.build}";
      value = llamaCpp.${cell.pin}.${cell.build};
    }) (measuredBy "smoke")
  );
in
rec {
  packages =
    lib.concatMapAttrs (pin: named "llama-cpp-${pin}") llamaCpp
    // named "opencode" opencode
    // named "pi" pi
    // named "context7" context7
    // named "weights" weights
    // {
      inherit templates;
      with-cuda-driver = driver;
      llamatrix = python.llamatrix;
      invoke-all = pkgs.callPackage ./invoke-all.nix {
        inherit project driver;
        environment = python.environmentWith [ ];
        storePaths = storePathsFor byDefault;
      };
      default = python.llamatrix;
    };

  # one shell for each profile, two general ones, and one with Ray
  shells = lib.mapAttrs (name: _: shellFor [ name ]) matrix.profiles // {
    default = shellFor byDefault;
    cpu = shellFor [ "smoke" ];
    cluster = shellWith [ "cluster" ] byDefault;
  };

  # everything but CUDA: what a machine without a card builds in reasonable time
  checks =
    fromSmoke
    // named "opencode" opencode
    // named "pi" pi
    // named "context7" context7
    // {
      inherit templates;
      with-cuda-driver = driver;
      llamatrix = python.llamatrix;
      cpu-shell = shells.cpu;
    };

  formatter = pkgs.nixfmt-tree;
}
