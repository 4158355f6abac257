#!/bin/sh
# libpcap 1.10.3 (Debian 12): the filters "byte N & M" and "byte N | M" do not read the
# byte.
#
# pcap-filter(7) has the primitive "byte IDX OP VAL" with the operators = < > & |. For
# the last two the program lacks the load: it computes on what the accumulator holds.
# That is 0 at the start, so "byte 12 & 8" alone matches no frame and "byte 12 | 8" every
# one; behind another test it is that test's number: "byte 13 = 0 and byte 12 & 8" never
# looks at byte 12. libpcap 1.11 loads the byte.
#
# For our users: byte N & M and byte N | M read the byte (capture/pcapfilter,
# TestByteMayTestBits). For libpcap 1.10 write ether[N] & M != 0.
#
# Seen: the unoptimized program of each expression; a load is ld, ldh or ldb.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -q tcpdump=4.99.3-1 libpcap0.8=1.10.3-1 >/dev/null
for deb in *.deb; do dpkg-deb -x "$deb" .; done
dump() {
	LD_LIBRARY_PATH=usr/lib/x86_64-linux-gnu usr/bin/tcpdump -y EN10MB -Od "$1"
}
LD_LIBRARY_PATH=usr/lib/x86_64-linux-gnu usr/bin/tcpdump --version 2>&1 | grep libpcap
status=0
for e in 'ether[12] & 8 != 0' 'byte 12 = 8' 'byte 12 & 8' 'byte 12 | 8' 'byte 13 = 0 and byte 12 & 8'; do
	echo "--- $e"
	dump "$e" | tee out
	case $e in
	*'and byte 12 &'*) want=1 ;; # that of byte 13
	'byte 12 &'* | 'byte 12 |'*) want=0 ;;
	*) want=1 ;;
	esac
	[ "$(grep -c 'ld[bh]* *\[' out)" -eq "$want" ] || { echo "changed"; status=1; }
done
exit $status
