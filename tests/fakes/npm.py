"""A fake npm: FAKE_NPM holds the packages that it knows, or the reason why it fails."""

import json
import os
import sys
from pathlib import Path

known = json.loads(os.environ["FAKE_NPM"])
if error := known.get("error"):
    sys.exit(f"npm error code {error}")
words = sys.argv[1:]
if words[0] == "view":
    if words[1] not in known:
        sys.exit("npm error code E404")
    print(known[words[1]])
elif words[0] == "install":
    assert "--omit-lockfile-registry-resolved=true" in words
    wish = json.loads(Path("package.json").read_text())
    ((package, version),) = wish["dependencies"].items()
    entry = {"version": version, "integrity": "sha512-x", "funding": {"url": "a://b"}}
    entry |= known.get("entry", {})
    packages = {"": wish, f"node_modules/{package}": entry}
    Path("package-lock.json").write_text(json.dumps({"packages": packages}))
elif words[0] == "ci":
    assert "--ignore-scripts" in words
    assert Path("package.json").exists()
    for path in json.loads(Path("package-lock.json").read_text())["packages"]:
        if path and not known.get("forgets"):
            Path(path).mkdir(parents=True)
            (Path(path) / "package.json").write_text("{}")
