# A container's first process: its root is a file system in memory, with the machine's programs read-only, an image of
# its own, and a folder that it shares with the machine. Arguments: its root, its image, the shared folder, Suture's
# cache, then what it executes. MORE: further folders of the machine that it sees read-only. NAME: it is a host of that
# name, with the machine-id in the shared folder, and sees the kernel's /sys as root of a host does.
set -eu
root=$1 image=$2 shared=$3 cache=$4
shift 4
mount -t tmpfs -o mode=0755 container "$root"
for name in bin lib lib64 sbin; do
    if [ -L "/$name" ]; then cp --no-dereference "/$name" "$root/$name"; else bind="${bind-} /$name"; fi
done
for place in /usr /etc ${bind-} "$cache" ${MORE-}; do
    mkdir --parents "$root$place"
    mount --rbind --options ro "$place" "$root$place"
done
# A cache below /tmp has made some of them.
mkdir --parents "$root/image" "$root/shared" "$root/proc" "$root/dev" "$root/tmp" "$root/run" "$root/var"
mount --bind "$image" "$root/image"
mount --bind "$shared" "$root/shared"
mount --rbind /dev "$root/dev"
if [ -n "${NAME-}" ]; then
    echo "$NAME" >/proc/sys/kernel/hostname
    mkdir "$root/sys"
    mount --rbind /sys "$root/sys"
    [ -d "$root/sys/kernel/tracing/events" ] || mount -t tracefs tracefs "$root/sys/kernel/tracing"
    mount --bind "$shared/machine-id" "$root/etc/machine-id"
fi
mount -t proc proc "$root/proc"
cd "$root"
mkdir old
pivot_root . old
umount --lazy /old
rmdir /old
cd /
exec "$@"
