# The functions of nixpkgs' lib that the flake calls, as its manual describes them.
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    foldl'
    isList
    length
    listToAttrs
    map
    stringLength
    substring
    ;
in
rec {
  inherit (builtins)
    attrNames
    attrValues
    concatMap
    concatStringsSep
    elem
    filter
    head
    mapAttrs
    replaceStrings
    substring
    ;
  inherit (builtins) listToAttrs;

  versionAtLeast = version: least: builtins.compareVersions version least >= 0;

  all = builtins.all;
  any = builtins.any;
  assertMsg = held: message: if held then true else throw message;
  concatMapAttrs = f: set: foldl' (made: name: made // f name set.${name}) { } (attrNames set);
  concatMapStrings = f: list: concatStrings (map f list);
  concatStrings = builtins.concatStringsSep "";
  escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  fetchers.proxyImpureEnvVars = [ "https_proxy" ];
  filterAttrs =
    keep: set:
    listToAttrs (
      map (name: {
        inherit name;
        value = set.${name};
      }) (filter (name: keep name set.${name}) (attrNames set))
    );
  genAttrs =
    names: f:
    listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
  getVersion = package: package.version;
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    stringLength text >= stringLength suffix && removeSuffix suffix text + suffix == text;
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  last = list: builtins.elemAt list (length list - 1);
  licenses.mit.free = true;
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  optionalAttrs = wanted: set: if wanted then set else { };
  optionals = wanted: list: if wanted then list else [ ];
  optionalString = wanted: text: if wanted then text else "";
  pipe = foldl' (value: f: f value);
  removeSuffix =
    suffix: text:
    let
      cut = stringLength text - stringLength suffix;
    in
    if cut >= 0 && substring cut (stringLength suffix) text == suffix then
      substring 0 cut text
    else
      text;
  splitString = mark: text: filter builtins.isString (builtins.split mark text);
  subtractLists = unwanted: filter (item: !elem item unwanted);
  toList = item: if isList item then item else [ item ];
  toLower =
    let
      letters = from: builtins.genList (index: substring index 1 from) 26;
    in
    builtins.replaceStrings (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (
      letters "abcdefghijklmnopqrstuvwxyz"
    );
  unique = foldl' (seen: item: if elem item seen then seen else seen ++ [ item ]) [ ];
}
