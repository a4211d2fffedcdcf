{
  # The names of nixpkgs that our flake may use: any other name is an error.
  outputs = _: { lib = import ./lib.nix; };
}
