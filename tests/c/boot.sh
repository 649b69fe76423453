#!/bin/bash
# Boots a Linux kernel in an emulator and runs one program there, with nothing beside
# it but busybox: to see it work on a kernel other than this machine's.
#
#     boot.sh KERNEL PROGRAM [ARGUMENT]...
#
# KERNEL is a vmlinuz of this machine's architecture; of a Debian package without
# installing it: dpkg-deb -x linux-image-….deb somewhere. No module is needed. The
# exit status is the program's; 125 if it was not reached. Needs qemu-system,
# busybox-static and cpio.

set -euo pipefail

kernel=$1 program=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf -- "$root"' EXIT

mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
# The program and its libraries, where they are here.
for file in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname -- "$file")"
    cp -L -- "$file" "$root$file"
done
printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
printf 'hosts: files\n' > "$root/etc/nsswitch.conf"
printf 'root:x:0:0::/:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\n' > "$root/etc/group"
cp -L /lib/*/libnss_files.so.2 "$root$(dirname -- "$(ldd "$program" | grep -o '/[^ ]*libc\.so[^ ]*')")"

{
    echo '#!/bin/busybox sh'
    echo '/bin/busybox --install -s /bin; export PATH=/bin'
    echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
    echo 'mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm'
    echo 'chmod 1777 /tmp; ip link set lo up; ulimit -n 4096; cd /tmp; uname -a'
    printf 'setsid'
    printf ' %q' "$program" "$@"
    echo ' < /dev/null; echo "exit status $?"; poweroff -f'
} > "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) > "$root.initrd"
trap 'rm -rf -- "$root" "$root.initrd"' EXIT

case $(uname -m) in
    x86_64) machine=(qemu-system-x86_64 -cpu qemu64) console=ttyS0 ;;
    aarch64) machine=(qemu-system-aarch64 -M virt -cpu cortex-a72) console=ttyAMA0 ;;
esac
# Emulated: an old kernel need not start on a new processor.
"${machine[@]}" -accel tcg,thread=multi -smp 2 -m 3072 -nographic -nic none -no-reboot \
  -kernel "$kernel" -initrd "$root.initrd" -append "console=$console quiet panic=-1" < /dev/null |
    sed -u 's|\r$||' | tee "$root/log"
status=$(sed -n 's/^exit status \([0-9]*\)$/\1/p' "$root/log" | tail -n 1)
exit "${status:-125}"
