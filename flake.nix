{
  description = "A declarative, reproducible benchmark of local language models for agentic coding";

  # Nix requires a literal here; nix/pins.nix fails if matrix.toml names another revision.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/567a49d1913ce81ac6e9582e3553dd90a955875f";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      pins = import ./nix/pins.nix { inherit lib; };
      eachSystem =
        f: lib.genAttrs (lib.attrNames pins.matrix.systems) (system: f (worldOf system));

      worldOf =
        system:
        import ./nix/world.nix {
          inherit lib pins system;
          project = self;
          pkgs = import nixpkgs {
            inherit system;
            config = {
              # of unfree packages, allow CUDA's libraries only
              allowUnfreePredicate =
                package:
                lib.all (license: license.free or false || license.shortName or "" == "CUDA EULA") (
                  lib.toList (package.meta.license or [ ])
                );
              cudaCapabilities = pins.cudaCapabilities;
            };
          };
        };
    in
    {
      packages = eachSystem (world: world.packages);
      devShells = eachSystem (world: world.shells);
      apps = eachSystem (world: {
        default = {
          type = "app";
          program = "${world.packages.invoke-all}/bin/llamatrix-all";
          meta.description = "invoke all: build, measure and tabulate";
        };
      });
      checks = eachSystem (world: world.checks);
      formatter = eachSystem (world: world.formatter);

      # what Nix read from the two files: a test compares it with what Python reads
      lib = { inherit (pins) matrix lock; };
    };
}
