# Process 1 of the build engine's container: limits what the steps of builds use together, so that they run out of memory
# or processes before the engine itself does, writes down the free disk space, and becomes the engine.

cgroup=/sys/fs/cgroup
if [ -e $cgroup/cgroup.controllers ]; then
    mount -o remount,bind,rw $cgroup
    # A group with processes of its own hands no controllers on.
    mkdir $cgroup/engine
    for pid in $(cat $cgroup/cgroup.procs); do echo "$pid" >$cgroup/engine/cgroup.procs || true; done
    for controller in cpu memory pids; do echo "+$controller" >$cgroup/cgroup.subtree_control; done
    mkdir $cgroup/steps
    echo "$STEPS_MEMORY" >$cgroup/steps/memory.max
    echo 0 >$cgroup/steps/memory.swap.max || true
    echo "$STEPS_PIDS" >$cgroup/steps/pids.max
else
    for controller in $cgroup/*/; do mount -o remount,bind,rw "$controller"; done
    mkdir $cgroup/memory/steps $cgroup/pids/steps
    echo "$STEPS_MEMORY" >$cgroup/memory/steps/memory.limit_in_bytes
    echo "$STEPS_MEMORY" >$cgroup/memory/steps/memory.memsw.limit_in_bytes || true
    echo "$STEPS_PIDS" >$cgroup/pids/steps/pids.max
fi

# See room.rs: the free space of the disk in KiB each second, and the size of all files at the start and when asked.
touch /run/func/measure
while sleep 1; do
    # shellcheck disable=SC2046 # the fields of the last line
    set -- $(df -Pk /var/lib/docker | tail -n 1)
    echo "$4" >/run/func/free.new && mv /run/func/free.new /run/func/free || true
    if [ -e /run/func/measure ]; then
        du -skx /var/lib/docker 2>/run/errors | cut -f 1 >/run/func/used.new && mv /run/func/used.new /run/func/used || true
        rm -f /run/func/measure
    fi
done &

cat >/run/daemon.json <<END
{
    "builder": {
        "gc": { "enabled": true, "defaultKeepStorage": "$CACHE_BYTES" },
        "entitlements": { "network-host": false, "security-insecure": false }
    }
}
END
mtu=1500
for device in /sys/class/net/eth*; do mtu=$(cat "$device/mtu"); done
# Without --userns-remap: files of COPY were missing in images with it (BuildKit of Docker 20.10).
exec dockerd --config-file=/run/daemon.json --host=unix:///run/func/docker.sock --group="$SOCKET_GROUP" \
    --icc=false --mtu="$mtu" --cgroup-parent=/steps --exec-opt=native.cgroupdriver=cgroupfs --log-level=warn
