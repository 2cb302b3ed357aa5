#!/usr/bin/env bash
# images.sh FOLDER BINARY GUEST...: makes what TestEdge boots, as root on Debian: per guest a kernel, an initramfs, and
# an xz squashfs with BINARY, in which % stands for the GOARCH. Debian's kernels and busybox are downloaded once, by an
# apt configuration of its own; this machine's is not changed.
set -eu
here=$(realpath "$(dirname "$0")") binary=$2
mkdir -p "$1"; cd "$1"; shift 2

# The kernels, by preference.
declare -A debian=([armv7]=armhf [mipsle]=mipsel [amd64]=amd64 [386]=i386)
declare -A goarch=([armv7]=arm [mipsle]=mipsle [amd64]=amd64 [386]=386)
declare -A kernels=([armv7]='6\.1\.0-[0-9]+-armmp' [mipsle]='6\.1\.0-[0-9]+-4kc-malta'
	[amd64]='5\.10\.0-[0-9]+-cloud-amd64 6\.1\.0-[0-9]+-cloud-amd64' [386]='5\.10\.0-[0-9]+-686 6\.1\.0-[0-9]+-686')
modules='virtio_pci virtio_mmio virtio_net virtio_blk squashfs crc32c_generic ext4 tun nf_tables nft_counter nft_ct
	nft_masq nft_chain_nat'

# configure makes apt's configuration for all architectures, and downloads the lists of packages.
configure() {
	[ ! -e apt/made ] || return 0
	local mirror suite
	mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' | sed -n 's/^Debian \(.*\)/\1/p' | head -1)
	[ -n "$mirror" ] || { echo "this machine's apt names no mirror of Debian: run apt-get update" >&2; exit 1; }
	rm -rf apt; mkdir -p apt/{state,cache,etc/{apt.conf.d,preferences.d}}; : >apt/state/status
	for suite in bookworm bullseye; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
	done >apt/etc/sources.list
	cat >apt/apt.conf <<-E
	APT::Architecture "amd64";
	APT::Architectures { "amd64"; "armhf"; "i386"; "mipsel"; };
	APT::Sandbox::User "root";
	Dir::State "$PWD/apt/state";
	Dir::State::status "$PWD/apt/state/status";
	Dir::Cache "$PWD/apt/cache";
	Dir::Etc "$PWD/apt/etc";
	Acquire::Languages "none";
	E
	APT_CONFIG=apt/apt.conf apt-get update -qq
	touch apt/made
}

# download GUEST: unpacks its kernel and busybox, and on amd64 runit, which Debian's busybox lacks.
download() {
	local arch=${debian[$1]} kernel='' packages=busybox-static pattern
	[ "$1" != amd64 ] || packages='busybox-static runit libc6'
	configure
	for pattern in ${kernels[$1]}; do
		kernel=$(APT_CONFIG=apt/apt.conf apt-cache search --names-only "^linux-image-$pattern\$" | cut -d' ' -f1 | sort -V | tail -1)
		[ -z "$kernel" ] || break
	done
	[ -n "$kernel" ] || { echo "the mirror has no kernel for $1" >&2; exit 1; }
	(cd "$1" && APT_CONFIG=../apt/apt.conf apt-get download -qq $(printf "%s:$arch " $kernel $packages))
	local deb
	for deb in "$1"/*.deb; do dpkg-deb -x "$deb" "$1/debian"; done
	rm -r "$1"/*.deb "$1"/debian/usr/share
	cp "$1"/debian/boot/vmlinuz-* "$1/kernel"
}

# initramfs GUEST: busybox, the modules, the helper program.
initramfs() {
	local root=$1/root version module file path
	rm -rf "$root"; mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,proc,sys,dev,tmp,run,etc,root,var,flash,state}
	version=$(ls "$1/debian/lib/modules")
	depmod -b "$1/debian" "$version"
	for module in $modules; do
		modprobe -S "$version" -d "$1/debian" --show-depends "$module" 2>/dev/null || true
	done | sed -n 's/^insmod //p' | sort -u | while read -r file; do
		path=$root/${file##*/debian/}
		mkdir -p "$(dirname "$path")"
		cp "$file" "$path"
	done
	cp "$1/debian/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
	depmod -b "$root" "$version"
	find "$1/debian" -type f -path '*bin/busybox' -exec cp {} "$root/bin/busybox" \;
	if [ "$1" = amd64 ]; then
		mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
		cp "$1"/debian/usr/bin/{runsv,sv,svlogd} "$root/usr/bin/"
		cp "$1"/debian/lib/x86_64-linux-gnu/libc.so.6 "$root/lib/x86_64-linux-gnu/"
		cp "$1"/debian/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$root/lib64/"
	fi
	cp "$here/init" "$here/dhcp" "$root/"
	mknod "$root/dev/console" c 5 1
	CGO_ENABLED=0 GOOS=linux GOARCH=${goarch[$1]} GOARM=7 GOMIPS=softfloat go build -C "$here" -trimpath -ldflags '-s -w' -o "$(realpath "$root")/bin/guest" ./guest
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$1/initramfs.new"
	mv "$1/initramfs.new" "$1/initramfs"
}

for guest in "$@"; do
	mkdir -p "$guest"
	[ -e "$guest/kernel" ] || download "$guest"
	[ -z "$(find "$here" -newer "$guest/initramfs" 2>&1)" ] || initramfs "$guest"
	program=${binary//%/${goarch[$guest]}}
	if [ "$(cat "$guest/flash.of" 2>/dev/null)" != "$(sha256sum "$program")" ]; then
		rm -rf "$guest/files"; mkdir "$guest/files"; cp "$program" "$guest/files/wirespan"
		mksquashfs "$guest/files" "$guest/flash" -comp xz -all-root -noappend -quiet -no-progress >/dev/null
		sha256sum "$program" >"$guest/flash.of"
	fi
done
rm -rf apt # half a gigabyte
