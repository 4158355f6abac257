package wire

// Usage lists the options of wires: the text of nicsim's help and of docs/MODEL.md.
const Usage = `pcap=FILE     replay the Ethernet frames of a capture file of any format that
              package capfile reads, compressed or not. CRCs that the file says it
              has are removed
  rate=recorded the spacing of the file; else as gen
  loop=N|forever rounds, 1 by default
  cut=pad|skip  truncated frames: pad with zeros, or skip; without it a file with such
                frames is refused
  interface=NAME replay one interface of the file: its name, or its number from 0
  fcs=file      frames that have a CRC in the file have that one on the wire, right or
                wrong, and are not padded: bad frames can be replayed
  other=skip    skip packets that a port cannot carry: of other link types, damaged;
                without it a file with such packets is refused
gen           generate frames
  size=60       bytes without CRC: one size, a range 60-1514, or imix (60, 590 and
                1514 bytes, 7:4:1)
  flows=N       distinct 5-tuples, 1 by default
  count=N|forever frames, forever by default
  proto=udp|tcp udp by default
  vlan=ID       an 802.1Q tag, 1-4094
  seed=N        seed of random sizes and payloads, 1 by default
mix           generate the traffic of a backbone link: flows with heavy-tailed sizes in both
              directions, TCP from SYN to FIN, DNS, QUIC, ICMP, IPv4 and IPv6
  flows=65536   flows open at once, 0 to 16777216 (0: incidents only); 29 bytes each
  rate=1.65Mpps packets a second of the flows
  size=726      mean bytes without CRC, 200-850
  count=N|forever, seed=N as gen
  day=24h       period of a swing of the rate, from low to high to low
  swing=0.5     how far the rate swings, a part of it, 0 to 0.9
  noise=0.05    standard deviation of each second's rate, a part of it, 0 to 0.3
  dns=FLOWS@START+DURATION
                a rise of DNS queries, each a flow, to two resolvers that do not answer:
                dns=50000@30s+60s
  syn=FLOWS@START+DURATION
                a SYN flood on a web server, each packet a flow: syn=15000000@10s+20s
pcap and gen:
  rate=line     (default) back to back at 10 Gb/s
  rate=14.88Mpps frames a second: pps, kpps, Mpps
  rate=5Gbps    bits a second, with preamble, CRC and gap, so that 10Gbps is the line:
                bps, kbps, Mbps, Gbps
  burst=32us    wire time that may be due at once; if more is due, the device thread is
                late and the schedule is delayed; mix, too
packet=IFACE  a network interface of this machine
sink, sink=FILE a receiver: takes what the port sends, into a pcap file or not
pcap, gen, mix and packet:
  backpressure  wait while the port's packet buffer is full instead of overrunning it,
                for tests of content, not of speed
`
