#!/bin/sh
# Builds a package, signs it, and verifies it as a fleet would: all that continuous integration does
# before it pushes. Usage: sign.sh DIR, a folder for keys and package; PLACET_PASSPHRASE is set.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$1
mkdir -p "$out"

# Once: the private key becomes a secret of the CI, the public one stands in the package set.
[ -e "$out/release.key" ] || placet package key generate "$out/release"

placet package build "$here/package.yaml" --to "oci-layout:$out/packages"
placet package sign "oci-layout:$out/packages:1.0.0" --key "$out/release.key"
placet package verify "oci-layout:$out/packages:1.0.0" --key "$out/release.pub"
