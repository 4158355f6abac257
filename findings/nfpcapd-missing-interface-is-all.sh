#!/bin/sh
# nfpcapd 1.7.1 (Debian 12): -i NAME captures from all interfaces if there is no interface
# of that name, and it never captures through libpcap.
#
# nfpcapd is linked against libpcap, which reads files for it. Live, on Linux, it opens a
# packet socket of its own and binds that to the index of the interface without a check
# that there is one. Index 0 is all interfaces: a mistyped name gives the flows of the
# whole machine, and status 0. libpcap says "No such device exists".
#
# For our users: the libpcap front cannot serve nfpcapd live, which reads a file that
# tcpdump -w captures (docs/PROGRAMS.md).
#
# Seen: in a network namespace that has lo alone, nfpcapd -i nosuch has a packet socket of
# interface 0, and stores flows of pings.
set -eu
[ "$(id -u)" -eq 0 ] || { echo "needs root for a network namespace: use sudo" >&2; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -q nfdump=1.7.1-2+deb12u1 libpcap0.8=1.10.3-1 tcpdump=4.99.3-1 >/dev/null 2>&1
for deb in *.deb; do dpkg-deb -x "$deb" .; done
mkdir flows
cat >run <<'EOF'
ip link set lo up
usr/bin/tcpdump -i nosuch 2>&1 || true
usr/bin/nfpcapd -i nosuch -w flows 2>log &
sleep 2
cat /proc/net/packet
ping -q -c 5 -i 0.2 127.0.0.1 >/dev/null
sleep 2
kill -TERM $!
wait $! && echo "nfpcapd: status 0"
EOF
LD_LIBRARY_PATH=usr/lib/x86_64-linux-gnu:usr/lib
export LD_LIBRARY_PATH
unshare -n sh run | tee seen
echo "flows: $(usr/bin/nfdump -R flows -q -o 'fmt:%pr %sa %da' | sort | uniq -c | tee -a seen)"
for want in 'No such device exists' 'nfpcapd: status 0' 'ICMP *127.0.0.1 *127.0.0.1'; do
	grep -q "$want" seen || { echo "changed: no $want"; exit 1; }
done
awk '$5 == 0 && $4 == "0003"' seen | grep -q . || { echo "changed: no packet socket of all interfaces"; exit 1; }
