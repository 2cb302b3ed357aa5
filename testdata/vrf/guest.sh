#!/usr/bin/env bash
# guest.sh FOLDER BINARY: boots a Debian kernel, which has VRFs, under qemu, and runs test.sh in it with BINARY as
# /usr/local/bin/wirespan. As root; needs debootstrap, e2fsprogs and qemu-system-x86. The first run makes the root
# file system in FOLDER, a minute.
set -eu
test=$(realpath "$(dirname "$0")/test.sh") binary=$(realpath "$2")
mkdir -p "$1"; cd "$1"
[ -e root/made ] || { rm -rf root; debootstrap --variant=minbase --include=linux-image-cloud-amd64,iproute2,iputils-ping,jq,procps bookworm root >debootstrap.log; touch root/made; }
cp "$binary" root/usr/local/bin/wirespan; cp "$test" root/test.sh
cat >root/init.sh <<'X'
#!/bin/bash
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys 2>/dev/null; mount -t devtmpfs dev /dev 2>/dev/null; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf; mkdir -p /run/netns
for m in tun veth vrf nf_tables bridge; do modprobe $m; done
ip link set lo up
bash /test.sh 2>&1; echo "GUEST-END $?"
sync; echo o >/proc/sysrq-trigger; sleep 5
X
chmod +x root/init.sh; rm -f img; truncate -s 2G img; mke2fs -q -t ext4 -d root -F img
timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -kernel root/boot/vmlinuz-* -initrd root/boot/initrd.img-* \
	-append "console=ttyS0 root=/dev/vda rw quiet init=/init.sh panic=5" -drive file=img,format=raw,if=virtio,cache=unsafe \
	-display none -monitor none -serial file:console.log -no-reboot -nic none
tr -d '\r' <console.log; grep -q '^GUEST-END 0' console.log
