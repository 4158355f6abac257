#!/bin/sh
# Creates hosts.pcap: traffic between two hosts on a switch, each in a network
# namespace of this machine.
#
#   make.sh [FILE]          create FILE (default: hosts.pcap beside this script; root only)
#   make.sh -count [FILE]   print the number of frames of FILE by protocol
#
# Needs the tools in the list below.
#
#   client --veth-- switch (bridge, tcpdump) --veth-- server
#   192.0.2.1       capture on port "server"          192.0.2.2
#   2001:db8::1                                       2001:db8::2
#   198.51.100.1    VLAN 5                            198.51.100.2
set -eu

here=$(cd "$(dirname "$0")" && pwd)

fail() {
	echo "make.sh: $*" >&2
	exit 1
}

frames() { # FILE FILTER: print the number of matching frames
	tcpdump -nr "$1" "$2" 2>/dev/null | wc -l
}

count() {
	# Filters other than "vlan" and those by length match untagged frames only.
	while IFS='|' read -r name filter; do
		printf '%-28s %6d   %s\n' "$name" "$(frames "$1" "$filter")" "$filter"
	done <<-'LIST'
		all|greater 0
		ARP|arp
		IPv4 TCP|ip and tcp
		IPv4 HTTP|ip and tcp port 80
		IPv4 UDP|ip and udp
		IPv4 DNS|ip and udp port 53
		IPv4 ICMP|ip and icmp
		IPv4 fragments|ip[6:2] & 0x3fff != 0
		IPv6 TCP|ip6 and tcp
		IPv6 HTTP|ip6 and tcp port 80
		IPv6 UDP|ip6 and udp
		IPv6 ICMP|ip6 and icmp6
		IPv6 fragments|ip6[6] = 44
		802.1Q, VLAN 5|vlan 5
		shorter than 60 bytes|less 59
		1514 bytes|greater 1514 and less 1514
		1518 bytes|greater 1518 and less 1518
	LIST
}

if [ "${1-}" = -count ]; then
	file=${2-$here/hosts.pcap}
	[ -r "$file" ] || fail "read $file: not readable. Give the name of a pcap file"
	command -v tcpdump >/dev/null || fail "tcpdump: not found. Debian: apt-get install tcpdump"
	count "$file"
	exit
fi
file=${1-$here/hosts.pcap}

for tool in ip:iproute2 ethtool:ethtool tcpdump:tcpdump curl:curl ping:iputils-ping python3:python3; do
	command -v "${tool%:*}" >/dev/null || fail "${tool%:*}: not found. Debian: apt-get install ${tool#*:}"
done
[ "$(id -u)" = 0 ] || fail "create network namespaces: not root. Run it with sudo"

client=ixcap-client-$$
server=ixcap-server-$$
switch=ixcap-switch-$$
work=$(mktemp -d)
pids=

clean() {
	for pid in $pids; do
		kill "$pid" 2>/dev/null || :
	done
	for ns in $client $server $switch; do
		ip netns delete "$ns" 2>/dev/null || :
	done
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

on() { # NAMESPACE COMMAND...
	ns=$1
	shift
	ip netns exec "$ns" "$@"
}

serve() { # NAMESPACE COMMAND...: run in the background until the end
	ns=$1
	shift
	ip netns exec "$ns" "$@" >"$work/log" 2>&1 &
	pids="$pids $!"
}

await() { # NAME COMMAND...: repeat the command until it succeeds, at most 10 s
	name=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || fail "wait for $name: not there after 10 s"
		sleep 0.1
	done
}

# The cables, without offloads: captured frames are those on the wire.
ip netns add $switch
ip -n $switch link add switch type bridge mcast_snooping 0 forward_delay 0
ip -n $switch link set switch up
for host in client server; do
	eval "ns=\$$host"
	ip netns add "$ns"
	ip -n "$ns" link add port type veth peer name $host netns $switch
	for end in "$ns port" "$switch $host"; do
		# shellcheck disable=SC2086 # two words
		set -- $end
		on "$1" ethtool -K "$2" tx off rx off sg off tso off gso off gro off >/dev/null 2>&1
	done
	ip -n $switch link set $host master switch up
	ip -n "$ns" link set lo up
done

address() { # NAMESPACE NUMBER
	ip -n "$1" link set port up
	ip -n "$1" address add "192.0.2.$2/24" dev port
	ip -n "$1" address add "2001:db8::$2/64" dev port nodad
	if ! ip -n "$1" link add link port name vlan5 type vlan id 5 2>/dev/null; then
		serve "$1" python3 "$here/peer.py" vlan port vlan5 5
		await "the VLAN interface" ip -n "$1" link show vlan5
	fi
	ip -n "$1" link set vlan5 address "02:00:00:00:05:0$2" up
	ip -n "$1" address add "198.51.100.$2/24" dev vlan5
}
address $client 1
address $server 2

# The services of the server.
mkdir "$work/www"
python3 -c '
import random, sys
r = random.Random(4)
for name, size in ("small", 400), ("page", 9000), ("large", 300000):
    open(sys.argv[1] + "/" + name, "wb").write(r.randbytes(size))' "$work/www"
serve $server python3 -m http.server --bind :: --directory "$work/www" 80
for to in 192.0.2.2 2001:db8::2; do
	serve $server python3 "$here/peer.py" dns $to
	serve $server python3 "$here/peer.py" echo $to 7
done
serve $server python3 "$here/peer.py" sink 192.0.2.2 5001
get() { on $client curl -sfg --max-time 20 "$@" >/dev/null; }
for to in 192.0.2.2 '[2001:db8::2]' 198.51.100.2; do
	await "the web server on $to" get "http://$to/small"
done
await "the name server" on $client python3 "$here/peer.py" resolve 192.0.2.2 1
await "the name server" on $client python3 "$here/peer.py" resolve 2001:db8::2 1
await "the echo server" on $client python3 "$here/peer.py" udp 192.0.2.2 7 1 10
await "the echo server" on $client python3 "$here/peer.py" udp 2001:db8::2 7 1 10
await "the sink" on $client python3 "$here/peer.py" bulk 192.0.2.2 5001 1
ip -n $client neighbour flush dev port # the capture begins with ARP
ip -n $server neighbour flush dev port

ip netns exec $switch tcpdump -i server -w "$work/hosts.pcap" --nano -s 0 -B 16384 -U 2>"$work/tcpdump" &
dump=$!
pids="$pids $dump"
await tcpdump grep -q 'listening on' "$work/tcpdump"

# The traffic, partly concurrent.
on $client python3 "$here/peer.py" bulk 192.0.2.2 5001 250000
get http://192.0.2.2/large &
one=$!
on $client python3 "$here/peer.py" resolve 192.0.2.2 150
on $client python3 "$here/peer.py" resolve 2001:db8::2 50
wait $one
for i in 1 2 3 4 5 6 7 8 9 10; do
	get http://192.0.2.2/small http://192.0.2.2/page "http://192.0.2.2/small?again=$i" &
	one=$!
	get 'http://[2001:db8::2]/small' &
	two=$!
	get http://198.51.100.2/small &
	three=$!
	on $client python3 "$here/peer.py" udp 192.0.2.2 7 40 300
	wait $one
	wait $two
	wait $three
done
get 'http://[2001:db8::2]/large'
get http://198.51.100.2/large
on $client ping -qf -c 100 192.0.2.2 >/dev/null
on $client ping -qf -c 100 2001:db8::2 >/dev/null
on $client ping -qf -c 30 198.51.100.2 >/dev/null
on $client ping -qf -c 10 -s 4000 192.0.2.2 >/dev/null
on $client ping -qf -c 5 -s 4000 2001:db8::2 >/dev/null
on $client python3 "$here/peer.py" udp 192.0.2.2 7 10 6000
on $client python3 "$here/peer.py" udp 2001:db8::2 7 5 6000

sleep 0.5 # the last connections' FINs
kill -INT $dump
wait $dump || :
grep -q '^0 packets dropped by kernel' "$work/tcpdump" || fail "capture: tcpdump lost frames. Repeat it on a machine with less load: $(cat "$work/tcpdump")"

all=$(frames "$work/hosts.pcap" 'greater 0')
if [ "$all" -lt 3000 ] || [ "$all" -gt 6000 ]; then
	fail "check: $all frames, want 3000 to 6000"
fi
[ "$(frames "$work/hosts.pcap" 'greater 1519')" = 0 ] || fail "check: frames over 1518 bytes: offloads are on"
[ "$(frames "$work/hosts.pcap" 'not vlan and greater 1515')" = 0 ] || fail "check: untagged frames over 1514 bytes: offloads are on"
[ "$(wc -c <"$work/hosts.pcap")" -lt 2000000 ] || fail "check: the file is over 2 MB"
cat "$work/hosts.pcap" >"$file"
count "$file"
