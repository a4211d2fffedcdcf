{
  # The part of nixpkgs that our flake may use, by name: what is not here is an error.
  outputs = _: { lib = import ./lib.nix; };
}
