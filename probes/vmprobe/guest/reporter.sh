#!/bin/sh
# Write to the console what the test VM sees, one line for each fact:
#
#     vmprobe <nonce> <uptime in seconds> <fact> key=value ...
#
# Facts: boot, network, disk, gone, work, counters, members, fault. The nonce tells the lines of this
# run from those of other runs. The script is POSIX sh, and calls only tools that busybox and every
# cloud image have. It works as user data of a cloud-init image, too: then it runs in the foreground
# as long as the VM lives. It changes nothing in the image. It writes to no disk that could be in use
# or that is not blank.
VMPROBE_NONCE=${VMPROBE_NONCE:-}
VMPROBE_PEERS=${VMPROBE_PEERS:-}
root=${VMPROBE_ROOT:-}  # where /proc, /sys and /dev are; the tests of this script set it
state=$root/run/vmprobe
export LC_ALL=C PATH="$PATH:/bin:/sbin:/usr/bin:/usr/sbin"

main() {
    mkdir -p "$state/drive"
    dmesg -n 1 2>/dev/null  # kernel messages would cut our lines in two
    clock
    started=$now rounded=$now nonce=- known=' ' reported=' ' replies=' '
    for source in "$(nonce_of_command_line)" "$VMPROBE_NONCE" "$(nonce_of_firmware)"; do adopt "$source"; done
    peers="$VMPROBE_PEERS $(tr ' ' '\n' <"$root/proc/cmdline" | sed -n 's/^vmprobe\.peers=//p' | tr ',' ' ')"

    boot
    while :; do
        disks
        [ -n "$addresses" ] || network
        clock
        if [ $((now - rounded)) -ge 2000 ]; then
            rounded=$now
            network
            [ "$nonce" != - ] || adopt "$(nonce_of_metadata)"
            members
            work
            counters
        fi
        sleep 0.2 2>/dev/null || sleep 1
    done
}

# One write for each line, so that lines do not mix.
say() {
    read -r uptime _ <"$root/proc/uptime"
    printf 'vmprobe %s %s %s\n' "$nonce" "$uptime" "$*" >>"$root/dev/console"
}

# Set $now to monotonic milliseconds, without starting a process. /proc/uptime has only two decimals.
clock() {
    now=
    { read -r _; read -r _; read -r _ _ now _; } 2>/dev/null <"$root/proc/timer_list"
    if [ -n "$now" ]; then
        now=$((now / 1000000))
    else
        read -r now _ <"$root/proc/uptime"
        now=$((${now%.*} * 1000 + (1${now#*.} - 100) * 10))
    fi
}

boot() {
    booted=yes
    memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' "$root/proc/meminfo")
    say "boot kernel=$(uname -r) memory=$((memory * 1024)) cpus=$(grep -c '^cpu[0-9]' "$root/proc/stat")"
}

# --- the nonce: the first one found counts; after a late one, all facts are written again with it ---

adopt() {
    [ "$nonce" = - ] && [ -n "$1" ] || return 0
    nonce=$1
    [ -n "$booted" ] || return 0
    known=' ' reported=' ' replies=' '
    boot
    network
}

nonce_of_command_line() {
    tr ' ' '\n' <"$root/proc/cmdline" | sed -n 's/^vmprobe\.nonce=\([A-Za-z0-9-]*\).*/\1/p' | head -n 1
}

# It may be in any SMBIOS string: a serial number, an asset tag, an OEM string.
nonce_of_firmware() {
    [ -r "$root/sys/firmware/dmi/tables/DMI" ] || return
    tr '\000' '\n' <"$root/sys/firmware/dmi/tables/DMI" | sed -n 's/.*vmprobe\.nonce=\([A-Za-z0-9-]*\).*/\1/p' | head -n 1
}

nonce_of_metadata() {
    [ -n "$addresses" ] || return
    timeout 3 wget -q -O - http://169.254.169.254/latest/user-data 2>/dev/null | nonce_of_user_data
}

nonce_of_user_data() {
    sed -n 's/^[# ]*VMPROBE_NONCE=\([A-Za-z0-9-]\{1,\}\).*/\1/p' | head -n 1
}

# --- network ---

network() {
    addresses=
    while read -r _ interface _ address _; do
        [ -n "$address" ] && [ ! -e "$state/configuring-$interface" ] || continue  # its route comes a moment later
        addresses="$addresses ${address%/*}"
        gateway=$(ip -4 route show | sed -n "s/^default via \([^ ]*\) dev $interface\( .*\)*$/\1/p" | head -n 1)
        gateway=${gateway:-none}
        reply network "interface=$interface address=${address%/*} gateway=$gateway" "$gateway" "$interface"
    done <<END
$(ip -4 -o addr show scope global 2>/dev/null)
END
    [ -n "$addresses" ] || no_network
}

# Report whether $3 answers (on interface $4), when that has changed. A host that has answered is not
# asked again; work() sends it pings anyway.
reply() {
    case $replies in *" $2 yes "*) return ;; esac
    answers=no
    if [ "$3" = none ]; then
        answers=none
    elif ping -c 1 -W 1 "$3" >/dev/null 2>&1; then
        answers=yes
        [ "$1" = network ] && router=$3
    elif answers_arp "$3" "$4"; then
        answers=yes
    fi
    case $replies in *" $2 $answers "*) return ;; esac
    replies="$replies$2 $answers "
    say "$1 $2 answers=$answers"
}

# Some gateways drop pings. One that is in the ARP table (flag 2: complete) has answered, too.
answers_arp() {
    arping -c 1 -w 1 ${2:+-I "$2"} "$1" >/dev/null 2>&1 || grep -q "^$1 .* 0x2 " "$root/proc/net/arp" 2>/dev/null
}

no_network() {
    clock
    [ -z "$complained" ] && [ $((now - started)) -ge 15000 ] || return
    complained=yes
    for interface in "$root"/sys/class/net/*; do
        case $interface in */lo | */sit* | */dummy* | *'*') continue ;; esac
        carrier=no
        [ "$(cat "$interface/carrier" 2>/dev/null)" = 1 ] && carrier=yes
        say "fault network reason=no-address interface=${interface##*/} carrier=$carrier"
        return
    done
    say "fault network reason=no-interface"
}

members() {
    for peer in $peers; do reply members "address=$peer" "$peer" ''; done
}

# --- disks ---

disks() {
    for path in "$root"/sys/block/*; do
        name=${path##*/}
        case $name in loop* | ram* | zram* | dm-* | md* | fd* | '*') continue ;; esac
        case $known in *" $name "*) continue ;; esac
        read -r sectors 2>/dev/null <"$path/size" || continue  # it is not complete yet, or it goes away
        [ "$sectors" -gt 0 ] && [ -e "$root/dev/$name" ] || continue  # a drive without a medium, or its device file is not there yet
        known="$known$name "
        in_use || disk
    done
    for name in $known; do
        [ -e "$root/sys/block/$name" ] || gone
    done
}

# A disk with partitions, with something on top of it, mounted, or used for swap: the image's own disk.
in_use() {
    for sign in "$path/$name"*/ "$path"/holders/*; do
        [ -e "$sign" ] && return
    done
    grep -q "^/dev/$name " "$root/proc/mounts" "$root/proc/swaps" 2>/dev/null
}

disk() {
    size=$((sectors * 512)) start=$state/start
    if ! dd if="$root/dev/$name" of="$start" bs=64k count=1 2>/dev/null; then
        say "fault disk reason=read device=$name size=$size"
    elif [ -n "$(tr -d '\000' <"$start" | head -c 1)" ]; then
        config_drive || partitioned || say "fault disk reason=not-blank device=$name size=$size"
    elif [ "$(cat "$path/ro" 2>/dev/null)" = 1 ]; then
        say "fault disk reason=read-only device=$name size=$size"
    else
        [ -n "$worked" ] || work
        exchange "$name" || return
        reported="$reported$name "
        say "disk device=$name size=$size verified=$((blocks * 4096))"
        work
    fi
}

# The kernel shows the partitions a moment after the disk.
partitioned() {
    sleep 1
    in_use
}

# A disk with a file system is not blank. It may be the one with the cloud's user data.
config_drive() {
    mount -t iso9660,vfat -o ro "$root/dev/$name" "$state/drive" 2>/dev/null || return
    found=$({
        cat "$state/drive/openstack/latest/user_data" "$state/drive/user-data"
        sed -n "s/^START_SCRIPT_BASE64='\(.*\)'\$/\1/p" "$state/drive/context.sh" | base64 -d  # OpenNebula's CONTEXT
    } 2>/dev/null | nonce_of_user_data)
    umount "$state/drive"
    adopt "$found"
    return 0
}

# Write 256 KiB of random bytes to the middle of the disk $1, and read them back from the disk, not
# from the cache.
exchange() {
    read -r blocks 2>/dev/null <"$root/sys/block/$1/size" || return 1  # it was detached: gone() reports that
    blocks=$((blocks / 8)) middle=0
    [ "$blocks" -gt 64 ] && middle=$((blocks / 2 - 32)) blocks=64
    dd if=/dev/urandom of="$state/sent" bs=4k count="$blocks" 2>/dev/null
    dd if="$state/sent" of="$root/dev/$1" bs=4k seek="$middle" conv=notrunc,fsync 2>/dev/null || {
        disk_fault write "$1"
        return 1
    }
    echo 1 >"$root/proc/sys/vm/drop_caches"
    dd if="$root/dev/$1" of="$state/back" bs=4k skip="$middle" count="$blocks" 2>/dev/null || {
        disk_fault read "$1"
        return 1
    }
    cmp -s "$state/sent" "$state/back" || {
        disk_fault compare "$1"
        return 1
    }
}

disk_fault() {
    [ -e "$root/sys/block/$2" ] || return  # it was detached meanwhile: gone() reports that
    case $faults in *" $1=$2 "*) return ;; esac
    faults="$faults $1=$2 "
    say "fault disk reason=$1 device=$2"
}

gone() {
    known="${known%%" $name "*} ${known#*" $name "}"
    for counted in $counts; do
        case $counted in "$name",*) ;; *) continue ;; esac
        counted=${counted#*,}
        gone_read=$((gone_read + ${counted%,*})) gone_write=$((gone_write + ${counted#*,}))
    done
    case $reported in *" $name "*) ;; *) return ;; esac
    reported="${reported%%" $name "*} ${reported#*" $name "}"
    say "gone device=$name"
}

# --- a small, known amount of work, and the guest's own counters ---

# CPU: the MD5 sum of 4 MiB. Disk: an exchange of 256 KiB. Network: five round trips of 1400 bytes.
work() {
    worked=yes parts=
    clock; begun=$now
    dd if=/dev/zero bs=64k count=64 2>/dev/null | md5sum >/dev/null
    took cpu
    for volume in $reported; do
        clock; begun=$now
        exchange "$volume" && took disk
        break
    done
    if [ -n "$router" ]; then
        clock; begun=$now
        ping -A -q -c 5 -s 1400 -W 1 "$router" >/dev/null 2>&1 && took net
    fi
    say "work$parts"
}

took() {
    clock
    parts="$parts $1=$(printf '%d.%03d' $(((now - begun) / 1000)) $(((now - begun) % 1000)))"
}

counters() {
    read -r _ user nice system _ _ irq softirq steal _ <"$root/proc/stat"  # in hundredths of a second (USER_HZ)
    busy=$((user + nice + system + irq + softirq))

    counts= disk_read=$gone_read disk_write=$gone_write
    for path in "$root"/sys/block/*; do
        name=${path##*/}
        case $name in loop* | ram* | zram* | dm-* | md* | fd* | '*') continue ;; esac
        read -r _ _ sectors_read _ _ _ sectors_written _ 2>/dev/null <"$path/stat" || continue
        counts="$counts $name,$((sectors_read * 512)),$((sectors_written * 512))"
        disk_read=$((disk_read + sectors_read * 512)) disk_write=$((disk_write + sectors_written * 512))
    done

    net_in=0 net_out=0
    for path in "$root"/sys/class/net/*; do
        case $path in */lo | *'*') continue ;; esac
        read -r received 2>/dev/null <"$path/statistics/rx_bytes" && net_in=$((net_in + received))
        read -r sent 2>/dev/null <"$path/statistics/tx_bytes" && net_out=$((net_out + sent))
    done

    say "counters cpu=$(hundredths $busy) steal=$(hundredths "${steal:-0}")" \
        "disk_read=$((disk_read)) disk_write=$((disk_write)) net_in=$net_in net_out=$net_out"
}

hundredths() {
    printf '%d.%02d' $(($1 / 100)) $(($1 % 100))
}

main
