#!/usr/bin/env bash
# ceph_rgw.sh start DIR [S3_PORT [MON_PORT]]   a real S3 server on 127.0.0.1, its data under DIR
# ceph_rgw.sh stop DIR                         ends exactly the processes that start began
#
# One monitor, one OSD on a sparse file, one radosgw; no manager, no authentication among them, loopback only.
# S3 user: access key `testkey`, secret key `testsecret`. A second start on the same DIR finds the same objects.
set -euo pipefail

usage() {
    sed -n '2,3p' "$0" | cut -c3- >&2
    exit 2
}

[ $# -ge 2 ] || usage
action=$1
dir=$(realpath -m "$2")
s3_port=${3:-7480}
mon_port=${4:-33300}
conf=$dir/ceph.conf
export CEPH_CONF=$conf

new_uuid() { cat /proc/sys/kernel/random/uuid; }

wait_until() { # wait_until SECONDS WHAT COMMAND...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            echo "ceph: $what did not come; see $dir/log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

osd_is_up() { ceph osd stat 2>/dev/null | grep -q '1 up'; }
port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$s3_port"); }

write_conf() {
    # ms_mon_client_mode: where nothing authenticates, radosgw hangs unless this link is plain too.
    # tcp_nodelay: 23 small reads a second without it, 709 with it.
    # paxos_propose_interval: the first user takes 13 s at the default, 1 s so.
    cat >"$conf" <<CONF
[global]
fsid = $1
mon_host = v2:127.0.0.1:$mon_port
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_mon_client_mode = crc
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
mon_data = $dir/mon
osd_data = $dir/osd
rgw_data = $dir/rgw
run_dir = $dir/run
crash_dir = $dir/crash
pid_file = $dir/run/\$name.pid
admin_socket = $dir/run/\$name.asok
log_file = $dir/log/\$name.log
mon_cluster_log_file = $dir/log/cluster.log
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
[osd]
osd_objectstore = bluestore
bluestore_block_create = true
bluestore_block_size = 10737418240
bluestore_block_wal_create = false
bluestore_block_db_create = false
osd_memory_target = 939524096
osd_memory_target_cgroup_limit_ratio = 0
osd_mclock_skip_benchmark = true
osd_class_load_list = *
osd_class_default_list = *
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:$s3_port tcp_nodelay=1
rgw_run_sync_thread = false
rgw_enable_usage_log = false
CONF
}

start() {
    local is_new=no
    [ -e "$conf" ] || is_new=yes
    # A store that was begun on some ports stays on them.
    [ $is_new = yes ] || s3_port=$(sed -n 's/.*endpoint=127\.0\.0\.1:\([0-9]*\).*/\1/p' "$conf")
    mkdir -p "$dir"/{mon,osd,rgw,run,log,crash}
    if [ $is_new = yes ]; then
        local fsid
        fsid=$(new_uuid)
        write_conf "$fsid"
        monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
        ceph-mon --mkfs -i a --monmap "$dir/monmap" >/dev/null
    fi
    ceph-mon -i a >/dev/null
    if [ $is_new = yes ]; then
        local osd_uuid
        osd_uuid=$(new_uuid)
        ceph osd new "$osd_uuid" >/dev/null
        ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid" >/dev/null 2>&1
        ceph osd crush add osd.0 1.0 root=default host=localhost >/dev/null 2>&1
    fi
    ceph-osd -i 0 >/dev/null 2>>"$dir/log/osd-start.log"
    wait_until 30 "the OSD" osd_is_up
    if [ $is_new = yes ]; then
        radosgw-admin user create --uid test --display-name test --access-key testkey --secret-key testsecret \
            >/dev/null 2>"$dir/log/user.log"
    fi
    radosgw -n client.rgw
    wait_until 30 "radosgw" port_answers
    echo "http://127.0.0.1:$s3_port"
}

# A pid in a file of an earlier run may belong to someone else by now.
is_ours() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -q '^[^ ]*\(ceph-mon\|ceph-osd\|radosgw\) '; }

stop() {
    local file pid ended
    for file in "$dir"/run/*.pid; do
        [ -s "$file" ] && is_ours "$(cat "$file")" && kill "$(cat "$file")" || true
    done
    # Nothing is lost by the last resort: what was acknowledged is on disk, and radosgw, which would wait 5 s for its
    # clients, keeps no state.
    for file in "$dir"/run/*.pid; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        ended=$((SECONDS + 2))
        while is_ours "$pid" && [ $SECONDS -lt $ended ]; do sleep 0.05; done
        if is_ours "$pid"; then kill -9 "$pid" || true; fi
        rm -f "$file"
    done
}

case $action in
start) start ;;
stop) stop ;;
*) usage ;;
esac
