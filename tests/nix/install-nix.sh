#!/bin/sh
# Installs a current Nix into a folder: sh install-nix.sh PREFIX [SUITE]
#
# Debian's packages are unpacked with their own C library and never installed. This needs
# apt-get and dpkg-deb but no daemon and no /nix, and does not change the host. The
# packages come from the mirror that this machine's apt uses.
set -eu

prefix=$1
suite=${2:-trixie}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

case $prefix in
  /*) ;;
  *) echo "install-nix: $prefix: give an absolute path" >&2; exit 2 ;;
esac
[ ! -x "$prefix/bin/nix" ] || exit 0

mirror=$(apt-get indextargets --format "\$(SITE) \$(REPO_URI) \$(RELEASE)" |
  awk '$3 !~ /security/ && $2 ~ /\/debian\/?$/ { print $2; exit }')
if [ -z "$mirror" ] || [ ! -e "$keyring" ]; then
  echo "install-nix: this machine's apt knows no Debian mirror (or its keyring is missing)" >&2
  exit 3
fi

new=$prefix.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/apt/lists/partial" "$new/apt/cache/archives/partial" "$new/root"
: >"$new/apt/status"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$new/apt/sources.list"

apt() {
  apt-get -qq \
    -o "Dir::State=$new/apt" -o "Dir::State::status=$new/apt/status" \
    -o "Dir::State::Lists=$new/apt/lists" -o "Dir::Cache=$new/apt/cache" \
    -o "Dir::Etc::SourceList=$new/apt/sources.list" \
    -o Dir::Etc::SourceParts=/nonexistent \
    -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3 "$@"
}

apt update
# with an empty status file apt fetches the whole closure, the C library included
apt install --yes --no-install-recommends --download-only nix-bin
for deb in "$new"/apt/cache/archives/*.deb; do
  dpkg-deb --extract "$deb" "$new/root"
done
rm -rf "$new/apt"

# the wrapper contains the prefix, so the folder is moved before it is filled
rm -rf "$prefix"
mv "$new" "$prefix"
mkdir -p "$prefix/bin" "$prefix/etc"
printf '%s\n' 'experimental-features = nix-command flakes' 'build-users-group =' \
  'sandbox = false' 'substituters =' 'flake-registry =' 'build-hook =' \
  >"$prefix/etc/nix.conf"
cat >"$prefix/bin/.nix" <<RUN
#!/bin/sh
export NIX_STORE_DIR=$prefix/store NIX_STATE_DIR=$prefix/var NIX_LOG_DIR=$prefix/log
export NIX_CONF_DIR=$prefix/etc XDG_CACHE_HOME=$prefix/cache
exec $prefix/root/usr/lib64/ld-linux-x86-64.so.2 --argv0 "\${0##*/}" \\
  --library-path $prefix/root/usr/lib/x86_64-linux-gnu $prefix/root/usr/bin/nix "\$@"
RUN
chmod +x "$prefix/bin/.nix"
for tool in nix-build nix-hash nix-instantiate nix-store; do
  ln -s nix "$prefix/bin/$tool"
done
mv "$prefix/bin/.nix" "$prefix/bin/nix" # last: an existing program is complete
