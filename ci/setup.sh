#!/bin/bash
# Makes a Debian 12 machine able to build and test the project, and says which Rust toolchain it took.
# Safe to run again at any time; when nothing is missing it takes well under a second.
#
# It runs before there is any Rust. What it decided stands in .build/toolchain (CARGO, RUSTC, RUSTDOC, LINKER),
# which ci/lab reads.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
least_rust=90      # rust-version 1.90 of Cargo.toml
least_qemu=10      # QEMU 7.2 of Debian 12 has faults that break PV guests

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The minor version of a rustc, 0 when it does not run.
rust_minor() { "$1" --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p' || true; }

# A rustup toolchain that can build for the bare machine: the sources of core, the linter, the formatter and lld are in
# it.
find_rustup_toolchain() {
    local home=${RUSTUP_HOME:-${HOME:-/root}/.rustup} dir minor
    for dir in "$home"/toolchains/stable-* "$home"/toolchains/*; do
        [ -f "$dir/lib/rustlib/src/rust/library/core/src/lib.rs" ] || continue
        [ -x "$dir/bin/cargo-clippy" ] && [ -x "$dir/bin/rustfmt" ] || continue
        [ -x "$dir/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld" ] || continue
        minor=$(rust_minor "$dir/bin/rustc")
        [ "${minor:-0}" -ge "$least_rust" ] && { echo "$dir"; return; }
    done
}

packages=(ca-certificates gcc libc6-dev binutils make kmod grub-pc-bin grub-efi-amd64-bin grub-common xorriso mtools cpio xz-utils zstd lz4
    libxen-dev)
debian_rust=(rustc-web cargo-web rust-web-src rust-web-clippy rustfmt-web lld-19)
backports=(qemu-system-x86 qemu-utils ovmf)

toolchain=$(find_rustup_toolchain)
[ -n "$toolchain" ] || packages+=("${debian_rust[@]}")

missing() {    # the named packages that are not installed
    local have
    have=$(dpkg-query -W -f '${db:Status-Abbrev}|${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *|//p')
    comm -23 <(printf '%s\n' "$@" | sort -u) <(printf '%s\n' "$have" | sort -u)
}

qemu_is_new() {
    local version
    version=$(dpkg-query -W -f '${Version}' qemu-system-x86 2>/dev/null | sed 's/^[0-9]*://') || return 1
    [ "${version%%.*}" -ge "$least_qemu" ] 2>/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

suite() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# Takes the packages named after $1 (a suite, or "" for the normal candidates).
install() {
    local from=$1; shift
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 \
        install -y --no-install-recommends ${from:+-t "$from"} "$@" >/dev/null
}

wanted=$(missing "${packages[@]}" | xargs)
wanted_new=$(missing "${backports[@]}" | xargs)
qemu_is_new || wanted_new="${backports[*]}"
if [ -n "$wanted$wanted_new" ]; then
    command -v apt-get >/dev/null || die "this machine has no apt-get; install: $wanted $wanted_new"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "needs root or sudo to install: $wanted $wanted_new"
    if [ -n "$wanted_new" ] && [ "$(suite)" = bookworm ] &&
        ! grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d; then
        say "adding the suite bookworm-backports (QEMU $least_qemu or later)"
        printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
            /usr/share/keyrings/debian-archive-keyring.gpg |
            as_root tee /etc/apt/sources.list.d/revenant-backports.sources >/dev/null
    fi
    say "fetching the package lists (some 10 s)"
    as_root apt-get -qq -o Acquire::Retries=3 update
    if [ -n "$wanted" ]; then
        say "installing $wanted (a minute or two)"
        # shellcheck disable=SC2086
        install "" $wanted
    fi
    if [ -n "$wanted_new" ]; then
        say "installing $wanted_new (half a minute)"
        from=""
        [ "$(suite)" != bookworm ] || from=bookworm-backports
        # shellcheck disable=SC2086
        install "$from" $wanted_new
    fi
    qemu_is_new || die "qemu-system-x86 is older than $least_qemu even now"
fi

mkdir -p "$root/.build"
if [ -n "$toolchain" ]; then
    kind=rustup
    bin=$toolchain/bin
    linker=$toolchain/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
else
    kind=debian
    bin=/usr/bin
    linker=/usr/bin/ld.lld-19
fi
cat >"$root/.build/toolchain.new" <<END
CARGO=$bin/cargo
RUSTC=$bin/rustc
RUSTDOC=$bin/rustdoc
LINKER=$linker
END
if cmp -s "$root/.build/toolchain.new" "$root/.build/toolchain"; then
    rm "$root/.build/toolchain.new"
else
    mv "$root/.build/toolchain.new" "$root/.build/toolchain"
fi
say "ready; Rust from $kind: $("$bin/rustc" --version) at $bin"
