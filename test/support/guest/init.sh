#!/bin/busybox sh
# The first process of the test guest. The kernel's command line says what it is to do (vmapipe.role=...); what it has to
# say goes to /dev/kmsg, which is on the serial console, whole line by whole line, before the write returns.
# A line "stop" on the second serial port ends it in good order.

PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
exec >/dev/kmsg 2>&1

fail() {
  echo "FAIL $*"
  poweroff -f
  sleep 60
}

while read -r module; do
  insmod "/modules/$module.ko" || fail "module $module"
done </modules/order

role=idle trim=0 expected=0 root=vda skip=
for word in $(cat /proc/cmdline); do
  case $word in
  vmapipe.role=*) role=${word#*=} ;;
  vmapipe.trim=*) trim=${word#*=} ;;
  vmapipe.disks=*) expected=${word#*=} ;;
  vmapipe.root=*) root=${word#*=} ;;
  vmapipe.skip=*) skip=${word#*=} ;;
  esac
done

(read -r line </dev/ttyS1 && : >/stop) &

# Disks on a SCSI bus are found a while after their module is loaded.
find_disks() {
  set --
  for device in /dev/vd? /dev/sd?; do
    [ "$device" = "/dev/$skip" ] && continue
    [ -b "$device" ] && set -- "$@" "${device#/dev/}"
  done
  disks=$*
  [ $# -ge "$expected" ]
}
until find_disks; do sleep 0.05; done

# Nothing but to be there.
idle() {
  echo READY
  until [ -e /stop ]; do sleep 0.1; done
}

# Record n goes to every disk in turn: first over a block of a file that is there already, then to the end of the log.
# The mounts are synchronous: each of these writes is durable when it returns, and ACK n says that all of record n is.
# No process is started for a record. One `echo` is one write of one block, so that no block is ever half a record.
# Between two records it waits a little: the processor of an emulated guest that never waits is missed by all others.
writer() {
  mkfifo /nothing
  exec 3<>/nothing
  for disk in $disks; do
    mkdir -p "/mnt/$disk"
    mount -t ext4 -o sync,noatime "/dev/$disk" "/mnt/$disk" || fail "mount $disk"
  done
  pad=................
  while [ ${#pad} -lt 4086 ]; do pad=$pad$pad; done
  while [ ${#pad} -gt 4086 ]; do pad=${pad%?}; done
  echo READY
  n=0
  until [ -e /stop ]; do
    n=$((n + 1))
    id=0000000$n
    id=${id#"${id%????????}"}
    for disk in $disks; do
      echo "$id $pad" 1<>"/mnt/$disk/slots/$((n * 101 % 256))" || fail "slot of record $n on $disk"
      echo "$id" >>"/mnt/$disk/log" || fail "log of record $n on $disk"
    done
    echo "ACK $n"
    [ "$n" = "$trim" ] && trim_disks
    read -r -t 0.02 nothing <&3
  done
  for disk in $disks; do
    umount "/mnt/$disk" || fail "unmount $disk"
  done
  echo "DONE $n"
}

# A file goes away, and its blocks, and whatever else was free, are discarded.
trim_disks() {
  for disk in $disks; do
    rm "/mnt/$disk/ballast" || fail "remove ballast of $disk"
    sync
    fstrim -v "/mnt/$disk" || fail "trim $disk"
  done
  echo "TRIMMED $n"
}

# It says what is on the other disks, then the system on the root disk takes over; nothing of this one stays.
boot() {
  for disk in $disks; do
    [ "$disk" = "$root" ] && continue
    mount -t ext4 -o ro "/dev/$disk" /mnt || fail "mount $disk"
    echo "FOUND $(cat /mnt/etc/marker) records $(wc -l </mnt/log) last $(tail -n 1 /mnt/log)"
    umount /mnt
  done
  mount -t ext4 -o ro "/dev/$root" /mnt || fail "mount the root filesystem"
  mount -o move /dev /mnt/dev
  umount /proc
  exec switch_root /mnt /sbin/init || fail "switch to the root filesystem"
}

case $role in
idle | writer | boot) "$role" ;;
*) fail "no role $role" ;;
esac
poweroff -f
